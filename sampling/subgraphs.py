"""Subgraphs as mini-batches: all edges between a set of nodes, seen by every layer alike.

ShaDow (Zeng et al.: Decoupling the Depth and Scope of Graph Neural Networks, 2021) gives each seed
a subgraph of its own, as deep as its scope, and a model on it as many layers as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.csc import Graph, as_tensor
from sampling.sampler import ALL, checked_seeds

__all__ = ["ShaDowSampler", "Subgraph", "induced_block"]

MASK = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A mini-batch that is a graph of its own.

    Attributes:
        nodes: its nodes in the whole graph, (num_nodes,) int64; every Block's sources and
            destinations.
        blocks: one per layer, all the same.
        node_weight: factor of every node's loss, (num_nodes,) float32, or None for equal ones.
    """

    nodes: Tensor
    blocks: tuple[Block, ...]
    node_weight: Tensor | None = None


def induced_block(
    graph: Graph,
    nodes: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    num_threads: int | None = None,
) -> Block:
    """Every edge between two of `nodes`, as one Block whose sources and destinations they are.

    Args:
        graph: where the edges are.
        nodes: (num_nodes,) distinct dense nodes.
        groups: component of every node, (num_nodes,); edges between components are left out, and
            a node may be in several.
        num_threads: all cores when left out.

    Raises:
        InputError: an entry is not a node of the graph, or is there twice.
    """
    nodes = checked_seeds(nodes, graph.num_nodes)
    try:
        offsets, local, edges = kernels.induced_subgraph(
            graph.indptr, graph.indices, nodes, groups, num_threads or kernels.default_threads()
        )
    except ValueError as error:
        raise InputError(f"{error}; give distinct nodes of the graph") from None
    ids = torch.from_numpy(edges)

    def of_edges(array: NDArray[np.generic] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array[edges])

    return Block(
        src_nodes=torch.from_numpy(nodes),
        indptr=torch.from_numpy(offsets),
        indices=torch.from_numpy(local),
        graph_indptr=as_tensor(graph.indptr),
        edge_ids=ids,
        edge_type=of_edges(graph.edge_type),
        edge_weight=of_edges(graph.edge_weight),
        edge_time=of_edges(graph.edge_time),
        edge_features=of_edges(graph.edge_features),
        type_starts=graph.type_starts,
    )


class ShaDowSampler:
    """Gives every seed its own induced subgraph, on which all layers run.

    The scope of a seed is what `fanouts` reach from it by drawing in-neighbors without
    replacement. The scopes of a batch do not touch, even where they share nodes. They depend on
    (seed, hop, node) and the graph alone.

    Args:
        graph: the graph.
        num_layers: number of Blocks, independent of the depth of the scope.
        fanouts: in-neighbors drawn per node at each hop, from the seed outwards; -1 takes all.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: a fanout is below -1, or there is no layer.

    Example:
        >>> path = Graph.from_edges([1, 2, 3], [0, 1, 2], num_nodes=4)
        >>> blocks = ShaDowSampler(path, num_layers=3, fanouts=[-1, -1]).sample([0])
        >>> blocks[0].src_nodes.tolist(), blocks[-1].dst_nodes.tolist()
        ([0, 1, 2], [0])
    """

    def __init__(
        self,
        graph: Graph,
        num_layers: int,
        fanouts: Sequence[int],
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        if num_layers < 1:
            raise InputError(f"num_layers is {num_layers}; it must be at least 1")
        if any(int(k) != k or k < ALL for k in fanouts):
            raise InputError(f"fanouts {list(fanouts)}: give one integer per hop, -1 for all")
        self.graph, self.num_layers = graph, num_layers
        self.fanouts = [int(k) for k in fanouts]
        self.seed = seed
        self.num_threads = num_threads or kernels.default_threads()

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]:
        """Blocks for these seeds: the scopes side by side, the seeds first.

        Every Block is the same subgraph, but for the last, whose destinations are the seeds.

        Raises:
            InputError: a seed is not a node of the graph, or the batch is too large to number.
        """
        nodes = checked_seeds(seeds, self.graph.num_nodes)
        groups, members = self._scopes(nodes, (self.seed if seed is None else seed) & MASK)
        block = induced_block(self.graph, members, groups=groups, num_threads=self.num_threads)
        return (block,) * (self.num_layers - 1) + (first_rows(block, len(nodes)),)

    def _scopes(
        self, seeds: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Component and node of every member, the seeds first, the others in order."""
        size = max(self.graph.num_nodes, 1)
        if len(seeds) > (1 << 62) // size:
            raise InputError(f"{len(seeds)} seeds are too many for one batch; split them")
        # A member is one number, component · size + node: sets of members are sorted arrays.
        roots = np.arange(len(seeds)) * size + seeds
        frontier = known = roots
        for hop, fanout in enumerate(self.fanouts):
            offsets, edges = kernels.sample_neighbors(
                self.graph.indptr, self.graph.indices, frontier % size, fanout, seed, hop,
                self.num_threads,
            )  # fmt: skip
            component = np.repeat(frontier - frontier % size, np.diff(offsets))
            frontier = np.setdiff1d(component + self.graph.indices[edges], known)
            known = np.union1d(known, frontier)
        members = np.concatenate([roots, np.setdiff1d(known, roots)])
        return members // size, members % size


def first_rows(block: Block, count: int) -> Block:
    """The same sources, and the first `count` destinations with their edges."""
    end = int(block.indptr[count])

    def edges(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[:end]

    return Block(
        src_nodes=block.src_nodes,
        indptr=block.indptr[: count + 1],
        indices=block.indices[:end],
        graph_indptr=block.graph_indptr,
        edge_ids=edges(block.edge_ids),
        edge_type=edges(block.edge_type),
        edge_weight=edges(block.edge_weight),
        edge_time=edges(block.edge_time),
        edge_features=edges(block.edge_features),
        type_starts=block.type_starts,
    )
