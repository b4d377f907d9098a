"""Importance neighborhoods: the nodes that walks from a node visit most often."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.walks import random_walks

__all__ = ["important_neighbors"]

Array = NDArray[Any]


def important_neighbors(
    indptr: Array,
    indices: Array,
    nodes: Array,
    num_walks: int,
    length: int,
    restart: int,
    top: int,
    seed: int,
    num_threads: int,
) -> tuple[Array, Array, Array]:
    """Offsets (len(nodes) + 1,), neighbors and how often they were visited.

    For each node the `top` nodes that `num_walks` of its walks visit most often, itself left
    out; most visited first, equals by node.
    """
    rows = []
    for node in nodes:
        starts = np.full(num_walks, node, np.int64)
        walks = random_walks(indptr, indices, starts, length, restart, seed, 1)
        counts = Counter(walks[(walks >= 0) & (walks != node)].tolist())
        rows.append(sorted((-count, neighbor) for neighbor, count in counts.items())[:top])
    offsets = np.zeros(len(nodes) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    flat = np.array([pair for row in rows for pair in row], np.int64).reshape(-1, 2)
    return offsets, flat[:, 1].copy(), -flat[:, 0]
