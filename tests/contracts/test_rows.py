"""Gathering and aggregating rows: the compiled kernels equal their twins, hubs included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import room_for_sums
from strategies import EdgeList, arrays, edge_lists

from sampling.graph.features import FeatureTable
from sampling.kernels import _core, reference

STORAGES = ["float32", "float16", "bfloat16", "int8"]
SEGMENT = 1 << 16
"""Longer rows are cut into segments of this many edges."""


def csc(edges: EdgeList):
    return reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)


@pytest.mark.parametrize("storage", STORAGES)
@given(st.integers(1, 30), st.integers(1, 300), st.integers(0, 99), st.integers(0, 2**32 - 1))
def test_gathered_rows_are_equal(storage, rows, columns, picks, seed):
    table = FeatureTable.from_rows(arrays(seed, (rows, columns)), storage)
    wanted = np.random.default_rng(seed).integers(0, rows, picks)
    given_rows = (table.array, wanted, table.scale, 2)
    np.testing.assert_array_equal(_core.gather(*given_rows), reference.gather(*given_rows))


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float32])
@given(st.integers(1, 50), st.integers(0, 40_000), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_taken_values_are_equal_under_any_threads(dtype, size, picks, seed):
    values = np.arange(size).astype(dtype)
    positions = np.random.default_rng(seed).integers(0, size, picks)
    expected = reference.take(values, positions, 1)
    for threads in (1, 3):
        taken = _core.take(values, positions, threads)
        assert taken.dtype == dtype
        np.testing.assert_array_equal(taken, expected)


def test_a_position_outside_the_values_is_refused():
    for outside in (-1, 3):
        with pytest.raises(ValueError, match="a position is outside the values"):
            _core.take(np.zeros(3, np.float32), np.array([0, outside]), 2)


def test_every_float16_and_bfloat16_is_widened_exactly():
    bits = np.arange(2**16, dtype=np.uint16).reshape(-1, 64)
    rows = np.arange(len(bits))
    halves = bits.view(np.float16)
    np.testing.assert_array_equal(_core.gather(halves, rows, None, 1), halves.astype(np.float32))
    expected = reference.to_float32(bits, None)
    np.testing.assert_array_equal(_core.gather(bits, rows, None, 1), expected)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@given(edge_lists(), st.integers(1, 300), st.integers(0, 2**32 - 1), st.integers(0, 3))
@settings(max_examples=25)
def test_aggregates_agree_under_any_threads(storage, reduce, edges, columns, seed, weighted):
    indptr, indices = csc(edges)
    table = FeatureTable.from_rows(arrays(seed, (edges.num_nodes, columns)), storage)
    edge_weight = arrays(seed, (len(indices),)) if weighted & 1 else None
    node_weight = arrays(seed + 1, (edges.num_nodes,)) if weighted & 2 else None
    given_rows = (indptr, indices, table.array, table.scale, edge_weight, node_weight, reduce)
    ours, arg = _core.aggregate(*given_rows, 1)
    twin, twin_arg = reference.aggregate(*given_rows, 1)
    sizes = [None if w is None else np.abs(w) for w in (edge_weight, node_weight)]
    rows = reference.to_float32(table.array, table.scale)
    added, _ = reference.aggregate(indptr, indices, np.abs(rows), None, *sizes, reduce, 1)
    assert (np.abs(ours - twin) <= room_for_sums(indptr, added)).all()
    for threads in (2, 4):
        assert (_core.aggregate(*given_rows, threads)[0] == ours).all()
    if arg is not None:
        np.testing.assert_array_equal(arg, twin_arg)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@pytest.mark.parametrize("degree", [SEGMENT, SEGMENT + 1, 3 * SEGMENT + 777])
def test_hubs_give_the_same_bits_under_any_threads(reduce, degree):
    rng = np.random.default_rng(degree)
    indptr = np.array([0, 3, 3 + degree, 5 + degree, 5 + 2 * degree, 9 + 2 * degree])
    indices = rng.integers(0, 500, indptr[-1]).astype(np.int32)
    x = arrays(degree, (500, 19))
    weight = arrays(degree, (len(indices),))
    given_rows = (indptr, indices, x, None, weight, None, reduce)
    ours, arg = _core.aggregate(*given_rows, 1)
    twin, twin_arg = reference.aggregate(*given_rows, 1)
    np.testing.assert_allclose(ours, twin, rtol=1e-5, atol=2e-3)
    for threads in (2, 3):
        again, again_arg = _core.aggregate(*given_rows, threads)
        np.testing.assert_array_equal(again, ours)
        if arg is not None:
            np.testing.assert_array_equal(again_arg, arg)
    if arg is not None:
        np.testing.assert_array_equal(arg, twin_arg)


def test_rows_of_more_than_2_to_the_24_edges_are_counted_to_the_last_one():
    degree = 2**24 + 2**16 + 8
    indptr, indices = np.array([0, degree]), np.zeros(degree, np.int32)
    indices[-1] = 1
    x = np.array([[1], [9]], np.int8)
    scale = np.ones(1, np.float32)
    total, _ = _core.aggregate(indptr, indices, x, scale, None, None, "sum", 2)
    mean, _ = _core.aggregate(indptr, indices, x, scale, None, None, "mean", 2)
    largest, arg = _core.aggregate(indptr, indices, x, scale, None, None, "max", 2)
    assert total.tolist() == [[degree + 8]]
    assert mean[0, 0] == pytest.approx((degree + 8) / degree, rel=1e-7)
    assert (largest.tolist(), arg.tolist()) == ([[9.0]], [[degree - 1]])


def test_rows_beyond_2_to_the_31_are_read():
    """A table whose pages exist only where they are written."""
    num_rows = 2**31 + 8
    x = np.zeros((num_rows, 1), np.int8)
    x[[5, 2**31 - 1, 2**31, num_rows - 1], 0] = [1, 2, 3, 4]
    wanted = np.array([num_rows - 1, 2**31, 2**31 - 1, 5, 6])
    scale = np.ones(1, np.float32)
    assert _core.gather(x, wanted, scale, 2)[:, 0].tolist() == [4, 3, 2, 1, 0]
    given_rows = (np.array([0, 2, 5]), wanted, x, scale, None, None)
    assert _core.aggregate(*given_rows, "sum", 1)[0].tolist() == [[7], [3]]
    largest, arg = _core.aggregate(*given_rows, "max", 1)
    assert (largest.tolist(), arg.tolist()) == ([[4], [2]], [[0], [2]])


def test_results_too_large_for_the_caches_are_the_same_rows():
    """Large results take another way to memory."""
    x = arrays(1, (1000, 64))
    rows = np.arange(140_000) % 1000
    indptr = np.arange(len(rows) + 1)
    gathered = _core.gather(x, rows, None, 2)
    np.testing.assert_array_equal(gathered, x[rows])
    total, _ = _core.aggregate(indptr, rows, x, None, None, None, "sum", 2)
    np.testing.assert_array_equal(total, gathered)


def test_the_first_not_a_number_wins_a_max_as_in_numpy():
    x = np.array([[1.0], [np.nan], [3.0]], np.float32)
    indptr, indices = np.array([0, 4, 6]), np.array([0, 1, 2, 1, 2, 0])
    for implementation in (_core, reference):
        out, arg = implementation.aggregate(indptr, indices, x, None, None, None, "max", 1)
        np.testing.assert_array_equal(out, [[np.nan], [3.0]])
        assert arg.tolist() == [[1], [4]]


@given(edge_lists(), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_gradients_of_a_max_are_equal(edges, columns, seed):
    indptr, indices = csc(edges)
    x, grad = arrays(seed, (edges.num_nodes, columns)), arrays(seed + 1, (edges.num_nodes, columns))
    _, arg = reference.aggregate(indptr, indices, x, None, None, None, "max", 1)
    given_rows = (arg, indices, grad, edges.num_nodes)
    ours, twin = _core.max_backward(*given_rows, 2), reference.max_backward(*given_rows, 1)
    np.testing.assert_allclose(ours, twin, rtol=1e-5, atol=1e-5)


def rows_call(indptr, indices, **changes):
    x = np.zeros((2, 2), np.float32)
    weights = (changes.get("edge_weight"), changes.get("node_weight"))
    return lambda: _core.aggregate(
        np.array(indptr), np.array(indices, np.int64), x, None, *weights, "sum", 1
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.gather(np.zeros((2, 2), np.float32), np.array([2]), None, 1),
        lambda: _core.gather(np.zeros((2, 2), np.float32), np.array([-1]), None, 1),
        rows_call([0, 1], [3]),
        rows_call([0, 2], [0]),
        rows_call([0, 9, 1], [0]),
        rows_call([0, -9, 1], [0]),
        rows_call([0, 1], [0], edge_weight=np.ones(2, np.float32)),
        rows_call([0, 1], [0], node_weight=np.ones(3, np.float32)),
        lambda: _core.max_backward(
            np.array([[0]]), np.array([7]), np.ones((1, 1), np.float32), 2, 1
        ),
    ],
)
def test_wrong_rows_raise_and_read_nothing_outside(call):
    with pytest.raises(ValueError, match=r"outside|differs|span"):
        call()
