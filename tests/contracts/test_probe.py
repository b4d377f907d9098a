"""The probes read what they say: their sums equal those of their twins, with any threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling.kernels import _core, reference


def words(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, size, dtype=np.uint64)


@given(st.integers(8, 500), st.integers(0, 300), st.integers(0, 99), st.integers(1, 4))
def test_sums_of_random_lines_are_equal(size, reads, seed, threads):
    table = words(size, seed)
    ours = _core.sum_random_lines(table, reads, threads)
    assert ours == reference.sum_random_lines(table, reads, 1)


@pytest.mark.parametrize("size", [0, 1, 1000, 600_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_sums_of_a_stream_are_equal(size, threads):
    table = words(size, size)
    assert _core.sum_stream(table, threads) == reference.sum_stream(table, 1)


@pytest.mark.parametrize("implementation", [_core, reference])
def test_random_lines_of_less_than_a_line_are_refused(implementation):
    with pytest.raises(ValueError, match="cache line"):
        implementation.sum_random_lines(words(7, 0), 1, 1)
