"""Neighbor sampling: from seeds to the Blocks of a mini-batch.

Uniform sampling without replacement after GraphSAGE (Hamilton, Ying, Leskovec 2017). Which
neighbors are drawn depends on (seed, layer, node) and the graph, and on nothing else: not on
the batch, the order or the number of threads.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.csc import Graph, as_tensor

__all__ = ["FullNeighborSampler", "NeighborSampler", "Sampler", "checked_seeds", "make_block"]

ALL = -1
MOST = 1 << 62


class Sampler(Protocol):
    """From seeds to Blocks, one per layer, in the order the layers run."""

    graph: Graph
    num_threads: int

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]: ...


class NeighborSampler:
    """Draws up to `fanouts[i]` in-neighbors per node for layer i, uniformly, without replacement.

    Args:
        graph: the graph to sample from.
        fanouts: neighbors per node for each layer; `fanouts[i]` belongs to `blocks[i]`, so the
            last entry is drawn first, from the seeds. -1 takes all.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: a fanout is below -1 or there is none.

    Example:
        >>> graph = Graph.from_edges([1, 2, 0], [0, 0, 1], num_nodes=3)
        >>> [block] = NeighborSampler(graph, fanouts=[1], seed=0).sample([0, 1])
        >>> block.dst_nodes.tolist(), block.indptr.tolist()
        ([0, 1], [0, 1, 2])
    """

    def __init__(
        self,
        graph: Graph,
        fanouts: Sequence[int],
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        if not fanouts or any(int(k) != k or k < ALL for k in fanouts):
            raise InputError(f"fanouts {list(fanouts)}: give one integer per layer, -1 for all")
        self.graph = graph
        self.fanouts = [min(int(k), MOST) for k in fanouts]
        self.seed = seed
        self.num_threads = num_threads or kernels.default_threads()
        self._workspaces: queue.LifoQueue[kernels.Workspace] = queue.LifoQueue()

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]:
        """Blocks for these seeds; safe to call from several threads.

        Args:
            seeds: dense nodes to predict for, (batch,) integers, repeats allowed.
            seed: randomness of this call, where it is not the sampler's own.

        Returns:
            One Block per layer, in the order the layers run; `blocks[-1].dst_nodes` equals
            `seeds`, in the order given.

        Raises:
            InputError: a seed is not a node of the graph.
        """
        return self.draw(seeds, self.key(seed))[1]

    def draw(
        self, seeds: ArrayLike | Tensor, key: int, first_layer: int = 0
    ) -> tuple[NDArray[np.int64], tuple[Block, ...]]:
        """All nodes of the batch, and the Blocks of the layers from `first_layer` on."""
        graph = self.graph
        with self._workspace() as workspace:
            nodes, hops = kernels.sample_blocks(
                workspace,
                graph.indptr,
                graph.indices,
                checked_seeds(seeds, graph.num_nodes),
                self.fanouts[first_layer:],
                key,
                self.num_threads,
                _has_edge_data(graph),
                first_layer,
            )
        all_nodes, indptr = torch.from_numpy(nodes), as_tensor(graph.indptr)
        return nodes, tuple(
            make_block(
                graph, indptr, all_nodes[:num_src], offsets, local, edge_ids, self.num_threads
            )
            for offsets, local, num_src, edge_ids in hops
        )

    def key(self, seed: int | None) -> int:
        """What the kernels draw with: this seed, or the sampler's own, as 64 bits."""
        return (self.seed if seed is None else seed) & 0xFFFFFFFFFFFFFFFF

    @contextmanager
    def _workspace(self) -> Iterator[kernels.Workspace]:
        try:
            workspace = self._workspaces.get_nowait()
        except queue.Empty:
            workspace = kernels.Workspace()
        try:
            yield workspace
        finally:
            self._workspaces.put(workspace)


class FullNeighborSampler(NeighborSampler):
    """Takes every in-neighbor in every layer: exact, and no randomness.

    Args:
        graph: the graph.
        num_layers: number of Blocks.
        num_threads: threads for one batch; all cores when left out.
    """

    def __init__(self, graph: Graph, num_layers: int, num_threads: int | None = None) -> None:
        super().__init__(graph, [ALL] * num_layers, 0, num_threads)


def _has_edge_data(graph: Graph) -> bool:
    arrays = (graph.edge_type, graph.edge_weight, graph.edge_time, graph.edge_features)
    return any(array is not None for array in arrays)


def make_block(
    graph: Graph,
    graph_indptr: Tensor,
    src_nodes: Tensor,
    offsets: NDArray[np.int64],
    local: NDArray[Any],
    edge_ids: NDArray[np.int64] | None,
    num_threads: int,
) -> Block:
    """One hop as a Block that carries the graph's edge data."""

    def edges(array: NDArray[Any] | None) -> Tensor | None:
        if array is None or edge_ids is None:
            return None
        if array.ndim > 1:
            return torch.from_numpy(array[edge_ids])
        return torch.from_numpy(kernels.take(array, edge_ids, num_threads))

    return Block(
        src_nodes=src_nodes,
        indptr=torch.from_numpy(offsets),
        indices=torch.from_numpy(local),
        graph_indptr=graph_indptr,
        edge_ids=None if edge_ids is None else torch.from_numpy(edge_ids),
        edge_type=edges(graph.edge_type),
        edge_weight=edges(graph.edge_weight),
        edge_time=edges(graph.edge_time),
        edge_features=edges(graph.edge_features),
        type_starts=graph.type_starts,
    )


def checked_seeds(seeds: ArrayLike | Tensor, num_nodes: int) -> NDArray[np.int64]:
    """Seeds as an array of dense nodes; an InputError where one is not a node."""
    array = seeds.numpy(force=True) if isinstance(seeds, Tensor) else np.asarray(seeds)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"seeds must be a list of integers, got {array.dtype} {array.shape}")
    nodes = np.ascontiguousarray(array, dtype=np.int64)
    outside = (nodes < 0) | (nodes >= num_nodes)
    if outside.any():
        raise InputError(f"seed {nodes[outside][0]} is not a node; nodes run from 0 to "
                         f"{num_nodes - 1}")  # fmt: skip
    return nodes
