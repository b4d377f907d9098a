"""Layers of a whole-graph pass: sum what the edges bring, multiply, round to a storage type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.rows import aggregate, to_float32

__all__ = ["dense_rows", "layer_rows"]

Array = NDArray[Any]


def layer_rows(
    indptr: Array,
    indices: Array,
    start: int,
    x: Array,
    scale: Array | None,
    norm: Array | None,
    reduce: str,
    weight: Array | None,
    own: Array | None,
    own_scale: Array | None,
    own_weight: Array | None,
    bias: Array | None,
    relu: bool,
    out: Array,
    out_scale: Array | None,
    num_threads: int,
) -> tuple[int, float]:
    """Fill `out` with the rows of a layer for the nodes from `start` on.

    received_v = reduce { x_u : u → v }, or with `norm` n_v · (Σ n_u x_u + n_v x_v), and then as
    `dense_rows`. Rows of `x` and `own` are those of all nodes.

    Returns:
        What `dense_rows` returns.
    """
    end = start + len(out)
    offsets = indptr[start : end + 1]
    sources = indices[offsets[0] : offsets[-1]]
    received, _ = aggregate(offsets - offsets[0], sources, x, scale, None, norm, reduce, 1)
    if norm is not None:
        factor = norm[start:end, None]
        received = factor * (received + factor * to_float32(x[start:end], scale))
    return dense_rows(
        start, received, weight, own, own_scale, own_weight, bias, relu, out, out_scale, 1
    )


def dense_rows(
    start: int,
    received: Array | None,
    weight: Array | None,
    own: Array | None,
    own_scale: Array | None,
    own_weight: Array | None,
    bias: Array | None,
    relu: bool,
    out: Array,
    out_scale: Array | None,
    num_threads: int,
) -> tuple[int, float]:
    """Fill `out` with relu(received · weightᵀ + own · own_weightᵀ + bias), stored as `out` is.

    Every term may be left out; without `weight`, `received` is added as it is. Row i belongs to
    row `start + i` of `own`. Weights are (columns of `out`, width), as torch keeps them.

    Returns:
        The first row with a value that is not finite or does not fit, or -1; and the
        largest error of rounding, which for int8 includes clipping at 127 steps of `out_scale`.
    """
    rows = np.zeros(out.shape, np.float64)
    if bias is not None:
        rows += bias
    if received is not None:
        rows += received if weight is None else received.astype(np.float64) @ weight.T
    if own is not None and own_weight is not None:
        mine = to_float32(own[start : start + len(out)], own_scale)
        rows += mine.astype(np.float64) @ own_weight.T
    return _encode(np.maximum(rows, 0) if relu else rows, out, out_scale, start)


def _encode(rows: Array, out: Array, scale: Array | None, start: int) -> tuple[int, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        values = rows.astype(np.float32)
        if out.dtype == np.uint16:
            bits = values.view(np.uint32)
            out[:] = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        elif out.dtype == np.int8:
            assert scale is not None, "int8 rows come with their scale"
            out[:] = np.clip(np.rint(values / scale), -127, 127)
        else:
            out[:] = values
        stored = to_float32(out, scale)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1) | ~np.isfinite(stored).all(axis=1))
    if len(bad):
        return start + int(bad[0]), 0.0
    return -1, 0.0 if out.dtype == np.float32 else float(np.abs(stored - values).max(initial=0))
