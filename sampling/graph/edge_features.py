"""Rows of edge features on their way through sorts: each row as one item.

A row travels as a string of its bytes. NumPy moves, joins, spills, compares and sorts such items
like numbers, so features follow their edges wherever weights do. The order of the bytes is no
order of the values, and needs to be none: it tells edges apart that are equal in all else, so that
the order in which they were given changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed_dtype", "packed_rows", "unpacked_rows", "with_ties_by_features"]


def packed_dtype(width: int) -> np.dtype[Any]:
    """The type of an item that holds a row of so many float32 values."""
    return np.dtype(f"S{4 * width}")


def packed_rows(rows: NDArray[np.float32]) -> NDArray[Any]:
    """(num_edges,) items from (num_edges, d_edge) values; shares their memory."""
    dense = np.ascontiguousarray(rows, np.float32)
    return dense.view(packed_dtype(rows.shape[1])).reshape(len(rows))


def unpacked_rows(items: NDArray[Any]) -> NDArray[np.float32]:
    """(num_edges, d_edge) values from (num_edges,) items; shares their memory."""
    return items.view(np.float32).reshape(len(items), items.dtype.itemsize // 4)


def with_ties_by_features(
    order: NDArray[np.int64],
    indptr: NDArray[np.int64],
    keys: Sequence[NDArray[Any] | None],
    items: NDArray[Any],
) -> NDArray[np.int64]:
    """The order of edges, those with equal keys in one row ordered by their features.

    Args:
        order: (num_edges,) the edge at every place.
        indptr: (num_rows + 1,) where every row begins.
        keys: what the edges of a row are in order of, (num_edges,) each, or None.
        items: packed features of every edge, (num_edges,).
    """
    same = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        if key is not None:
            ordered = key[order]
            same &= ordered[1:] == ordered[:-1]
    starts = indptr[(indptr > 0) & (indptr < len(order))]
    same[starts - 1] = False
    if not same.any():
        return order
    tied = np.append(same, False)
    tied[1:] |= same
    places = np.flatnonzero(tied)
    group = np.concatenate([np.zeros(1, np.int64), np.cumsum(~same)])[places]
    edges, order = order[places], order.copy()
    order[places] = edges[np.lexsort([items[edges], group])]
    return order
