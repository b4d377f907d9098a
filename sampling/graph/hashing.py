"""SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over arrays: random words from counters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mix"]


def mix(words: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014) of counters under a seed."""
    z = words * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64((seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) & (2**64 - 1))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z
