"""Attention over edges: the compiled kernels equal their twins, hubs included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import arrays, edge_lists

from sampling.kernels import _core, reference

SEGMENT = 1 << 16
"""Longer rows are cut into segments of this many edges."""
SLOPE = 0.25


def scores_for(seed: int, additive: bool, num_dst: int, num_src: int, num_edges: int, heads: int):
    """Scores that are far apart, so that the largest must be taken off first."""
    if additive:
        return None, 30 * arrays(seed, (num_dst, heads)), 30 * arrays(seed + 1, (num_src, heads))
    return 60 * arrays(seed, (num_edges, heads)), None, None


def check_both_directions(indptr, indices, x, heads, scores, factors, threads, tolerance=1e-4):
    given_rows = (indptr, indices, x, heads, *scores, SLOPE, factors)
    out, log_total = _core.attend(*given_rows, 1)
    twin, twin_total = reference.attend(*given_rows, 1)
    np.testing.assert_allclose(out, twin, rtol=1e-4, atol=tolerance)
    np.testing.assert_allclose(log_total, twin_total, rtol=1e-5, atol=1e-5)
    grad = arrays(len(indices), out.shape)
    results = (out, log_total, grad)
    grads = _core.attend_backward(*given_rows, *results, 1)
    twin_grads = reference.attend_backward(*given_rows, *results, 1)
    for ours, theirs in zip(grads, twin_grads, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=10 * tolerance)
    for number in threads:
        np.testing.assert_array_equal(_core.attend(*given_rows, number)[0], out)
        for one, many in zip(
            grads, _core.attend_backward(*given_rows, *results, number), strict=True
        ):
            assert one is None or (one == many).all()


@given(
    edge_lists(),
    st.integers(1, 8),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_both_directions_agree_under_any_threads(edges, heads, width, additive, dropped, seed):
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    x = arrays(seed, (edges.num_nodes, heads * width))
    scores = scores_for(seed, additive, edges.num_nodes, edges.num_nodes, len(indices), heads)
    rng = np.random.default_rng(seed)
    factors = 2 * rng.integers(0, 2, (len(indices), heads)).astype(np.float32) if dropped else None
    check_both_directions(indptr, indices, x, heads, scores, factors, (2, 4))


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("hub", ["in", "out"])
def test_hubs_give_the_same_bits_under_any_threads(additive, hub):
    rng = np.random.default_rng(3)
    degree = 2 * SEGMENT + 99
    src, dst = rng.integers(0, 300, 2 * degree), rng.integers(0, 300, 2 * degree)
    (dst if hub == "in" else src)[:degree] = 7
    indptr, indices = reference.build_csc(src, dst, 300, 1)
    scores = scores_for(5, additive, 300, 300, len(indices), 3)
    x = arrays(4, (300, 3 * 5))
    check_both_directions(indptr, indices, x, 3, scores, None, (2, 3), tolerance=1e-3)


@pytest.mark.parametrize("heads", [1, 16, 17, 100, 256])
def test_many_heads_and_wide_rows_are_equal(heads):
    rng = np.random.default_rng(heads)
    indptr, indices = reference.build_csc(rng.integers(0, 30, 900), rng.integers(0, 30, 900), 30, 1)
    scores = scores_for(heads, True, 30, 30, 900, heads)
    check_both_directions(indptr, indices, arrays(1, (30, heads * 3)), heads, scores, None, (2,))


@pytest.mark.parametrize("kind", [np.float16, np.uint16])
def test_half_precision_rows_give_what_their_values_give(kind):
    rows = arrays(1, (9, 22)).astype(np.float16)
    x = rows if kind is np.float16 else (rows.astype(np.float32).view(np.uint32) >> 16).astype(kind)
    indptr, indices = np.array([0, 4, 4, 9]), np.arange(9)
    logits = arrays(2, (9, 2))
    given_edges = (indptr, indices)
    scores = (2, logits, None, None, 0.0, None, 1)
    out, _ = _core.attend(*given_edges, x, *scores)
    wide, _ = _core.attend(*given_edges, reference.to_float32(x, None), *scores)
    np.testing.assert_array_equal(out, wide)


def test_edges_of_score_minus_infinity_are_not_there():
    indptr, indices = np.array([0, 2, 4]), np.array([0, 1, 0, 1])
    logits = np.array([[-np.inf], [3.0], [-np.inf], [-np.inf]], np.float32)
    x = np.array([[1.0], [2.0]], np.float32)
    out, log_total = _core.attend(indptr, indices, x, 1, logits, None, None, 0.0, None, 1)
    assert out.tolist() == [[2.0], [0.0]]
    np.testing.assert_allclose(log_total, [[3.0], [0.0]])


def call(**changes):
    arrays_given = {
        "indptr": np.array([0, 1]),
        "indices": np.array([0]),
        "x": np.ones((1, 4), np.float32),
        "heads": 2,
        "logits": np.ones((1, 2), np.float32),
        "dst_scores": None,
        "src_scores": None,
        "slope": 0.0,
        "factors": None,
    } | changes
    return lambda: _core.attend(**arrays_given, num_threads=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"indices": np.array([1])},
        {"indptr": np.array([0, 9, 1])},
        {"heads": 3},
        {"heads": 0},
        {"heads": 1000},
        {"logits": None},
        {"logits": np.ones((2, 2), np.float32)},
        {"logits": None, "dst_scores": np.ones((1, 2), np.float32)},
        {
            "logits": None,
            "dst_scores": np.ones((1, 2), np.float32),
            "src_scores": np.ones((2, 2), np.float32),
        },
        {"factors": np.ones((1, 3), np.float32)},
        {"x": np.ones((1, 4), np.int8)},
    ],
)
def test_wrong_arrays_raise_and_read_nothing_outside(wrong):
    with pytest.raises(ValueError, match=r"outside|differ|span|evenly|either|int8"):
        call(**wrong)()
