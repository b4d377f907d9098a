"""Randomness: SplitMix64 (Steele, Lea, Flood 2014) as a counter-based generator."""

from __future__ import annotations

__all__ = [
    "GOLDEN",
    "MASK",
    "draw",
    "mix",
    "stream_key",
]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
RETRY = 1 << 32


def mix(z: int) -> int:
    """SplitMix64's finalizer: a bijection of 64-bit words that scatters every bit."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def stream_key(seed: int, layer: int, node: int) -> int:
    """The key of the random stream that belongs to one node in one layer."""
    base = mix((seed + GOLDEN * (layer + 1)) & MASK)
    return mix((base + GOLDEN * node) & MASK)


def draw(key: int, j: int, n: int) -> int:
    """Draw `j` of stream `key`: exactly uniform on 0 … n - 1 (Lemire 2019)."""
    if n >= 1 << 32:
        word = mix((key + GOLDEN * (j + 1)) & MASK)
        return _bounded(key, j, n, 64, word)
    word = mix((key + GOLDEN * (j // 2 + 1)) & MASK)
    return _bounded(key, j, n, 32, word >> 32 if j % 2 else word & 0xFFFFFFFF)


def _bounded(key: int, j: int, n: int, bits: int, word: int) -> int:
    span = 1 << bits
    threshold = span % n
    attempt = 0
    while (word * n) % span < threshold:
        attempt += 1
        word = mix((key + GOLDEN * (RETRY * attempt + j + 1)) & MASK) >> (64 - bits)
    return (word * n) >> bits
