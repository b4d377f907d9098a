"""Negative edges: pairs of nodes without an edge, to tell true edges from.

The source of an edge is kept and its destination replaced, uniformly or in proportion to a power
of the in-degree (0.75 is the noise of word2vec; Mikolov et al. 2013). On request the source is
drawn too: sources that come from edges have high degrees, and a model that is to tell edges from
any two nodes must see pairs in which neither has. Which negatives an edge gets depends on (seed,
src, dst) and the graph, and on nothing else: not on the batch, the order or the number of threads.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.csc import Graph, NodeType
from sampling.sampler import checked_seeds
from sampling.walks import rows_are_sorted

__all__ = ["NegativeSampler"]

MASK = 0xFFFFFFFFFFFFFFFF
TOTAL = float(1 << 62)  # what the running sum of weights stays below
TRIES = 16
Nodes = NDArray[np.int64]


class NegativeSampler:
    """Draws destinations that a source has no edge to.

    After 16 draws that were refused, the next candidate without an edge is taken, in order of
    nodes and from the start again: the law of a source that is linked to nearly all candidates
    is no longer exactly the one asked for, but a negative is never an edge.

    Args:
        graph: whose edges are not to be drawn.
        num_negatives: negatives per edge; one may come twice.
        power: candidates are drawn in proportion to in-degree to this power; 0 is uniform. Above
            0 a node without in-edges is never drawn.
        node_type: name of the type that candidates have; all nodes when left out.
        exclude_edges: False draws any candidate, edges and the source itself included.
        replace_sources: `pairs` draws sources as well, all equally likely.
        source_type: name of the type that these have; all nodes when left out.
        seed: any integer; the default of `sample`.
        num_threads: all cores when left out.

    Raises:
        InputError: a number is out of its range, there is no such type, or no candidate.

    Cost: a draw, and a search in the row of the candidate: a bisection unless the graph has edge
        types or times, a scan of the row where it has.

    Example:
        >>> path = Graph.from_edges([0, 1], [1, 2], num_nodes=3)
        >>> NegativeSampler(path, num_negatives=3).sample([0], [1]).tolist()
        [[2, 2, 2]]
    """

    def __init__(
        self,
        graph: Graph,
        num_negatives: int = 1,
        *,
        power: float = 0.0,
        node_type: str | None = None,
        exclude_edges: bool = True,
        replace_sources: bool = False,
        source_type: str | None = None,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        if num_negatives < 1:
            raise InputError(f"num_negatives is {num_negatives}; it must be at least 1")
        if not 0 <= power <= 2:
            raise InputError(f"power is {power}; give a number from 0 to 2")
        self.graph, self.num_negatives, self.exclude_edges = graph, num_negatives, exclude_edges
        self.start, self.end = _candidates(graph, node_type)
        self.sources = _candidates(graph, source_type) if replace_sources else None
        self._until = _running_sum(graph.in_degrees()[self.start : self.end], power)
        self.seed = seed
        self.num_threads = num_threads or kernels.default_threads()

    def sample(
        self, src: ArrayLike | Tensor, dst: ArrayLike | Tensor, seed: int | None = None
    ) -> Tensor:
        """Negative destinations for the edges `src[i] → dst[i]`, (num_edges, num_negatives) int64.

        Args:
            src: sources, (num_edges,) dense nodes.
            dst: true destinations, the same shape.
            seed: randomness of this call, where it is not the sampler's own.

        Raises:
            InputError: an entry is not a node, the lengths differ, or a source has an edge to
                every candidate.
        """
        sources, destinations = self._checked(src, dst)
        return torch.from_numpy(self._destinations(sources, destinations, self.num_negatives, seed))

    def pairs(
        self, src: ArrayLike | Tensor, dst: ArrayLike | Tensor, seed: int | None = None
    ) -> Tensor:
        """Negative pairs, those of one edge side by side, (2, num_edges * num_negatives) int64.

        Args:
            src: sources of edges, (num_edges,) dense nodes.
            dst: their destinations, the same shape.
            seed: randomness of this call, where it is not the sampler's own.

        Raises:
            InputError: as of `sample`.
        """
        sources, destinations = self._checked(src, dst)
        if self.sources is None:
            drawn = self._destinations(sources, destinations, self.num_negatives, seed)
            return torch.from_numpy(
                np.stack([np.repeat(sources, self.num_negatives), drawn.ravel()])
            )
        heads = self._draw(
            sources, destinations, self.num_negatives, self.sources, None, False, seed
        )
        tails = self._destinations(
            heads.ravel(), np.repeat(destinations, self.num_negatives), 1, seed
        )
        return torch.from_numpy(np.stack([heads.ravel(), tails.ravel()]))

    def _checked(self, src: ArrayLike | Tensor, dst: ArrayLike | Tensor) -> tuple[Nodes, Nodes]:
        sources = checked_seeds(src, self.graph.num_nodes)
        destinations = checked_seeds(dst, self.graph.num_nodes)
        if len(sources) != len(destinations):
            raise InputError(f"src has {len(sources)} entries and dst has {len(destinations)}; "
                             "give one of each per edge")  # fmt: skip
        return sources, destinations

    def _destinations(self, sources: Nodes, dst: Nodes, count: int, seed: int | None) -> Nodes:
        span = self.start, self.end
        negatives = self._draw(sources, dst, count, span, self._until, self.exclude_edges, seed)
        full = (negatives < 0).any(axis=1)
        if full.any():
            raise InputError(f"node {sources[full][0]} has an edge to every candidate, so it has "
                             "no negatives; leave it out or pass exclude_edges=False")  # fmt: skip
        return negatives

    def _draw(
        self,
        sources: Nodes,
        dst: Nodes,
        count: int,
        span: tuple[int, int],
        until: Nodes | None,
        exclude_edges: bool,
        seed: int | None,
    ) -> Nodes:
        """Nodes of `span` for every edge, (num_edges, count)."""
        drawn: Nodes = kernels.sample_negatives(
            self.graph.indptr,
            self.graph.indices,
            sources,
            dst,
            count,
            *span,
            until,
            exclude_edges,
            rows_are_sorted(self.graph),
            TRIES,
            (self.seed if seed is None else seed) & MASK,
            self.num_threads,
        )
        return drawn


def _candidates(graph: Graph, name: str | None) -> tuple[int, int]:
    whole = NodeType("all", 0, graph.num_nodes)
    types = {t.name: t for t in graph.node_types}
    if name is not None and name not in types:
        raise InputError(f"there is no node type {name!r}; choose one of {', '.join(types)}")
    chosen = whole if name is None else types[name]
    if chosen.num_nodes < 1:
        raise InputError("there are no nodes to draw negatives from; give a graph that has some")
    return chosen.start, chosen.end


def _running_sum(degrees: NDArray[np.int64], power: float) -> NDArray[np.int64] | None:
    """Whole-number weights in proportion to degrees^power, summed up; None for equal ones."""
    if power == 0:
        return None
    weights = degrees.astype(np.float64) ** power
    if weights.sum() == 0:
        raise InputError(f"no candidate has an in-edge, so power={power} draws none; pass power=0")
    scale = min(TOTAL / weights.sum(), 1 << 32)
    return np.cumsum(np.floor(weights * scale).astype(np.int64))
