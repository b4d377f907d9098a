"""Runs and their merge: the compiled kernels equal their twins, and parts equal the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EdgeList, edge_lists

from sampling.kernels import _core, reference


@given(edge_lists(), st.booleans(), st.integers(1, 3))
def test_runs_are_partitioned_alike(edges: EdgeList, with_order: bool, threads: int) -> None:
    given_edges = (edges.src, edges.dst, edges.num_nodes, with_order)
    for ours, twin in zip(
        _core.partition_edges(*given_edges, threads),
        reference.partition_edges(*given_edges, 1),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, twin)


def runs_of(edges: EdgeList, count: int) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Runs of every `count`-th edge, their bounds and their shift."""
    parts = [
        reference.partition_edges(
            edges.src[i::count], edges.dst[i::count], edges.num_nodes, False, 1
        )
        for i in range(count)
    ]
    return [p[0] for p in parts], np.stack([p[1] for p in parts]), parts[0][3]


@given(edge_lists(), st.integers(1, 4))
def test_merged_runs_are_the_columns_of_all_edges(edges: EdgeList, count: int) -> None:
    words, bounds, shift = runs_of(edges, count)
    job = (words, bounds, shift, edges.num_nodes, edges.num_nodes, 2)
    whole = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    for ours, twin, expected in zip(
        _core.merge_runs(*job), reference.merge_runs(*job), whole, strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(twin, expected)
        assert ours.dtype == twin.dtype == expected.dtype


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_buckets_may_be_merged_a_few_at_a_time(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    n = 10_001
    edges = EdgeList(rng.integers(0, n, 500), rng.integers(0, n, 500), n)
    words, bounds, shift = runs_of(edges, count)
    indptr, indices = reference.build_csc(edges.src, edges.dst, n, 1)
    middle = int(rng.integers(0, bounds.shape[1]))
    for first, last in ((0, middle), (middle, bounds.shape[1] - 1)):
        low, high = first << shift, min(last << shift, n)
        found = _core.merge_runs(words, bounds[:, first : last + 1].copy(), shift, n, high - low, 2)
        np.testing.assert_array_equal(found[0], indptr[low : high + 1] - indptr[low])
        np.testing.assert_array_equal(found[1], indices[indptr[low] : indptr[high]])


@given(edge_lists(), st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(1, 3))
def test_typed_runs_are_ordered_alike(edges: EdgeList, seed: int, which: int, count: int) -> None:
    words, bounds, shift = runs_of(edges, count)
    rng, size = np.random.default_rng(seed), len(edges.src)
    kinds = rng.integers(0, 3, size).astype(np.int16) if which & 1 else None
    times = rng.integers(-5, 5, size) if which & 2 else None
    weights = rng.integers(0, 3, size).astype(np.float32) if which & 4 else None
    starts = np.cumsum([0] + [len(w) for w in words])[:-1]
    job = (np.concatenate(words), bounds + starts[:, None], shift, edges.num_nodes,
           edges.num_nodes, kinds, times, weights, 2)  # fmt: skip
    for ours, twin in zip(_core.order_runs(*job), reference.order_runs(*job), strict=True):
        np.testing.assert_array_equal(ours, twin)


def test_no_rows_make_no_edges() -> None:
    job = ([np.empty(0, np.uint64)], np.zeros((1, 2), np.int64), 0, 0, 0, 1)
    for implementation in (_core, reference):
        indptr, indices = implementation.merge_runs(*job)
        assert indptr.tolist() == [0] and len(indices) == 0


WORDS, BOUNDS = np.zeros(2, np.uint64), np.array([[0, 2]])


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.partition_edges(np.array([0]), np.array([3]), 3, False, 1),
        lambda: _core.partition_edges(np.array([0, 1]), np.array([1]), 3, False, 1),
        lambda: _core.merge_runs([WORDS], np.array([[0, 3]]), 2, 4, 4, 1),
        lambda: _core.merge_runs([WORDS], np.array([[2, 0]]), 2, 4, 4, 1),
        lambda: _core.merge_runs([WORDS], BOUNDS, 2, 4, 9, 1),
        lambda: _core.merge_runs([WORDS, WORDS], BOUNDS, 2, 4, 4, 1),
        lambda: _core.merge_runs([np.array([1 << 60], np.uint64)], BOUNDS // 2, 2, 4, 4, 1),
        lambda: _core.order_runs(WORDS, BOUNDS, 2, 4, 4, np.zeros(1, np.int16), None, None, 1),
    ],
)
def test_wrong_runs_raise_and_read_nothing_outside(call) -> None:
    with pytest.raises(ValueError, match=r"outside|differ|leave|fall"):
        call()
