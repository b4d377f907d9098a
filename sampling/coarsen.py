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

    Cost: some sorts of the edges, and memory for about four copies of them.

    Example:
        >>> path = Graph.from_edges([0, 1, 1, 2], [1, 0, 2, 1], edge_weight=[1, 1, 5, 5])
        >>> coarsen(path).cluster.tolist()
        [0, 1, 1]
    """
    threads = num_threads or kernels.default_threads()
    src, dst = graph.indices, _destinations(graph)
    both = merge_edges(
        np.concatenate([src, dst]),
        np.concatenate([dst, src]),
        _weights(graph, copies=2),
        graph.num_nodes,
        threads,
    )
    cluster = kernels.heavy_edge_matching(
        both.indptr, both.indices, both.edge_weight, seed & MASK, threads
    )
    became = cluster.astype(graph.indices.dtype)
    size = int(cluster.max(initial=-1)) + 1
    small = merge_edges(became[src], became[dst], _weights(graph, copies=1), size, threads)
    return Coarsening(small, cluster, np.bincount(cluster, minlength=size).astype(np.int64))


def merge_edges(
    src: NDArray[Any],
    dst: NDArray[Any],
    weight: NDArray[np.float32],
    num_nodes: int,
    num_threads: int,
) -> Graph:
    """A graph without self-loops whose parallel edges are one, weights added up.

    Args:
        src: sources, (num_edges,).
        dst: destinations, (num_edges,).
        weight: (num_edges,) float32; sums are taken in float64 in the order of the edges.
        num_nodes: how many.
        num_threads: changes nothing.
    """
    kept = np.flatnonzero(src != dst)
    src, dst, weight = src[kept], dst[kept], weight[kept]
    indptr, order = kernels.csc_order(src, dst, num_nodes, None, None, weight, num_threads)
    if not len(order):
        return Graph(indptr, src, edge_weight=weight)
    sources, weights = src[order], weight[order]
    first = np.ones(len(order), bool)
    first[1:] = sources[1:] != sources[:-1]
    first[indptr[:-1][indptr[:-1] < len(order)]] = True
    starts = np.flatnonzero(first)
    sums = np.add.reduceat(weights.astype(np.float64), starts).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(first)])
    return Graph(offsets[indptr], sources[starts], edge_weight=sums)


def _destinations(graph: Graph) -> NDArray[Any]:
    nodes = np.arange(graph.num_nodes, dtype=graph.indices.dtype)
    return np.repeat(nodes, graph.in_degrees())


def _weights(graph: Graph, copies: int) -> NDArray[np.float32]:
    if graph.edge_weight is None:
        return np.ones(copies * graph.num_edges, np.float32)
    return np.tile(graph.edge_weight, copies)
