"""Distinct ids of a stream, in bounded memory beside the ids themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.ids import NodeIds
from sampling.graph.readers.source import Ids

__all__ = ["IdCollector", "sort_strings", "utf8_parts"]

BITMAP_IDS = 1 << 31
RANGE_STEP = 1 << 20
INDEX_FROM, INDEX_FACTOR = 1 << 16, 8


class IdCollector:
    """Distinct ids of any number of chunks, in bounded memory beside the ids themselves.

    Integers below a bound are marked in a growing table of bytes. Other ids are looked up in a
    hash index of those seen so far; new ones gather in sorted runs that are merged when two of
    them are of a size, as in a log-structured merge tree, and are indexed when they outnumber
    the ids that are.
    """

    def __init__(
        self, limit_bytes: int, bitmap_ids: int = BITMAP_IDS, num_threads: int | None = None
    ) -> None:
        self._limit_bytes = limit_bytes
        self._bound = min(bitmap_ids, max(limit_bytes // 3, 1 << 20))
        self._threads = num_threads or kernels.default_threads()
        self._seen = np.zeros(0, bool)
        self._known: list[Ids] = []
        self._index: NodeIds | None = None
        self._runs: list[Ids] = []

    def add(self, ids: Ids) -> None:
        """Take note of ids."""
        if not len(ids):
            return
        if isinstance(ids, pa.Array):
            self._push(distinct(self._unknown(ids)))
            return
        if int(ids.min()) < 0 or int(ids.max()) >= self._bound:
            small = (ids >= 0) & (ids < self._bound)
            self._push(distinct(self._unknown(ids[~small].astype(np.int64))))
            ids = ids[small]
        if len(ids):
            self._reserve(int(ids.max()) + 1)
            self._seen[ids] = True

    def add_range(self, ids: range) -> None:
        """Take note of all ids of a range.

        Raises:
            InputError: there are more than memory holds.
        """
        if len(ids) > self._limit_bytes // 8:
            raise InputError(f"a header declares {len(ids)} nodes, more than fit the memory bound; "
                             "raise it")  # fmt: skip
        for start in range(ids.start, ids.stop, RANGE_STEP):
            self.add(np.arange(start, min(start + RANGE_STEP, ids.stop)))

    def sorted(self) -> Ids:
        """All ids: integers by value, strings by bytes."""
        self._index = None
        parts, self._known, self._runs = [*self._known, *self._runs], [], []
        if parts and isinstance(parts[0], pa.Array):
            return sort_strings(pa.concat_arrays(parts).unique())
        marked = np.flatnonzero(self._seen)
        self._seen = np.zeros(0, bool)
        if not parts:
            return marked
        rest = distinct(np.concatenate(parts))
        below = int(np.searchsorted(rest, 0))
        return np.concatenate([rest[:below], marked, rest[below:]])

    def _reserve(self, size: int) -> None:
        if size > len(self._seen):
            grown = np.zeros(min(max(size, 2 * len(self._seen)), self._bound), bool)
            grown[: len(self._seen)] = self._seen
            self._seen = grown

    def _unknown(self, ids: Ids) -> Ids:
        """Those that are not in the index."""
        if self._index is None:
            return ids
        if isinstance(ids, pa.Array):
            new = self._index.find_strings(*utf8_parts(ids), self._threads) < 0
            return ids.filter(pa.array(new)) if new.any() else ids[:0]
        return ids[self._index.find_ints(ids, self._threads) < 0]

    def _push(self, run: Ids) -> None:
        if not len(run):
            return
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last, other = self._runs.pop(), self._runs.pop()
            self._runs.append(distinct(_concat([other, last])))
        known = sum(len(part) for part in self._known)
        if sum(len(part) for part in self._runs) > max(known, INDEX_FROM):
            self._build_index()

    def _build_index(self) -> None:
        """Index all ids so far, where memory allows it."""
        parts = [*self._known, distinct(_concat(self._runs))]
        if INDEX_FACTOR * sum(part.nbytes for part in parts) > self._limit_bytes:
            return
        self._index = None
        self._known, self._runs = [_concat(parts)], []
        keys = self._known[0]
        if isinstance(keys, pa.Array):
            self._index = NodeIds.from_strings(*utf8_parts(keys))
        else:
            self._index = NodeIds.from_ints(keys)


def distinct(ids: Ids) -> Ids:
    """Every id once; integers sorted."""
    if isinstance(ids, pa.Array):
        return ids.unique()
    ids = np.sort(ids)
    first = np.ones(len(ids), bool)
    np.not_equal(ids[1:], ids[:-1], out=first[1:])
    return ids[first]


def _concat(parts: Sequence[Ids]) -> Ids:
    if len(parts) == 1:
        return parts[0]
    return pa.concat_arrays(parts) if isinstance(parts[0], pa.Array) else np.concatenate(parts)


def utf8_parts(strings: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes and offsets of a large_string array without nulls."""
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return raw[ends[0] : ends[-1]], ends - ends[0]


def sort_strings(strings: pa.Array) -> pa.Array:
    """Strings in the order of their UTF-8 bytes."""
    return strings.take(pc.array_sort_indices(strings))
