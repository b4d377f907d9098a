"""The edges that a prediction reads: what a picture of it shows.

The same draw as the answer's: which neighbors are read depends on the seed, the layer and the node
alone, so that a node can be asked about here after it was answered for. Layers are counted from the
input, as fanouts are: those of the last are the hop next to the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sampling import Block, Dataset, NeighborSampler
from service.cost import exact_costs
from service.errors import LimitError
from service.registry import ServedModel

__all__ = ["Neighborhood", "neighborhood_of"]

EXACT_LIMIT = "edges that one node reads in mode exact"

Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighborhood:
    """Edges of one prediction, those next to the node first.

    Attributes:
        num_edges: edges that are read, listed or not.
        nodes: dense nodes of the listed edges, the node itself first, (n,).
        hops: least hops from each to the node, (n,).
        src: places in `nodes` where listed edges begin, (m,).
        dst: places where they end, (m,).
        layers: layer that reads each, from 1, (m,).
        types: code of the type of each, (m,); None where there is one.
    """

    num_edges: int
    nodes: Array
    hops: Array
    src: Array
    dst: Array
    layers: Array
    types: Array | None


def neighborhood_of(
    data: Dataset,
    model: ServedModel,
    node: int,
    mode: Literal["sampled", "exact"],
    seed: int,
    limit: int,
    max_edges: int,
) -> Neighborhood:
    """The edges that a model reads for a node.

    Args:
        data: the graph.
        model: whose layers and fanouts.
        node: dense node.
        mode: the model's fanouts, or all neighbors.
        seed: of the draw.
        limit: edges to list at most.
        max_edges: edges to read at most.

    Raises:
        LimitError: it reads more than `max_edges`.
    """
    seeds = np.array([node], np.int64)
    if mode == "exact":
        [cost] = exact_costs(data.graph, seeds, model.num_layers, max_edges).tolist()
        if cost > max_edges:
            raise LimitError(EXACT_LIMIT, max_edges, cost)
        blocks = model.exact.sample(seeds, seed)
    else:  # not the model's own sampler, which may reduce a hop in place of listing it
        blocks = NeighborSampler(data.graph, model.saved.info.fanouts, 0, 1).sample(seeds, seed)
    return _listed(blocks, node, limit)


def _listed(blocks: tuple[Block, ...], node: int, limit: int) -> Neighborhood:
    parts = list(_edges(blocks, limit))
    src, dst, layers, types = (np.concatenate(column) for column in zip(*parts, strict=True))
    hops = {node: 0}
    for a, b in zip(src.tolist(), dst.tolist(), strict=True):
        hops.setdefault(a, hops.get(b, 0) + 1)
    place = {dense: i for i, dense in enumerate(hops)}
    return Neighborhood(
        sum(block.num_edges for block in blocks),
        np.array(list(hops), np.int64),
        np.array(list(hops.values()), np.int64),
        np.array([place[a] for a in src.tolist()], np.int64),
        np.array([place[b] for b in dst.tolist()], np.int64),
        layers,
        None if blocks[0].edge_type is None else types,
    )


def _edges(blocks: tuple[Block, ...], limit: int) -> Iterator[tuple[Any, ...]]:
    """Source, destination, layer and type of the first edges of every block, the last one first."""
    for layer in range(len(blocks), 0, -1):
        block = blocks[layer - 1]
        count = min(limit, block.num_edges)
        limit -= count
        nodes, indptr = block.src_nodes.numpy(), block.indptr.numpy()
        dst = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[:count]
        types = np.zeros(count, np.int64)
        if block.edge_type is not None:
            types = block.edge_type[:count].numpy().astype(np.int64)
        yield (
            nodes[block.indices[:count].numpy()].astype(np.int64),
            nodes[dst].astype(np.int64),
            np.full(count, layer, np.int64),
            types,
        )
