"""Synthetic graphs: R-MAT edges and features, every number a hash of (seed, stream, counter)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.graph.hashing import mix

__all__ = ["normals", "rmat_edges", "rmat_pairs", "scramble"]

Array = NDArray[Any]
LEVELS, SCRAMBLE = 1 << 48, 2 << 48


def rmat_edges(
    start: int, end: int, num_nodes: int, seed: int, shares: tuple[int, int, int], num_threads: int
) -> tuple[Array, Array]:
    """Sources and destinations of edges `start … end`; `start` is a multiple of 4.

    Args:
        start: first edge.
        end: one past the last edge.
        num_nodes: number of nodes.
        seed: equal seeds, equal graphs.
        shares: a, a + b and a + b + c, the probabilities of the quadrants, as shares of 65536.
        num_threads: threads.
    """
    bits = max(1, (num_nodes - 1).bit_length())
    wide = np.int32 if num_nodes < 2**31 else np.int64
    src, dst = rmat_pairs(bits, start, end, seed, shares)
    return (
        scramble(src, bits, num_nodes, seed).astype(wide),
        scramble(dst, bits, num_nodes, seed).astype(wide),
    )


def rmat_pairs(
    bits: int, start: int, end: int, seed: int, shares: tuple[int, int, int]
) -> tuple[Array, Array]:
    """R-MAT edges between 0 … 2**bits - 1 before their names are scrambled.

    Four edges share a 64-bit word at each level: 16 bits choose a quadrant.
    """
    a, b, c = shares
    src, dst = (np.zeros(end - start, np.int64) for _ in range(2))
    words = np.arange(start // 4, (end + 3) // 4, dtype=np.uint64)
    for level in range(bits):
        stream = np.uint64(LEVELS + (level << 42))
        lanes = mix(words + stream, seed).view(np.uint16)[: end - start]
        below = lanes >= b
        right = (lanes >= a) ^ below ^ (lanes >= c)
        src <<= 1
        src |= below
        dst <<= 1
        dst |= right
    return src, dst


def scramble(nodes: Array, bits: int, num_nodes: int, seed: int) -> Array:
    """Other names for nodes, so that a number says nothing of a degree.

    A keyed bijection of 0 … 2**bits - 1, walked along its cycle until it falls below `num_nodes`
    again: a bijection of 0 … num_nodes - 1 (Black, Rogaway, CT-RSA 2002). Numbers from there on
    fold onto the first ones before, because a cycle that never falls below would not end.
    """
    x = nodes.astype(np.uint64)
    keys = mix(np.arange(SCRAMBLE, SCRAMBLE + 6, dtype=np.uint64), seed)
    if num_nodes == 1 << bits:
        return _permute(x, bits, keys).astype(np.int64)
    x = _permute(np.where(x < num_nodes, x, x - np.uint64(num_nodes)), bits, keys)
    outside = np.flatnonzero(x >= num_nodes)
    while len(outside):
        x[outside] = _permute(x[outside], bits, keys)
        outside = outside[x[outside] >= num_nodes]
    return x.astype(np.int64)


def _permute(x: Array, bits: int, keys: Array) -> Array:
    """Rounds of multiply by an odd key, add, and fold the high half into the low half."""
    mask, half = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    for i in range(0, len(keys), 2):
        x = x * (keys[i] | np.uint64(1))
        x += keys[i + 1]
        x &= mask
        x ^= x >> half
    return x


def normals(counter: int, count: int, seed: int, num_threads: int) -> Array:
    """Nearly normal numbers: each the sum of four uniforms (Irwin–Hall), scaled to variance 1."""
    low = np.uint64(0x0000FFFF0000FFFF)
    first = counter // 2 * 2
    words = np.arange(first, first + 2 * ((counter - first + count + 1) // 2), dtype=np.uint64)
    w = mix(words, seed ^ 0x5851F42D4C957F2D)
    w = (w & low) + (w >> np.uint64(16) & low)
    pair = w[0::2] + w[1::2]
    sums = pair.view(np.uint32).astype(np.float32)[counter - first :][:count]
    return (sums - np.float32(2 * 65535)) * np.float32(3**0.5 / 65536)
