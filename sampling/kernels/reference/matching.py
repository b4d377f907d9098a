"""Heavy-edge matching: the heaviest free edge first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.random import GOLDEN, MASK, mix

__all__ = ["heavy_edge_matching"]

Array = NDArray[Any]


def heavy_edge_matching(
    indptr: Array, indices: Array, weight: Array | None, seed: int, num_threads: int
) -> Array:
    """A cluster for every node, (num_nodes,) int64: matched pairs, and nodes that stay alone.

    Edges are taken from the heaviest to the lightest, equals by a hash of (seed, edge), where
    both ends are still free. Clusters are numbered in the order of their first nodes.

    Args:
        indptr: offsets.
        indices: neighbors; every edge is listed at both ends, with one weight.
        weight: of every edge, finite; None where all are equal.
        seed: of the hash.
        num_threads: changes nothing.
    """
    num_nodes = len(indptr) - 1
    dst = np.repeat(np.arange(num_nodes), np.diff(indptr)).tolist()
    weights = [1.0] * len(indices) if weight is None else weight.tolist()
    edges = {
        (w, _hash(seed, min(u, v), max(u, v)), min(u, v), max(u, v))
        for u, v, w in zip(indices.tolist(), dst, weights, strict=True)
        if u != v
    }
    mate = [-1] * num_nodes
    for _, _, low, high in sorted(edges, reverse=True):
        if mate[low] < 0 and mate[high] < 0:
            mate[low], mate[high] = high, low
    cluster = np.empty(num_nodes, np.int64)
    following = 0
    for node, other in enumerate(mate):
        if 0 <= other < node:
            cluster[node] = cluster[other]
        else:
            cluster[node], following = following, following + 1
    return cluster


def _hash(seed: int, low: int, high: int) -> int:
    first = mix((seed + GOLDEN * (low + 1)) & MASK)
    return mix((first + GOLDEN * (high + 1)) & MASK)
