"""Kernels of whole layers against their twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import arrays, edge_lists

from sampling import FeatureTable
from sampling.graph.features import STORAGE_TYPES
from sampling.kernels import _core, reference

STORAGES = list(STORAGE_TYPES)
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 8e-2, "int8": 0.11}


def weights(seed, d_out, d_in):
    return arrays(seed, (d_out, d_in))


def target(rows, columns, storage):
    scale = np.full(columns, 0.1, np.float32) if storage == "int8" else None
    return FeatureTable(np.zeros((rows, columns), STORAGE_TYPES[storage]), storage, scale)


def assert_alike(ours, twin, outcome, twin_outcome):
    assert outcome[0] == twin_outcome[0] == -1
    largest = float(np.abs(twin.rows(0, twin.num_rows).numpy()).max(initial=1))
    # sums in another order differ by the rounding of their size, and so do errors of storing them
    assert outcome[1] == pytest.approx(twin_outcome[1], abs=max(1e-3, 1e-5 * largest))
    rows, expected = ours.rows(0, ours.num_rows), twin.rows(0, twin.num_rows)
    np.testing.assert_allclose(rows, expected, rtol=1e-2, atol=TOLERANCE[ours.storage])


@settings(deadline=None)
@given(
    edge_lists(),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(STORAGES),
    st.sampled_from(STORAGES),
    st.sampled_from(["sum", "mean", "max", "norm"]),
    st.sampled_from(["both", "neighbors", "own"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_layers_agree_under_any_threads_and_tiles(
    edges, d_in, d_out, stored, storage, reduce, weighted, relu, seed
):
    graph, n = edges.graph(), edges.num_nodes
    if weighted == "own":  # what the edges bring is added as it is
        d_out = d_in
    x = FeatureTable.from_rows(arrays(seed, (n, d_in)), stored)
    weight = None if weighted == "own" else weights(seed + 1, d_out, d_in)
    own = (None, None, None)
    if weighted != "neighbors":
        own = (x.array, x.scale, weights(seed + 2, d_out, d_in))
    norm = np.abs(arrays(seed + 3, (n,))) if reduce == "norm" else None
    kind = "sum" if reduce == "norm" else reduce
    bias = arrays(seed + 4, (d_out,)) if relu else None
    common = (x.array, x.scale, norm, kind, weight, *own, bias, relu)

    def run(kernels, start, out, threads):
        given_rows = (graph.indptr, graph.indices, start, *common, out.array, out.scale, threads)
        return kernels.layer_rows(*given_rows)

    ours, twin = target(n, d_out, storage), target(n, d_out, storage)
    if storage == "int8":
        spread = target(n, d_out, "float32")
        run(reference, 0, spread, 1)
        steps = np.maximum(np.abs(spread.array).max(axis=0), 1e-3).astype(np.float32) / 127
        ours, twin = (FeatureTable(t.array, storage, steps) for t in (ours, twin))
        np.testing.assert_allclose(
            run_and_decode(run, _core, ours, 1),
            run_and_decode(run, reference, twin, 1),
            atol=float(steps.max()) * 1.01 + 1e-4,
        )
    else:
        assert_alike(ours, twin, run(_core, 0, ours, 1), run(reference, 0, twin, 1))
    for threads, step in ((4, n), (2, 7)):
        again = FeatureTable(np.zeros_like(ours.array), storage, ours.scale)
        for start in range(0, n, step):
            tile = FeatureTable(again.array[start : start + step], storage, ours.scale)
            run(_core, start, tile, threads)
        np.testing.assert_array_equal(again.array, ours.array)


def run_and_decode(run, kernels, out, threads):
    run(kernels, 0, out, threads)
    return out.rows(0, out.num_rows)


@given(st.integers(0, 40), st.integers(1, 70), st.sampled_from(STORAGES), st.integers(0, 2**32 - 1))
def test_rows_are_rounded_alike(rows, columns, storage, seed):
    values = arrays(seed, (rows, columns)) * 10.0 ** arrays(seed + 1, (columns,))
    values = values.astype(np.float32)
    ours, twin = target(rows, columns, storage), target(rows, columns, storage)
    none = (None,) * 5
    outcomes = [
        kernels.dense_rows(0, values, *none, False, out.array, out.scale, 2)
        for kernels, out in ((_core, ours), (reference, twin))
    ]
    np.testing.assert_array_equal(ours.array, twin.array)
    assert outcomes[0] == pytest.approx(outcomes[1], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("storage", "value", "fits"),
    [
        ("float16", 65519.0, True),
        ("float16", 65520.0, False),
        ("float16", 6e-8, True),
        ("bfloat16", 3.38e38, True),
        ("bfloat16", 3.4e38, False),
        ("int8", 1e30, True),
        *((storage, value, False) for storage in STORAGES for value in (np.inf, -np.inf, np.nan)),
    ],
)
@pytest.mark.parametrize("kernels", [_core, reference])
def test_the_first_row_that_does_not_fit_is_named(kernels, storage, value, fits):
    values = np.zeros((700, 3), np.float32)
    values[[500, 600], 1] = value
    out = target(700, 3, storage)
    none = (None,) * 5
    row, _ = kernels.dense_rows(40, values, *none, False, out.array, out.scale, 2)
    assert row == (-1 if fits else 540)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_every_short_float_survives_rounding(storage):
    bits = np.arange(1 << 16, dtype=np.uint16)
    array = bits.view(np.float16) if storage == "float16" else bits
    table = FeatureTable(array.reshape(-1, 1), storage)
    values = table.rows(0, 1 << 16).numpy()
    finite = np.isfinite(values[:, 0])
    out = target(int(finite.sum()), 1, storage)
    none = (None,) * 5
    outcome = _core.dense_rows(0, values[finite], *none, False, out.array, None, 1)
    assert outcome == (-1, 0.0)
    np.testing.assert_array_equal(out.rows(0, out.num_rows), values[finite])


X, OUT = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)
EDGES = (np.array([0, 1, 1]), np.array([1], np.int32))
NO_OWN = (None, None, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer(EDGES[0], np.array([2], np.int32)), "outside x"),
        (lambda: layer(np.array([0, 5, 1]), EDGES[1]), "span"),
        (lambda: layer(np.array([-4, 0, 1]), EDGES[1]), "span"),
        (lambda: layer(*EDGES, start=1), "more rows than"),
        (lambda: layer(*EDGES, start=-1), "more rows than"),
        (lambda: layer(*EDGES, weight=np.zeros((2, 3), np.float32)), "weight differs"),
        (lambda: layer(*EDGES, own=(X, None, np.zeros((3, 2), np.float32))), "own weight differs"),
        (lambda: layer(*EDGES, own=(X[:1], None, X)), "own rows end"),
        (lambda: layer(*EDGES, own=(X, None, None)), "come together"),
        (lambda: layer(*EDGES, bias=np.zeros(3, np.float32)), "bias differs"),
        (lambda: layer(*EDGES, norm=np.zeros(1, np.float32)), "differs in length"),
        (lambda: layer(*EDGES, norm=np.zeros(2, np.float32), reduce="max"), "norm belongs"),
        (lambda: layer(*EDGES, out=np.zeros((2, 2), np.int8)), "need their scale"),
        (lambda: layer(*EDGES, out=np.zeros((2, 3), np.float32)), "differ in columns"),
        (lambda: dense(X[:1]), "one for each"),
        (lambda: dense(X.astype(np.float16)), "are float32"),
    ],
)
def test_wrong_arrays_raise_and_touch_nothing_outside(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rows_that_cannot_be_written_are_refused():
    fixed = np.zeros((2, 2), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(TypeError):
        layer(*EDGES, out=fixed)


def layer(
    indptr, indices, start=0, norm=None, reduce="sum", weight=None, own=NO_OWN, bias=None, out=OUT
):
    rest = (norm, reduce, weight, *own, bias, False, out, None, 2)
    return _core.layer_rows(indptr, indices, start, X, None, *rest)


def dense(received):
    return _core.dense_rows(0, received, None, *NO_OWN, None, False, OUT, None, 2)
