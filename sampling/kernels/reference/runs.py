"""Runs: edges that become an adjacency in parts, partitioned first and merged later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "merge_runs",
    "order_runs",
    "partition_edges",
]

Array = NDArray[Any]
BUCKET_BITS = 11


def partition_edges(
    src: Array, dst: Array, num_nodes: int, with_order: bool, num_threads: int
) -> tuple[Array, Array, Array | None, int]:
    """A run: edges grouped by ranges of 2**shift destinations ("buckets"), in the given order.

    Returns:
        words (num_edges,) uint64: the destination within its bucket, above the source in as many
        bits as `num_nodes` has; where every bucket begins, (num_buckets + 1,) int64; the edge
        that every word stands for, or None; shift.
    """
    shift = max(0, max(num_nodes - 1, 0).bit_length() - BUCKET_BITS)
    bucket = dst.astype(np.int64) >> shift
    order = np.argsort(bucket, kind="stable").astype(np.int64)
    local = (dst.astype(np.int64) & ((1 << shift) - 1)).astype(np.uint64)
    words = local << np.uint64(num_nodes.bit_length()) | src.astype(np.uint64)
    counts = np.bincount(bucket, minlength=(max(num_nodes - 1, 0) >> shift) + 1)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return words[order], bounds, order if with_order else None, shift


def merge_runs(
    words: Sequence[Array],
    bounds: Array,
    shift: int,
    num_nodes: int,
    num_rows: int,
    num_threads: int,
) -> tuple[Array, Array]:
    """Offsets (num_rows + 1,) and sorted sources of the rows that buckets of several runs make.

    Args:
        words: words of every run.
        bounds: (runs, buckets + 1): where every bucket begins in the words of its run.
        shift: as `partition_edges` returned it.
        num_nodes: number of nodes of the graph.
        num_rows: destinations that the buckets span.
        num_threads: threads.
    """
    offsets = np.concatenate([[0], np.cumsum([len(w) for w in words])])[:-1]
    whole = np.concatenate([*words, np.empty(0, np.uint64)])
    indptr, order = order_runs(
        whole, bounds + offsets[:, None], shift, num_nodes, num_rows, None, None, None, num_threads
    )
    sources = whole[order] & np.uint64((1 << num_nodes.bit_length()) - 1)
    return indptr, sources.astype(np.int32 if num_nodes < 2**31 else np.int64)


def order_runs(
    words: Array,
    bounds: Array,
    shift: int,
    num_nodes: int,
    num_rows: int,
    edge_type: Array | None,
    edge_time: Array | None,
    edge_weight: Array | None,
    num_threads: int,
) -> tuple[Array, Array]:
    """Offsets, and the word that belongs at every position: rows by (type, time, src, weight)."""
    runs, buckets = bounds.shape[0], bounds.shape[1] - 1
    spans = [(b, bounds[r, b], bounds[r, b + 1]) for b in range(buckets) for r in range(runs)]
    place = np.concatenate([np.arange(lo, hi) for _, lo, hi in spans] + [np.empty(0, np.int64)])
    bucket = np.repeat([b for b, _, _ in spans], [hi - lo for _, lo, hi in spans])
    place, bucket = place.astype(np.int64), bucket.astype(np.int64)
    bits = np.uint64(num_nodes.bit_length())
    row = (bucket << shift) + (words[place] >> bits).astype(np.int64)
    src = words[place] & ((np.uint64(1) << bits) - np.uint64(1))
    columns = (edge_weight, None, edge_time, edge_type)
    keys: list[Any] = [None if c is None else c[place] for c in columns]
    keys[1] = src
    order = np.lexsort([place, *(k for k in keys if k is not None), row])
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=num_rows), out=indptr[1:])
    return indptr, place[order]
