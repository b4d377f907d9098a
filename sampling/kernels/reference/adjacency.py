"""Adjacency: building, ordering, checking, transposing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "build_csc",
    "check_csc",
    "csc_order",
    "transpose",
]

Array = NDArray[Any]


def build_csc(src: Array, dst: Array, num_nodes: int, num_threads: int) -> tuple[Array, Array]:
    """Offsets (num_nodes + 1,) int64 and sources (num_edges,), each row sorted by source."""
    indptr, order = csc_order(src, dst, num_nodes, None, None, None, num_threads)
    return indptr, src[order].astype(np.int32 if num_nodes < 2**31 else np.int64)


def csc_order(
    src: Array,
    dst: Array,
    num_nodes: int,
    edge_type: Array | None,
    edge_time: Array | None,
    edge_weight: Array | None,
    num_threads: int,
) -> tuple[Array, Array]:
    """Offsets, and the edge that belongs at every position: rows by (type, time, src, weight)."""
    keys = [k for k in (edge_weight, src, edge_time, edge_type, dst) if k is not None]
    order = np.lexsort(keys).astype(np.int64)
    indptr = np.zeros(num_nodes + 1, np.int64)
    np.cumsum(np.bincount(dst, minlength=num_nodes), out=indptr[1:])
    return indptr, order


def check_csc(indptr: Array, indices: Array, num_threads: int) -> str:
    """What is wrong with an adjacency, or an empty string."""
    if len(indptr) == 0 or indptr[0] != 0:
        return "indptr does not start at 0"
    if (np.diff(indptr) < 0).any():
        return f"indptr falls after row {int(np.flatnonzero(np.diff(indptr) < 0)[0])}"
    if indptr[-1] != len(indices):
        return f"indptr ends at {indptr[-1]}, but there are {len(indices)} edges"
    bad = np.flatnonzero((indices < 0) | (indices >= len(indptr) - 1))
    if len(bad):
        return f"indices[{bad[0]}] is {indices[bad[0]]}, outside 0 … {len(indptr) - 2}"
    return ""


def transpose(
    indptr: Array, indices: Array, num_src: int, num_threads: int
) -> tuple[Array, Array, Array]:
    """The same edges listed by source: offsets, destination of each, position of each."""
    dst = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.argsort(indices, kind="stable").astype(np.int64)
    t_indptr = np.zeros(num_src + 1, np.int64)
    np.cumsum(np.bincount(indices, minlength=num_src), out=t_indptr[1:])
    return t_indptr, dst[order].astype(indices.dtype), order
