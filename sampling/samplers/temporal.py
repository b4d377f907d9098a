"""Sampling before a time: no edge that a prediction at time t could not have known.

Every seed has a time, and only edges strictly before it are drawn, in every hop of its
neighborhood (Xu et al., TGAT, ICLR 2020). A node that two seeds of different times reach is two
entries of the batch, so nothing leaks from the later one to the earlier. Rows are sorted by (edge
type, time), so "before t" is a binary search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.csc import Graph
from sampling.sampler import Sampler, checked_seeds
from sampling.samplers.rule import (
    RuleSampler,
    checked_fanouts,
    to_blocks,
    too_large_is_an_input_error,
)

__all__ = ["TemporalBatch", "TemporalNeighborSampler"]

STRATEGIES = ("uniform", "recent")


@dataclass(frozen=True, slots=True)
class TemporalBatch:
    """Blocks and the times that their entries are seen at.

    Attributes:
        blocks: one per layer, in the order the layers run; `blocks[-1].dst_nodes` equals the
            seeds. `src_nodes` may hold a node several times, once for each time.
        src_times: for each block the time of the seed that each source entry serves, (num_src,)
            int64.
    """

    blocks: tuple[Block, ...]
    src_times: tuple[Tensor, ...]


class TemporalNeighborSampler(RuleSampler):
    """Draws up to `fanouts[i]` in-neighbors whose edge is before the time of the seed.

    Args:
        graph: a graph with edge times.
        fanouts: neighbors per node for each layer; -1 takes all that are eligible.
        strategy: "uniform" draws without replacement among the eligible edges; "recent" takes the
            latest, of equal times those that are later in the row.
        window: leave out edges of times before `t - window`, in the unit of the edge times.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: the graph has no times, the strategy is unknown, the window is not positive or
            a fanout is out of range.

    Example:
        >>> graph = Graph.from_edges([1, 2, 3], [0, 0, 0], edge_time=[10, 20, 30])
        >>> sampler = TemporalNeighborSampler(graph, fanouts=[1], strategy="recent")
        >>> [block] = sampler.sample([0], times=[30]).blocks
        >>> block.src_nodes[block.indices].tolist()
        [2]
    """

    def __init__(
        self,
        graph: Graph,
        fanouts: Sequence[int],
        strategy: str = "uniform",
        window: int | None = None,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(graph, seed, num_threads)
        self.fanouts = checked_fanouts(fanouts)
        self.strategy, self.window = _checked_strategy(strategy), _checked_window(window)
        self._edge_time = _edge_time(graph)

    def sample(
        self, seeds: ArrayLike | Tensor, times: ArrayLike | Tensor, seed: int | None = None
    ) -> TemporalBatch:
        """Blocks for these seeds at these times.

        Which edges are drawn for an entry depends on (seed, layer, node, time) and nothing else.

        Args:
            seeds: dense nodes to predict for, (batch,) integers, repeats allowed.
            times: when each is predicted, (batch,) integers in the unit of the edge times.
            seed: randomness of this call, where it is not the sampler's own.

        Raises:
            InputError: a seed is not a node, or there is not one integer time per seed.
        """
        nodes = checked_seeds(seeds, self.graph.num_nodes)
        seed_times = _checked_times(times, len(nodes), "seed")
        with self._workspace() as workspace, too_large_is_an_input_error():
            src_nodes, src_times, hops = kernels.temporal_blocks(
                workspace,
                self.graph.indptr,
                self.graph.indices,
                self.graph.edge_type,
                self._edge_time,
                nodes,
                seed_times,
                self.fanouts,
                self.strategy == "recent",
                self.window,
                self._randomness(seed),
                self.num_threads,
            )
        times_of = torch.from_numpy(src_times)
        degrees = torch.from_numpy(self._degrees_then(src_nodes, src_times))
        blocks = tuple(
            replace(
                block,
                graph_indptr=None,
                dst_times=times_of[: block.num_dst],
                degrees_then=degrees[: block.num_src],
            )
            for block in to_blocks(self.graph, src_nodes, hops, self.num_threads)
        )
        return TemporalBatch(blocks, tuple(times_of[: block.num_src] for block in blocks))

    def _degrees_then(
        self, nodes: NDArray[np.int64], times: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Edges into each node before its time, whatever the window: no degree of the future."""
        distinct, keys = self._sorted_keys
        before = nodes * np.int64(len(distinct) + 1) + np.searchsorted(distinct, times)
        return np.searchsorted(keys, before) - self.graph.indptr[nodes]

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The times, and (node, time) of every edge as one ascending number."""
        distinct, rank = np.unique(self._edge_time, return_inverse=True)
        nodes = np.repeat(np.arange(self.graph.num_nodes), self.graph.in_degrees())
        keys = nodes * (len(distinct) + 1) + rank
        return distinct, keys if self.graph.edge_type is None else np.sort(keys)

    def at_node_times(self, node_times: ArrayLike | Tensor) -> Sampler:
        """A sampler that looks the time of every seed up, as `MiniBatchLoader` takes it.

        Args:
            node_times: when each node is predicted, (num_nodes,) integers.

        Raises:
            InputError: there is not one integer time per node.
        """
        return _AtNodeTimes(self, _checked_times(node_times, self.graph.num_nodes, "node"))


class _AtNodeTimes:
    """Samples every seed at its own node's time."""

    def __init__(self, sampler: TemporalNeighborSampler, node_times: NDArray[np.int64]) -> None:
        self.graph, self.num_threads = sampler.graph, sampler.num_threads
        self._sampler, self._node_times = sampler, node_times

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]:
        nodes = checked_seeds(seeds, self.graph.num_nodes)
        return self._sampler.sample(nodes, self._node_times[nodes], seed).blocks


def _checked_strategy(strategy: str) -> str:
    if strategy not in STRATEGIES:
        raise InputError(f"strategy {strategy!r} is unknown; choose {' or '.join(STRATEGIES)}")
    return strategy


def _checked_window(window: int | None) -> int | None:
    if window is None:
        return None
    if not isinstance(window, int | np.integer) or not 0 < window < 2**63:
        raise InputError(f"window is {window!r}; give a positive integer in the unit of the edge "
                         "times, or leave it out")  # fmt: skip
    return int(window)


def _edge_time(graph: Graph) -> NDArray[np.int64]:
    if graph.edge_time is None:
        raise InputError("the graph has no edge times; give edge_time when it is built, or take "
                         "NeighborSampler")  # fmt: skip
    return graph.edge_time


def _checked_times(times: ArrayLike | Tensor, size: int, per: str) -> NDArray[np.int64]:
    array = times.numpy(force=True) if isinstance(times, Tensor) else np.asarray(times)
    if array.shape != (size,) or (size and array.dtype.kind not in "iu"):
        raise InputError(f"times are {array.dtype} {array.shape}; give one integer for each of the "
                         f"{size} {per}s")  # fmt: skip
    if array.dtype == np.uint64 and size and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"times hold {array.max()}, more than 64 signed bits can")
    return np.ascontiguousarray(array, dtype=np.int64)
