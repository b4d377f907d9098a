"""What a node will cost, in edges, before its neighborhood is read: known from degrees alone.

The exact cost of v under L layers counts the walks of up to L hops that end in v:
cost_1(v) = d(v),  cost_L(v) = d(v) + Σ_{u → v} cost_{L-1}(u).  It depends on the node and on
nothing else, so that the choice between exact and sampled does not either. Walks that meet are
counted apart, which makes it a little high; what lower layers read of v itself is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sampling import Graph

__all__ = ["are_soon_counted", "exact_costs", "sampled_costs"]

WALKS_AT_ONCE = 1 << 21
SOON = 1 << 16
"""Walks that are followed in a millisecond or so."""
HOP = 1024
"""Walks that take as long as a hop does without any."""

Array = NDArray[np.int64]


def exact_costs(graph: Graph, nodes: Array, num_layers: int, limit: int) -> Array:
    """Walks that the exact embedding of every node follows, (len(nodes),) int64.

    Args:
        graph: the graph.
        nodes: dense nodes, (n,).
        num_layers: hops.
        limit: counting stops above it; such an entry is a lower bound that exceeds the limit.

    Cost: at most `limit` reads per node.
    """
    step = max(1, WALKS_AT_ONCE // max(limit, 1))
    parts = [nodes[start : start + step] for start in range(0, len(nodes), step)]
    costs = [_exact_costs(graph, part, num_layers, limit) for part in parts]
    return np.concatenate(costs) if costs else np.zeros(0, np.int64)


def are_soon_counted(graph: Graph, nodes: Array, num_layers: int, limit: int) -> bool:
    """Whether `exact_costs` of the same takes no more than a millisecond or so.

    To count the walks of one more hop is to follow those that are known: of the first hop their
    number is the sum of the degrees, without that of nodes which are over the limit at once.

    Cost: at most that long itself.
    """
    followed = 0
    for hops in range(1, num_layers):
        known = exact_costs(graph, nodes, hops, limit)
        followed += int(known[known <= limit].sum()) + hops * HOP
        if followed > SOON:
            return False
    return True


def sampled_costs(graph: Graph, nodes: Array, fanouts: Sequence[int]) -> Array:
    """Edges that sampling from every node reads at most, (len(nodes),) int64, at least 1.

    Under layers that take all neighbors, but for the last, it is an estimate from the mean degree.
    """
    mean_degree = graph.num_edges // max(graph.num_nodes, 1) + 1
    lower = 0
    for fanout in fanouts[:-1]:
        drawn = fanout if fanout >= 0 else mean_degree
        lower += drawn * (1 + lower)
    degrees = _degrees(graph, nodes)
    drawn_first = degrees if fanouts[-1] < 0 else np.minimum(degrees, fanouts[-1])
    return 1 + lower + drawn_first * (1 + lower)


def _exact_costs(graph: Graph, nodes: Array, num_layers: int, limit: int) -> Array:
    costs = np.zeros(len(nodes), np.int64)
    owner, frontier = np.arange(len(nodes)), nodes
    for hop in range(num_layers):
        degrees = _degrees(graph, frontier)
        np.add.at(costs, owner, degrees)
        if hop + 1 == num_layers:
            break
        cheap = costs[owner] <= limit
        owner, frontier = _neighbors(graph, owner[cheap], frontier[cheap], degrees[cheap])
        if len(frontier) == 0:
            break
    return costs


def _degrees(graph: Graph, nodes: Array) -> Array:
    degrees: Array = graph.indptr[nodes + 1] - graph.indptr[nodes]
    return degrees


def _neighbors(graph: Graph, owner: Array, nodes: Array, degrees: Array) -> tuple[Array, Array]:
    """Every in-neighbor of every node, beside the owner of the walk that led there."""
    before = np.cumsum(degrees) - degrees
    place = np.repeat(graph.indptr[nodes] - before, degrees) + np.arange(degrees.sum())
    return np.repeat(owner, degrees), graph.indices[place].astype(np.int64)
