"""Hash indices over ids."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "build_id_table",
    "build_string_table",
    "find_ids",
    "find_strings",
]

Array = NDArray[Any]


def build_id_table(keys: Array) -> tuple[Array, int, int]:
    """A hash index over distinct int64 keys: (table, salt, duplicate row or -1)."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(np.diff(keys[order]) == 0)
    return order.astype(np.int64), 0, int(order[same[0] + 1]) if len(same) else -1


def find_ids(keys: Array, table: Array, salt: int, queries: Array, num_threads: int) -> Array:
    """Row of every query among the keys, or -1, (len(queries),) int64."""
    if len(keys) == 0:
        return np.full(len(queries), -1, np.int64)
    place = np.minimum(np.searchsorted(keys[table], queries), len(keys) - 1)
    rows = table[place]
    return np.where(keys[rows] == queries, rows, -1)


def _strings(data: Array, offsets: Array) -> list[bytes]:
    raw = data.tobytes()
    return [raw[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]


def build_string_table(data: Array, offsets: Array) -> tuple[Array, int, int]:
    """As `build_id_table`, for keys `data[offsets[i]:offsets[i + 1]]`."""
    keys = _strings(data, offsets)
    order = sorted(range(len(keys)), key=lambda i: (keys[i], i))
    twice = [b for a, b in pairwise(order) if keys[a] == keys[b]]
    return np.array(order, np.int64), 0, twice[0] if twice else -1


def find_strings(
    data: Array,
    offsets: Array,
    table: Array,
    salt: int,
    query_data: Array,
    query_offsets: Array,
    num_threads: int,
) -> Array:
    """As `find_ids`, for string keys."""
    rows = {key: i for i, key in enumerate(_strings(data, offsets))}
    queries = _strings(query_data, query_offsets)
    return np.array([rows.get(q, -1) for q in queries], np.int64)
