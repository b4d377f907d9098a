"""Negative sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.random import MASK, draw, stream_key

__all__ = ["sample_negatives"]

Array = NDArray[Any]
NEGATIVE_SALT = 0x6E656761746976


def sample_negatives(
    indptr: Array,
    indices: Array,
    src: Array,
    dst: Array,
    count: int,
    start: int,
    end: int,
    until: Array | None,
    exclude: bool,
    sorted_rows: bool,
    tries: int,
    seed: int,
    num_threads: int,
) -> Array:
    """`count` destinations for every edge src → dst, (len(src), count).

    Args:
        indptr: offsets.
        indices: in-neighbors.
        src: source of every edge.
        dst: its true destination, which only keys the draws.
        count: negatives per edge.
        start: first candidate.
        end: one past the last candidate.
        until: running sum of the candidates' weights; None for equal ones.
        exclude: refuse the source itself and what it has an edge to. After `tries` refusals the
            next good candidate after the last one is taken, cyclically; -1 when there is none.
        sorted_rows: whether rows are sorted by source alone.
        tries: draws per negative.
        seed: randomness.
        num_threads: threads.
    """
    out = np.empty((len(src), count), np.int64)
    for i, (node, true) in enumerate(zip(src.tolist(), dst.tolist(), strict=True)):
        key = stream_key((seed ^ NEGATIVE_SALT) & MASK, node, true)
        bad = {v for v in range(start, end) if exclude and _linked(indptr, indices, node, v)}
        for j in range(count):
            out[i, j] = _negative(key, j, start, end, until, bad, tries)
    return out


def _linked(indptr: Array, indices: Array, src: int, dst: int) -> bool:
    return src == dst or src in indices[indptr[dst] : indptr[dst + 1]]


def _negative(
    key: int, j: int, start: int, end: int, until: Array | None, bad: set[int], tries: int
) -> int:
    weights = np.ones(end - start, np.int64) if until is None else np.diff(until, prepend=0)
    sums = np.cumsum(weights)
    node = start
    for attempt in range(tries):
        place = draw(key, 2 * (j * tries + attempt), int(sums[-1]))
        node = start + int(np.searchsorted(sums, place, side="right"))
        if node not in bad:
            return node
    following = [*range(node + 1, end), *range(start, node + 1)]
    return next((v for v in following if v not in bad and weights[v - start]), -1)
