"""Nodes that a client describes: answered for with the graph as it is, and not stored.

A described node has features and edges into it. Nothing in the graph hears from it, so the rows
of its neighbors are those of the graph, and the node itself is one more row in every Block: the
Blocks of its neighbors, which lack the last layer, with the described nodes put in front.

    sources of layer i:   [ described | sources of the neighbors' Block i ]
    edges of layer i:     [ the described edges | the edges of the neighbors' Block i ]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn import ModelConfig
from sampling import Block, Dataset
from sampling.errors import UnknownNodeError
from sampling.sampler import Sampler
from service.errors import NewNodeError

__all__ = ["Described", "NodeDescription", "check_describable", "describe", "described_blocks"]

Id = int | str


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """One described node: id, features (d_in,), ids of the nodes that point to it."""

    id: Id
    features: Sequence[float]
    in_edges: Sequence[Id] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Described:
    """Described nodes as arrays.

    Attributes:
        x: (m, d_in) float32.
        neighbors: distinct dense nodes that point to any of them, (k,) int64.
        indptr: (m + 1,) int64 offsets into `indices`.
        indices: places in `neighbors`, (num_edges,) int64.
    """

    x: Tensor
    neighbors: NDArray[np.int64]
    indptr: Tensor
    indices: Tensor

    def only(self, rows: NDArray[np.int64]) -> Described:
        """Some of the described nodes, in this order."""
        offsets, places = self.indptr.tolist(), self.indices.numpy()
        edges = [places[offsets[i] : offsets[i + 1]] for i in rows.tolist()]
        return _described(self.x[torch.from_numpy(rows)], [self.neighbors[row] for row in edges])

    def costs(self, near: NDArray[np.int64], num_layers: int) -> NDArray[np.int64]:
        """Edges that each described node reads, (m,) int64, at least 1.

        Args:
            near: edges that each of `neighbors` reads in all layers but the last, (k,).
            num_layers: layers of the model.
        """
        degrees = (self.indptr[1:] - self.indptr[:-1]).numpy()
        costs = 1 + num_layers * degrees
        np.add.at(costs, np.repeat(np.arange(len(degrees)), degrees), near[self.indices.numpy()])
        return costs


def check_describable(config: ModelConfig, node: NodeDescription) -> None:
    """Refuse a model that reads more of a node than features and sources.

    Raises:
        NewNodeError: it reads types of nodes or edges, learned embeddings, edge features or times.
    """
    if config.encoder == "typed" or config.conv in ("rgcn", "hgt", "tgat") or config.d_edge:
        raise NewNodeError(node.id, "the model reads types, features or times of nodes and edges "
                           "that a description does not have; choose another model")  # fmt: skip


def describe(data: Dataset, new_nodes: Sequence[NodeDescription], d_in: int) -> Described:
    """Checked arrays of what a client describes.

    Raises:
        NewNodeError: an id is in the graph or given twice, or features do not fit.
        UnknownNodeError: an edge comes from a node that is not in the graph.
    """
    _check_ids(data, new_nodes)
    rows = [_features(node, d_in) for node in new_nodes]
    edges = [np.sort(_sources(data, node)) for node in new_nodes]
    return _described(torch.from_numpy(np.stack(rows)), edges)


def described_blocks(
    data: Dataset, described: Described, lower: Sampler | None, seed: int | None
) -> tuple[tuple[Block, ...], Tensor]:
    """Blocks that end in the described nodes, and the graph's nodes whose features they read.

    Args:
        data: the graph.
        described: the nodes.
        lower: samples all layers but the last; None for a model of one layer.
        seed: randomness of the neighbors drawn.

    Returns:
        One Block per layer. The input rows are `described.x`, then those of the nodes returned.
    """
    seeds = torch.from_numpy(described.neighbors)
    hops = () if lower is None else lower.sample(seeds, seed)
    nodes = hops[0].src_nodes if hops else seeds
    world = _world(data, described, nodes)
    blocks = [_widened(described, hop.num_src, hop.indptr, hop.indices, world) for hop in hops]
    empty = torch.zeros(1, dtype=torch.int64)
    last = _widened(described, len(seeds), empty, empty[:0], world)
    return (*blocks, last), nodes


def _described(x: Tensor, edges: Sequence[NDArray[np.int64]]) -> Described:
    flat = np.concatenate([np.zeros(0, np.int64), *edges])
    neighbors, places = np.unique(flat, return_inverse=True)
    indptr = np.cumsum([0, *(len(row) for row in edges)], dtype=np.int64)
    indices = torch.from_numpy(places.astype(np.int64))
    return Described(x, neighbors, torch.from_numpy(indptr), indices)


def _widened(
    described: Described, num_src: int, indptr: Tensor, indices: Tensor, world: Tensor
) -> Block:
    """One hop with the described nodes in front of its sources and destinations."""
    new = len(described.x)
    return Block(
        src_nodes=torch.arange(new + num_src),
        indptr=torch.cat([described.indptr, indptr[1:] + described.indptr[-1]]),
        indices=torch.cat([described.indices, indices.long()]).add_(new).to(torch.int32),
        graph_indptr=world,
    )


def _world(data: Dataset, described: Described, nodes: Tensor) -> Tensor:
    """Offsets of a graph that holds only the rows at hand, with the degrees of the real one."""
    array = nodes.numpy()
    degrees = torch.from_numpy(data.graph.indptr[array + 1] - data.graph.indptr[array])
    new_degrees = described.indptr[1:] - described.indptr[:-1]
    return torch.cat([torch.zeros(1, dtype=torch.int64), new_degrees, degrees]).cumsum(0)


def _check_ids(data: Dataset, new_nodes: Sequence[NodeDescription]) -> None:
    seen: set[Id] = set()
    for node, row in zip(new_nodes, data.ids.find([n.id for n in new_nodes]), strict=True):
        if row >= 0:
            raise NewNodeError(node.id, "is in the graph already; ask for it in `nodes`")
        if node.id in seen:
            raise NewNodeError(node.id, "is described twice; describe each node once")
        seen.add(node.id)


def _sources(data: Dataset, node: NodeDescription) -> NDArray[np.int64]:
    rows = data.ids.find(node.in_edges)
    if (rows < 0).any():
        raise UnknownNodeError([node.in_edges[i] for i in np.flatnonzero(rows < 0).tolist()])
    return rows


def _features(node: NodeDescription, d_in: int) -> NDArray[np.float32]:
    if len(node.features) != d_in:
        raise NewNodeError(node.id, f"has {len(node.features)} features; the model reads {d_in}")
    with np.errstate(over="ignore"):
        row = np.asarray(node.features, np.float64).astype(np.float32)
    if not np.isfinite(row).all():
        raise NewNodeError(node.id, "has a feature that is not a finite float32 number")
    return row
