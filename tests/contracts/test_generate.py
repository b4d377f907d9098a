"""Synthetic edges and features: the compiled kernels equal their twins to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling.kernels import _core, reference

SHARES = (37356, 49807, 62259)


@given(
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.one_of(st.integers(1, 300), st.integers(2**31 - 2, 2**31 + 2), st.just(2**40)),
    st.integers(0, 2**63 - 1),
    st.integers(1, 3),
)
def test_rmat_edges_are_equal(start: int, size: int, nodes: int, seed: int, threads: int) -> None:
    job = (4 * start, 4 * start + size, nodes, seed, SHARES)
    for ours, twin in zip(
        _core.rmat_edges(*job, threads), reference.rmat_edges(*job, 1), strict=True
    ):
        assert ours.dtype == twin.dtype
        np.testing.assert_array_equal(ours, twin)


def test_many_rmat_edges_are_equal_under_any_number_of_threads() -> None:
    job = (1 << 20, (1 << 20) + 300_001, 777_777, 5, SHARES)
    twin = reference.rmat_edges(*job, 1)
    for threads in (1, 2, 3):
        ours = _core.rmat_edges(*job, threads)
        assert all((a == b).all() for a, b in zip(ours, twin, strict=True))


@given(st.integers(0, 2**40), st.integers(0, 9000), st.integers(0, 2**63 - 1), st.integers(1, 3))
def test_normal_numbers_are_equal(counter: int, count: int, seed: int, threads: int) -> None:
    ours = _core.normals(counter, count, seed, threads)
    np.testing.assert_array_equal(ours, reference.normals(counter, count, seed, 1))
    assert ours.dtype == np.float32


def test_many_normal_numbers_are_equal_under_any_number_of_threads() -> None:
    twin = reference.normals(7, 300_000, 1, 1)
    assert all((_core.normals(7, 300_000, 1, t) == twin).all() for t in (1, 2, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.rmat_edges(2, 8, 9, 0, SHARES, 1),
        lambda: _core.rmat_edges(8, 4, 9, 0, SHARES, 1),
        lambda: _core.rmat_edges(0, 4, 0, 0, SHARES, 1),
        lambda: _core.rmat_edges(0, 4, 9, 0, (5, 4, 6), 1),
        lambda: _core.normals(-1, 4, 0, 1),
    ],
)
def test_what_cannot_be_made_is_refused(call) -> None:
    with pytest.raises(ValueError, match=r"multiple|outside|rise|negative"):
        call()
