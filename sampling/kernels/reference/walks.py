"""Random walks along in-neighbors: uniform, with restarts, and of second order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.random import GOLDEN, MASK, draw, mix, stream_key

__all__ = ["biased_walks", "random_walks"]

Array = NDArray[Any]
Biases = tuple[int, int, int]
WALK_SALT = 0x77616C6B73
ATTEMPTS = 32


def walk_key(seed: int, number: int, start: int) -> int:
    """The key of walk `number` from `start`."""
    return stream_key((seed ^ WALK_SALT) & MASK, number, start)


def step_word(key: int, step: int) -> int:
    """What one step of a walk is drawn from."""
    return mix((key + GOLDEN * (step + 1)) & MASK)


def coin(key: int, step: int) -> int:
    """Uniform on 0 … 2^32 - 1, independent of `draw(key, 2 * step, n)`."""
    return step_word(key, step) >> 32


def random_walks(
    indptr: Array,
    indices: Array,
    starts: Array,
    length: int,
    restart: int,
    seed: int,
    num_threads: int,
) -> Array:
    """Nodes of one walk per start, (len(starts), length + 1), -1 after a dead end.

    A step returns to the start when its coin is below `restart` (of 2^32). Walks that share a
    start are numbered from the left.
    """
    out = np.full((len(starts), length + 1), -1, np.int64)
    for row, start, number in _numbered(out, starts):
        key, at = walk_key(seed, number, start), start
        row[0] = start
        for step in range(length):
            neighbors = indices[indptr[at] : indptr[at + 1]]
            if coin(key, step) < restart:
                at = start
            elif len(neighbors) == 0:
                break
            else:
                at = int(neighbors[draw(key, 2 * step, len(neighbors))])
            row[step + 1] = at
    return out


def biased_walks(
    indptr: Array,
    indices: Array,
    starts: Array,
    length: int,
    biases: Biases,
    sorted_rows: bool,
    seed: int,
    num_threads: int,
) -> Array:
    """Walks of second order (node2vec), as `random_walks` gives them.

    Args:
        indptr: offsets.
        indices: in-neighbors.
        starts: first nodes.
        length: steps.
        biases: for going back, for staying near and for going further, of 2^32.
        sorted_rows: whether rows are sorted by source alone.
        seed: randomness.
        num_threads: threads.
    """
    out = np.full((len(starts), length + 1), -1, np.int64)
    for row, start, number in _numbered(out, starts):
        key = walk_key(seed, number, start)
        row[0] = start
        for step in range(length):
            at, before = int(row[step]), int(row[step - 1]) if step else -1
            neighbors = indices[indptr[at] : indptr[at + 1]].tolist()
            if not neighbors:
                break
            near = set() if before < 0 else set(indices[indptr[before] : indptr[before + 1]])
            weights = [_bias(biases, before, near, node) for node in neighbors]
            row[step + 1] = neighbors[_weighted_draw(weights, mix(step_word(key, step)))]
    return out


def _numbered(rows: Array, starts: Array) -> list[tuple[Array, int, int]]:
    """Rows with their start and how often it was there before."""
    seen: Counter[int] = Counter()
    out = []
    for row, start in zip(rows, starts.tolist(), strict=True):
        out.append((row, start, seen[start]))
        seen[start] += 1
    return out


def _bias(biases: Biases, before: int, near: set[int], node: int) -> int:
    if before < 0:
        return 1 << 32
    return biases[0] if node == before else biases[1] if node in near else biases[2]


def _weighted_draw(weights: list[int], key: int) -> int:
    """A place drawn by weight (at most 2^32): by rejection, then from their sum."""
    for attempt in range(ATTEMPTS):
        place = draw(key, 2 * attempt, len(weights))
        if coin(key, attempt) < weights[place]:
            return place
    until = np.cumsum(weights)
    return int(np.searchsorted(until, draw(key, 2 * ATTEMPTS, int(until[-1])), side="right"))
