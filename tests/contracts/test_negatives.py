"""Compiled negative sampling and its twin draw exactly the same nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import edge_lists

from sampling.kernels import _core, reference


@given(
    edge_lists(max_nodes=15),
    st.integers(0, 4),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3]),
    st.integers(0, 2**64 - 1),
    st.data(),
)
def test_negatives_are_equal_under_any_threads(edges, count, weighted, exclude, tries, seed, data):
    start = data.draw(st.integers(0, edges.num_nodes - 1))
    end = data.draw(st.integers(start + 1, edges.num_nodes))
    rng = np.random.default_rng(seed)
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    src, dst = rng.integers(0, edges.num_nodes, (2, 25))
    weights = rng.integers(0, 4, end - start)
    weights[-1] += 1
    until = np.cumsum(weights) if weighted else None
    arguments = (indptr, indices.astype(edges.src.dtype), src, dst, count, start, end, until)
    twin = reference.sample_negatives(*arguments, exclude, True, tries, seed, 1)
    for sorted_rows, threads in [(True, 1), (True, 2), (False, 3)]:
        ours = _core.sample_negatives(*arguments, exclude, sorted_rows, tries, seed, threads)
        np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize(
    "wrong",
    [
        {"src": [2]},
        {"src": [-1]},
        {"dst": [0, 1]},
        {"start": -1},
        {"start": 1, "end": 1},
        {"end": 3},
        {"count": -1},
        {"count": 2**62},
        {"tries": 0},
        {"until": [1]},
        {"until": [0, 0]},
        {"indptr": [0, 10**9, 2], "src": [1]},
        {"indptr": [0, 1, 3]},
    ],
)
def test_wrong_arrays_raise_and_read_nothing_outside(wrong):
    good = {"indptr": [0, 1, 2], "indices": [1, 0], "src": [0], "dst": [1], "count": 40,
            "start": 0, "end": 2, "until": None, "exclude": True, "sorted_rows": True, "tries": 2,
            "seed": 1, "num_threads": 1}  # fmt: skip
    arguments = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in (good | wrong).items()
    }
    with pytest.raises(ValueError, match=r"outside|differ|span|zero|too small"):
        _core.sample_negatives(**arguments)


def test_a_running_sum_that_falls_leads_nowhere_else():
    graph = (np.array([0, 0, 0]), np.array([], np.int32), np.array([0]), np.array([1]))
    negatives = _core.sample_negatives(*graph, 50, 0, 2, np.array([9, 5]), False, True, 2, 1, 1)
    assert set(negatives.ravel().tolist()) <= {0, 1}
