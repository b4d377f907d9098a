"""Rows of features: gathering, aggregating."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "aggregate",
    "gather",
    "max_backward",
    "take",
    "to_float32",
]

Array = NDArray[Any]


def to_float32(x: Array, scale: Array | None) -> Array:
    """Rows as float32: float16, bfloat16 (as uint16 bits) and int8 (times scale) included."""
    if x.dtype == np.uint16:
        return (x.astype(np.uint32) << 16).view(np.float32)
    rows = x.astype(np.float32)
    return rows if scale is None else rows * scale


def gather(x: Array, rows: Array, scale: Array | None, num_threads: int) -> Array:
    """Rows of `x` as float32, (len(rows), d)."""
    return to_float32(x[rows], scale)


def take(values: Array, positions: Array, num_threads: int) -> Array:
    """The int16, int64 or float32 values at these positions, as edge data is read."""
    return values[positions]


def aggregate(
    indptr: Array,
    indices: Array,
    x: Array,
    scale: Array | None,
    edge_weight: Array | None,
    node_weight: Array | None,
    reduce: str,
    num_threads: int,
) -> tuple[Array, Array | None]:
    """Sum, mean or max over the edges of every row, (num_dst, d) float32; empty rows are 0.

    With `edge_weight` (num_edges,) float32, messages are multiplied by it first, and by
    `node_weight` (num_src,) float32 of their source; a mean still divides by the number of
    edges. For max the position of the winning edge is returned as
    well, (num_dst, d) int64, -1 in empty rows; the first of equals wins.
    """
    num_dst, d = len(indptr) - 1, x.shape[1]
    out = np.zeros((num_dst, d), np.float32)
    arg = np.full((num_dst, d), -1, np.int64) if reduce == "max" else None
    for i in range(num_dst):
        start, end = int(indptr[i]), int(indptr[i + 1])
        if start == end:
            continue
        sources = indices[start:end]
        rows = to_float32(x[sources], scale) * _factors(
            edge_weight, node_weight, slice(start, end), sources
        )
        if arg is not None:
            out[i], arg[i] = rows.max(axis=0), start + rows.argmax(axis=0)
            continue
        total = rows.sum(axis=0, dtype=np.float64)
        out[i] = total / (end - start) if reduce == "mean" else total
    return out, arg


def _factors(
    edge_weight: Array | None, node_weight: Array | None, edges: slice, sources: Array
) -> Array:
    factors = np.ones((len(sources), 1), np.float32)
    if edge_weight is not None:
        factors[:, 0] *= edge_weight[edges]
    if node_weight is not None:
        factors[:, 0] *= node_weight[sources]
    return factors


def max_backward(arg: Array, indices: Array, grad: Array, num_src: int, num_threads: int) -> Array:
    """Gradient of a max aggregation by its inputs, (num_src, d) float32."""
    out = np.zeros((num_src, grad.shape[1]), np.float32)
    row, column = np.nonzero(arg >= 0)
    np.add.at(out, (indices[arg[row, column]], column), grad[row, column])
    return out
