"""Compiled walks and their twins step on exactly the same nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EdgeList, edge_lists

from sampling.kernels import _core, reference

THREADS = (1, 2, 3)
SEEDS = st.integers(0, 2**64 - 1)
BIAS = st.sampled_from([1, 2**16, 2**30, 2**31, 2**32])


def adjacency(edges: EdgeList) -> tuple[np.ndarray, np.ndarray]:
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    return indptr, indices.astype(edges.src.dtype)


def starts_in(edges: EdgeList, seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, edges.num_nodes, size)


@given(edge_lists(), st.integers(0, 9), st.sampled_from([0, 1, 2**31, 2**32]), SEEDS)
def test_walks_are_equal_under_any_threads(edges, length, restart, seed):
    starts = starts_in(edges, seed % 999, 150)
    rest = (starts, length, restart, seed)
    twin = reference.random_walks(*adjacency(edges), *rest, 1)
    for threads in THREADS:
        np.testing.assert_array_equal(_core.random_walks(*adjacency(edges), *rest, threads), twin)


@given(edge_lists(), st.integers(0, 6), st.tuples(BIAS, BIAS, BIAS), st.booleans(), SEEDS)
def test_biased_walks_are_equal_under_any_threads(edges, length, biases, sorted_rows, seed):
    starts = starts_in(edges, seed % 999, 100)
    rest = (starts, length, biases, sorted_rows, seed)
    twin = reference.biased_walks(*adjacency(edges), *rest, 1)
    for threads in THREADS:
        np.testing.assert_array_equal(_core.biased_walks(*adjacency(edges), *rest, threads), twin)


def test_thousands_of_walkers_share_threads_and_stay_equal():
    rng = np.random.default_rng(0)
    edges = EdgeList(rng.integers(0, 500, 6000), rng.integers(0, 500, 6000), 500)
    starts = rng.integers(0, 500, 4000)
    twin = reference.random_walks(*adjacency(edges), starts, 3, 0, 5, 1)
    for threads in THREADS:
        ours = _core.random_walks(*adjacency(edges), starts, 3, 0, 5, threads)
        np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("kernel", ["random_walks", "biased_walks"])
@pytest.mark.parametrize(
    ("indptr", "indices", "starts"),
    [
        ([0, 1, 2], [1, 7], [0]),
        ([0, 1, 2], [1, -1], [0]),
        ([0, 1, 2], [1, 0], [2]),
        ([0, 1, 2], [1, 0], [-1]),
        ([0, 10**9, 2], [1, 0], [0, 1]),
        ([0, 1, 3], [1, 0], [0]),
    ],
)
def test_wrong_arrays_raise_and_read_nothing_outside(kernel, indptr, indices, starts):
    graph = (np.array(indptr), np.array(indices), np.array(starts), 60)
    rest = (0, 1, 1) if kernel == "random_walks" else ((1, 2, 3), True, 1, 1)
    with pytest.raises(ValueError, match=r"outside|span"):
        getattr(_core, kernel)(*graph, *rest)


@given(
    edge_lists(),
    st.sampled_from([1, 5, 70]),
    st.integers(1, 4),
    st.sampled_from([1, 3, 50]),
    SEEDS,
)
def test_important_neighbors_are_equal_under_any_threads(edges, num_walks, length, top, seed):
    nodes = starts_in(edges, seed % 999, 20)
    rest = (nodes, num_walks, length, 2**31, top, seed)
    twin = reference.important_neighbors(*adjacency(edges), *rest, 1)
    for threads in THREADS:
        ours = _core.important_neighbors(*adjacency(edges), *rest, threads)
        for one, other in zip(ours, twin, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "call",
    [
        lambda *graph: _core.random_walks(*graph, -1, 0, 1, 1),
        lambda *graph: _core.random_walks(*graph, 2**62, 0, 1, 1),
        lambda *graph: _core.biased_walks(*graph, 2**63 - 1, (1, 1, 1), True, 1, 1),
        lambda *graph: _core.biased_walks(*graph, 3, (0, 1, 1), True, 1, 1),
        lambda *graph: _core.important_neighbors(*graph, 2**62, 4, 0, 3, 1, 1),
        lambda *graph: _core.important_neighbors(*graph, 5, -4, 0, 3, 1, 1),
        lambda *graph: _core.important_neighbors(*graph, 5, 4, 0, -3, 1, 1),
        lambda *graph: _core.important_neighbors(*graph, -5, 4, 0, 3, 1, 1),
    ],
)
def test_counts_that_make_no_table_raise(call):
    with pytest.raises(ValueError, match="outside"):
        call(np.array([0, 1, 2]), np.array([1, 0]), np.array([0, 1]))
