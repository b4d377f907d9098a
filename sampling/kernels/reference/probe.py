"""What the memory of a machine allows; the sums show that everything was read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.random import MASK, mix

__all__ = ["sum_random_lines", "sum_stream"]

LINE_WORDS = 8


def sum_random_lines(words: NDArray[Any], reads: int, num_threads: int) -> int:
    """Sum of the first words of `reads` random cache lines, modulo 2^64.

    Args:
        words: (size,) uint64, of which whole lines of eight are used.
        reads: how many; read i is of line `mix(i) * lines / 2^64`.
        num_threads: threads that share the reads.
    """
    lines = len(words) // LINE_WORDS
    if lines == 0:
        raise ValueError("words hold no whole cache line of eight")
    return sum(int(words[(mix(i) * lines >> 64) * LINE_WORDS]) for i in range(reads)) & MASK


def sum_stream(words: NDArray[Any], num_threads: int) -> int:
    """Sum of all words, (size,) uint64, modulo 2^64."""
    return int(words.sum(dtype=np.uint64))
