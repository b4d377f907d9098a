"""Coarsening by heavy-edge matching (Karypis, Kumar: A Fast and High Quality Multilevel Scheme for
Partitioning Irregular Graphs, 1998).

Both ends of a heavy edge become one node, so that much of the weight of the edges disappears into
nodes. The matching is the greedy one, heaviest edge first, equals by a hash of (seed, edge); it has
at least half of the largest possible weight (Preis 1999) and does not depend on threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling import kernels
from sampling.graph.csc import Graph

__all__ = ["Coarsening", "coarsen", "merge_edges"]

MASK = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Coarsening:
    """A smaller graph, and which of its nodes every node became.

    Attributes:
        graph: directed as the graph before, with the weights of merged edges added up.
        cluster: (num_nodes,) node of the coarse graph.
        sizes: nodes that each coarse node stands for.
    """

    graph: Graph
    cluster: NDArray[np.int64]
    sizes: NDArray[np.int64]


def coarsen(graph: Graph, *, seed: int = 0, num_threads: int | None = None) -> Coarsening:
    """The graph with matched pairs of nodes as one node; edges inside a pair disappear.

    Nodes are matched along edges of either direction; the weight of a pair is that of all edges
    between them (their number where edges have no weights).

    Args:
        graph: any graph of one type; features and times of edges are left out.
        seed: decides between edges of equal weight.
        num_threads: all cores when left out.

    Cost: a sort of the edges, two where they do not all run both ways.

    Example:
        >>> path = Graph.from_edges([0, 1, 1, 2], [1, 0, 2, 1], edge_weight=[1, 1, 5, 5])
        >>> coarsen(path).cluster.tolist()
        [0, 1, 1]
    """
    threads = num_threads or kernels.default_threads()
    src, dst = graph.indices, _destinations(graph)
    both = _both_ways(graph, src, dst, threads)
    cluster = kernels.heavy_edge_matching(
        both.indptr, both.indices, both.edge_weight, seed & MASK, threads
    )
    became = cluster.astype(graph.indices.dtype)
    size = int(cluster.max(initial=-1)) + 1
    small = merge_edges(became[src], became[dst], graph.edge_weight, size, threads)
    return Coarsening(small, cluster, np.bincount(cluster, minlength=size).astype(np.int64))


def merge_edges(
    src: NDArray[Any],
    dst: NDArray[Any],
    weight: NDArray[np.float32] | None,
    num_nodes: int,
    num_threads: int,
) -> Graph:
    """A graph without self-loops whose parallel edges are one, weights added up.

    Args:
        src: sources, (num_edges,).
        dst: destinations, (num_edges,).
        weight: (num_edges,) float32, added up in float64 in the order of the edges; None for ones.
        num_nodes: how many.
        num_threads: changes nothing.
    """
    kept = src != dst
    src, dst = src[kept], dst[kept]
    if weight is None:
        indptr, sources = kernels.build_csc(src, dst, num_nodes, num_threads)
    else:
        indptr, order = kernels.csc_order(src, dst, num_nodes, None, None, None, num_threads)
        sources, weight = src[order], weight[kept][order]
    if not len(sources):
        return Graph(indptr, sources, edge_weight=np.empty(0, np.float32))
    first = ~_repeats(indptr, sources)
    starts = np.flatnonzero(first)
    if weight is None:
        sums = np.diff(starts, append=len(sources)).astype(np.float32)
    else:
        sums = np.add.reduceat(weight.astype(np.float64), starts).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(first)])
    return Graph(offsets[indptr], sources[starts], edge_weight=sums)


def _both_ways(graph: Graph, src: NDArray[Any], dst: NDArray[Any], num_threads: int) -> Graph:
    """Every pair of neighbors once in both rows, with the weight of all edges between them.

    A graph that is so already is left as it is: half of every weight, and the same order.
    """
    if _is_simple(graph, num_threads):
        return graph
    weight = None if graph.edge_weight is None else np.tile(graph.edge_weight, 2)
    ends = np.concatenate([src, dst]), np.concatenate([dst, src])
    return merge_edges(*ends, weight, graph.num_nodes, num_threads)


def _is_simple(graph: Graph, num_threads: int) -> bool:
    """Whether every edge runs both ways, with one weight, and only once."""
    if len(graph.edge_types) > 1 or _repeats(graph.indptr, graph.indices).any():
        return False
    indptr, indices, order = kernels.transpose(
        graph.indptr, graph.indices, graph.num_nodes, num_threads
    )
    if not (np.array_equal(indptr, graph.indptr) and np.array_equal(indices, graph.indices)):
        return False
    weight = graph.edge_weight
    return weight is None or np.array_equal(weight, weight[order])


def _repeats(indptr: NDArray[np.int64], sources: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether an edge has the source of the edge before it in its row."""
    again = np.zeros(len(sources), bool)
    again[1:] = sources[1:] == sources[:-1]
    starts = indptr[:-1]
    again[starts[starts < len(sources)]] = False
    return again


def _destinations(graph: Graph) -> NDArray[Any]:
    nodes = np.arange(graph.num_nodes, dtype=graph.indices.dtype)
    return np.repeat(nodes, graph.in_degrees())
