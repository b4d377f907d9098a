"""Label propagation: the compiled pass equals its twin, whatever the units, blocks and threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EdgeList, edge_lists

from sampling.kernels import _core, reference


@given(
    edge_lists(),
    st.integers(1, 40),
    st.integers(1, 50),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
)
def test_passes_are_equal(
    edges: EdgeList, clusters: int, max_size: int, block: int, seed: int, threads: int
) -> None:
    n, rng = edges.num_nodes, np.random.default_rng(seed)
    indptr, indices = reference.build_csc(edges.src, edges.dst, n, 1)
    unit = np.unique(rng.integers(0, clusters, n), return_inverse=True)[1]
    members = np.argsort(unit, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(unit))])
    labels = rng.integers(0, n, unit.max() + 1)[unit]
    job = (indptr, indices, members, starts, unit.astype(np.int32), labels.astype(np.int32))
    ours, moved = _core.propagate_communities(*job, max_size, block, threads)
    twin, twin_moved = reference.propagate_communities(*job, max_size, block, 1)
    np.testing.assert_array_equal(ours, twin)
    assert moved == twin_moved


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_many_units_move_alike_under_any_number_of_threads(dtype: type) -> None:
    rng, n = np.random.default_rng(0), 6000
    src, dst = rng.integers(0, n, (2, 30_000))
    indptr, indices = reference.build_csc(src, dst, n, 1)
    every = np.arange(n)
    job = (indptr, indices.astype(dtype), every, np.arange(n + 1), every.astype(dtype),
           every.astype(dtype), 64, 2000)  # fmt: skip
    twin, moved = reference.propagate_communities(*job, 1)
    assert moved > 1000 and np.bincount(twin).max() <= 64
    for threads in (1, 2, 3):
        ours = _core.propagate_communities(*job, threads)
        assert ours[0].dtype == dtype and (ours[0] == twin).all() and ours[1] == moved


@pytest.mark.parametrize("wrong", ["indptr", "indices", "members", "starts", "labels"])
def test_wrong_arrays_are_refused(wrong: str) -> None:
    job = {
        "indptr": np.array([0, 2, 2]),
        "indices": np.array([0, 1], np.int32),
        "members": np.array([0, 1]),
        "starts": np.array([0, 1, 2]),
        "unit_of": np.array([0, 1], np.int32),
        "labels": np.array([0, 1], np.int32),
    }
    job[wrong] = job[wrong].copy()
    job[wrong][1] = 7
    with pytest.raises(ValueError, match=r"outside|span"):
        _core.propagate_communities(*job.values(), 4, 1, 1)
