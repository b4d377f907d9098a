"""One suite for both implementations of the kernels: what is compiled equals its slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EdgeList, edge_lists

from sampling import kernels
from sampling.kernels import _core, reference


def test_every_kernel_has_a_twin_and_the_compiled_one_is_in_use():
    names = [name for name in kernels.__all__ if name != "default_threads"]
    for name in names:
        assert getattr(kernels, name) is getattr(_core, name)
        assert callable(getattr(reference, name))


def csc(edges: EdgeList):
    return reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)


@given(edge_lists(), st.integers(1, 4))
def test_built_columns_are_equal(edges, threads):
    for ours, twin in zip(
        _core.build_csc(edges.src, edges.dst, edges.num_nodes, threads), csc(edges), strict=True
    ):
        assert ours.dtype == twin.dtype
        np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("size", [200_000, 1_500_000])
@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_large_builds_are_equal_under_any_number_of_threads(size, hub, dtype):
    rng = np.random.default_rng(size)
    src = rng.integers(0, 70_000, size).astype(dtype)
    dst = (rng.integers(0, 70_000, size) // (30_000 if hub else 1)).astype(dtype)
    twin = reference.build_csc(src, dst, 70_000, 1)
    for threads in (1, 2, 3):
        ours = _core.build_csc(src, dst, 70_000, threads)
        assert all((a == b).all() for a, b in zip(ours, twin, strict=True))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("num_src", [3, 300, 500_000])
def test_rows_of_every_length_are_sorted_with_and_without_repeats(num_src, dtype):
    dst = np.repeat(np.arange(300), np.arange(300))
    src = np.random.default_rng(num_src).integers(0, num_src, len(dst))
    given_edges = (src.astype(dtype), dst.astype(dtype), max(num_src, 300))
    for ours, twin in zip(
        _core.build_csc(*given_edges, 2), reference.build_csc(*given_edges, 1), strict=True
    ):
        np.testing.assert_array_equal(ours, twin)


@given(edge_lists(), st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_typed_rows_are_put_in_the_same_order(edges, seed, which):
    rng, size = np.random.default_rng(seed), len(edges.src)
    kinds = rng.integers(0, 3, size).astype(np.int16) if which & 1 else None
    times = rng.integers(-5, 5, size) if which & 2 else None
    weights = rng.integers(0, 3, size).astype(np.float32) if which & 4 else None
    given_edges = (edges.src, edges.dst, edges.num_nodes, kinds, times, weights, 2)
    for ours, twin in zip(
        _core.csc_order(*given_edges), reference.csc_order(*given_edges), strict=True
    ):
        np.testing.assert_array_equal(ours, twin)


@given(edge_lists(), st.sampled_from(["ok", "start", "fall", "end", "high", "low"]))
def test_faults_of_an_adjacency_are_named_alike(edges, fault):
    indptr, indices = (a.copy() for a in csc(edges))
    if fault == "start":
        indptr[0] = 1
    elif fault == "fall" and edges.num_nodes > 2:
        indptr[1] = indptr[2] + 1
    elif fault == "end":
        indptr[-1] += 1
    elif fault in ("high", "low") and len(indices):
        indices[len(indices) // 2] = edges.num_nodes if fault == "high" else -1
    ours = _core.check_csc(indptr, indices, 2)
    assert ours == reference.check_csc(indptr, indices, 2)
    if fault == "ok":
        assert ours == ""


@given(edge_lists())
def test_transposes_are_equal(edges):
    indptr, indices = csc(edges)
    for ours, twin in zip(
        _core.transpose(indptr, indices, edges.num_nodes, 2),
        reference.transpose(indptr, indices, edges.num_nodes, 1),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("num_src", [1, 300, 50_000])
def test_large_transposes_are_equal_under_any_number_of_threads(num_src, dtype):
    rng = np.random.default_rng(num_src)
    indptr = np.zeros(20_001, np.int64)
    np.cumsum(rng.integers(0, 40, 20_000) * rng.integers(0, 2, 20_000), out=indptr[1:])
    indices = rng.integers(0, num_src, indptr[-1]).astype(dtype)
    twin = reference.transpose(indptr, indices, num_src, 1)
    for threads in (1, 2, 3):
        ours = _core.transpose(indptr, indices, num_src, threads)
        assert all((a == b).all() for a, b in zip(ours, twin, strict=True))


@given(
    edge_lists(max_nodes=12, max_edges=900),
    st.sampled_from([-1, 0, 1, 2, 5, 15, 63, 64, 65, 70]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 3),
)
def test_sampled_edges_are_equal(edges, fanout, seed, layer):
    indptr, indices = csc(edges)
    nodes = np.arange(edges.num_nodes)
    for ours, twin in zip(
        _core.sample_neighbors(indptr, indices, nodes, fanout, seed, layer, 2),
        reference.sample_neighbors(indptr, indices, nodes, fanout, seed, layer, 2),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("wide", [np.int32, np.int64])
@pytest.mark.parametrize("degree", [64, 65, 5000])
def test_hubs_are_sampled_alike_in_every_branch(degree, wide):
    indptr = np.array([0, degree, degree, 2 * degree], np.int64)
    indices = (np.arange(2 * degree) % 3).astype(wide)
    for fanout in (1, 63, 64, 65, 1000):
        given_rows = (indptr, indices, np.array([2, 0, 1, 0]), fanout, 7, 1, 1)
        ours = _core.sample_neighbors(*given_rows)
        twin = reference.sample_neighbors(*given_rows)
        assert all((a == b).all() for a, b in zip(ours, twin, strict=True))


@pytest.mark.parametrize("fanout", [8, 15, 16, 17])
def test_repeated_draws_of_rows_just_beyond_a_word_give_way_alike(fanout):
    """Here a draw often meets an earlier one, or the top that took an earlier one's place."""
    degrees = np.tile(np.arange(65, 81), 20)
    indptr = np.concatenate([[0], np.cumsum(degrees)])
    indices = np.zeros(indptr[-1], np.int32)
    given_rows = (indptr, indices, np.arange(len(degrees)), fanout, 3, 1, 1)
    ours, twin = _core.sample_neighbors(*given_rows), reference.sample_neighbors(*given_rows)
    assert all((a == b).all() for a, b in zip(ours, twin, strict=True))


@given(st.integers(0, 2**64 - 1), st.integers(0, 40), st.integers(1, 2**40))
def test_a_draw_stays_in_its_range(key, j, n):
    assert 0 <= reference.draw(key, j, n) < n


@given(st.lists(st.integers(0, 2**40), max_size=30), st.lists(st.integers(0, 2**40), max_size=200))
def test_relabeling_is_equal_and_clears_nothing_between_batches(seeds, neighbors):
    workspace = _core.Workspace()
    for shift in range(3):
        batch = (np.array(seeds, np.int64) + shift, np.array(neighbors, np.int64) // (shift + 1))
        ours = _core.relabel(workspace, *batch)
        twin = reference.relabel(reference.Workspace(), *batch)
        assert all((a == b).all() for a, b in zip(ours, twin, strict=True))


@given(edge_lists(), st.lists(st.sampled_from([-1, 1, 3, 10]), min_size=1, max_size=3), st.data())
def test_whole_batches_are_equal(edges, fanouts, data):
    indptr, indices = csc(edges)
    nodes = st.integers(0, edges.num_nodes - 1)
    seeds = np.array(data.draw(st.lists(nodes, max_size=20)), np.int64)
    batch = (indptr, indices, seeds, fanouts, 3, 2, True)
    nodes, hops = _core.sample_blocks(_core.Workspace(), *batch)
    twin_nodes, twin_hops = reference.sample_blocks(reference.Workspace(), *batch)
    np.testing.assert_array_equal(nodes, twin_nodes)
    for hop, twin in zip(hops, twin_hops, strict=True):
        for ours, theirs in zip(hop, twin, strict=True):
            np.testing.assert_array_equal(ours, theirs)


KEYS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=80)


@given(KEYS, KEYS)
def test_integer_ids_are_found_alike(keys, others):
    known, asked = np.array(keys, np.int64), np.array(others + keys, np.int64)
    found = _find(_core, known, asked)
    np.testing.assert_array_equal(found, _find(reference, known, asked))
    np.testing.assert_array_equal(found[len(others) :], np.arange(len(keys)))


def _find(implementation, keys, queries):
    table, salt, duplicate = implementation.build_id_table(keys)
    assert duplicate == -1
    return implementation.find_ids(keys, table, salt, queries, 2)


@given(st.lists(st.text(max_size=20), unique=True, max_size=60), st.lists(st.text(max_size=20)))
def test_string_ids_are_found_alike(keys, others):
    from sampling.graph.ids import encode_strings

    known, asked = encode_strings(keys), encode_strings(others + keys)
    rows = []
    for implementation in (_core, reference):
        table, salt, duplicate = implementation.build_string_table(*known)
        assert duplicate == -1
        rows.append(implementation.find_strings(*known, table, salt, *asked, 2))
    np.testing.assert_array_equal(*rows)


def test_a_repeated_id_is_named():
    keys = np.array([5, 9, 5, 1])
    for implementation in (_core, reference):
        assert implementation.build_id_table(keys)[2] == 2
        strings = (np.frombuffer(b"abab", np.uint8), np.array([0, 2, 2, 4]))
        assert implementation.build_string_table(*strings)[2] == 2


def test_ids_that_share_every_low_bit_are_still_found_fast():
    keys = np.arange(100_000, dtype=np.int64) << 40
    table, salt, _ = _core.build_id_table(keys)
    np.testing.assert_array_equal(_core.find_ids(keys, table, salt, keys, 2), np.arange(100_000))


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.build_csc(np.array([0, 5]), np.array([0, 1]), 3, 1),
        lambda: _core.build_csc(np.array([0, -1]), np.array([0, 1]), 3, 1),
        lambda: _core.build_csc(np.array([0]), np.array([0, 1]), 3, 1),
        lambda: _core.transpose(np.array([0, 1]), np.array([3]), 3, 1),
        lambda: _core.transpose(np.array([0, 9, 1]), np.array([0]), 3, 1),
        lambda: _core.sample_neighbors(
            np.array([0, 1]), np.array([0], np.int32), np.array([1]), 1, 0, 0, 1
        ),
        lambda: _core.sample_aggregate(
            *(np.array([0, 1]), np.array([0], np.int32), np.array([0]), 1, 0, 0),
            *(np.zeros((2, 2), np.float32), None, None, "sum", 1),
        ),
        lambda: _hops([0, 1], [1], [1]),
        lambda: _hops([0, 1], [-1], [1]),
        lambda: _hops([0, 1], [7], [-1]),
        lambda: _hops([0, 9, 2], [0, 1], [1]),
        lambda: _hops([0, 2**40, 2], [0, 1], [-1]),
        lambda: _hops([0, -5, 2], [0, 1], [65]),
        lambda: _core.sample_aggregate(
            *(np.array([0, 1]), np.array([0], np.int32), np.array([0]), 1, 0, 0),
            *(np.zeros((1, 2), np.float32), None, np.zeros(2, np.float32), "sum", 1),
        ),
    ],
)
def test_wrong_arrays_raise_and_read_nothing_outside(call):
    with pytest.raises(ValueError, match=r"outside|differ|span|one (row|entry) per node"):
        call()


def _hops(indptr, indices, fanouts):
    batch = (np.array(indptr), np.array(indices, np.int32), np.array([0]), fanouts, 0, 2, False)
    _core.sample_blocks(_core.Workspace(), *batch)
