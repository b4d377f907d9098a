"""Attention over the edges of a block, several heads at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.rows import to_float32

__all__ = ["attend", "attend_backward"]

Array = NDArray[Any]


def attend(
    indptr: Array,
    indices: Array,
    x: Array,
    heads: int,
    logits: Array | None,
    dst_scores: Array | None,
    src_scores: Array | None,
    slope: float,
    factors: Array | None,
    num_threads: int,
) -> tuple[Array, Array]:
    """Rows weighted by a softmax over the edges of every destination.

    Head h has the columns `h * d … (h + 1) * d` of `x` (num_src, heads * d), which is float32,
    float16 or bfloat16 (as uint16 bits). The score of an edge is `logits` (num_edges, heads), or
    LeakyReLU(dst_scores + src_scores), (num_dst, heads) and (num_src, heads), with `slope` below
    0. `factors` (num_edges, heads) multiply the coefficients after the softmax.

    Returns:
        out (num_dst, heads * d) float32 and the logarithm of every denominator (num_dst, heads);
        rows without edges are 0.
    """
    num_dst = len(indptr) - 1
    log_total = np.zeros((num_dst, heads), np.float32)
    out = np.zeros((num_dst, heads, x.shape[1] // heads), np.float32)
    rows = _heads(to_float32(x, None), heads)
    scores = _scores(indptr, indices, logits, dst_scores, src_scores, slope)[0]
    for v in range(num_dst):
        edges = slice(int(indptr[v]), int(indptr[v + 1]))
        if edges.start == edges.stop:
            continue
        top = scores[edges].max(axis=0)
        powers = np.exp(scores[edges] - top)
        log_total[v] = top + np.log(powers.sum(axis=0))
        shares = powers / powers.sum(axis=0)
        if factors is not None:
            shares = shares * factors[edges]
        out[v] = np.einsum("eh,ehd->hd", shares, rows[indices[edges]])
    return out.reshape(num_dst, -1), log_total


def attend_backward(
    indptr: Array,
    indices: Array,
    x: Array,
    heads: int,
    logits: Array | None,
    dst_scores: Array | None,
    src_scores: Array | None,
    slope: float,
    factors: Array | None,
    out: Array,
    log_total: Array,
    grad: Array,
    num_threads: int,
) -> tuple[Array, Array | None, Array | None, Array | None]:
    """Gradients of `attend` by x, logits, dst_scores and src_scores; None for what was None.

    `out` and `log_total` are its results, `grad` (num_dst, heads * d) the gradient of `out`.
    """
    scores, slopes = _scores(indptr, indices, logits, dst_scores, src_scores, slope)
    dst = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    shares = np.exp(scores - log_total.astype(np.float64)[dst])
    rows, grads = _heads(x, heads), _heads(grad, heads)
    kept = np.ones_like(shares) if factors is None else factors
    shared = (grads * _heads(out, heads)).sum(axis=2)
    sent = np.einsum("ehd,ehd->eh", grads[dst], rows[indices])
    by_score = shares * (sent * kept - shared[dst])
    by_x = np.zeros(rows.shape, np.float64)
    np.add.at(by_x, indices, grads[dst] * (shares * kept)[:, :, None])
    grad_x = by_x.reshape(x.shape).astype(np.float32)
    if logits is not None:
        return grad_x, by_score.astype(np.float32), None, None
    by_dst, by_src = (np.zeros((n, heads), np.float32) for n in (len(indptr) - 1, len(x)))
    np.add.at(by_dst, dst, by_score * slopes)
    np.add.at(by_src, indices, by_score * slopes)
    return grad_x, None, by_dst, by_src


def _heads(rows: Array, heads: int) -> Array:
    return rows.reshape(len(rows), heads, -1).astype(np.float64)


def _scores(
    indptr: Array,
    indices: Array,
    logits: Array | None,
    dst_scores: Array | None,
    src_scores: Array | None,
    slope: float,
) -> tuple[Array, Array]:
    """Scores of all edges, and their derivative by what is under the LeakyReLU."""
    if logits is not None:
        return logits.astype(np.float64), np.ones(logits.shape)
    assert dst_scores is not None
    assert src_scores is not None
    dst = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    sums = (dst_scores[dst] + src_scores[indices]).astype(np.float64)
    slopes = np.where(sums > 0, 1.0, np.float64(np.float32(slope)))
    return sums * slopes, slopes
