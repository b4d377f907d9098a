"""Distinct ids of a stream, in bounded memory beside the ids themselves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sampling.errors import InputError
from sampling.graph.readers.source import Ids

__all__ = ["IdCollector", "sort_strings"]

BITMAP_IDS = 1 << 31
RANGE_STEP = 1 << 20


class IdCollector:
    """Distinct ids of any number of chunks, in bounded memory beside the ids themselves.

    Integers below a bound are marked in a growing table of bytes; other ids are kept as sorted
    runs that are merged when two of them are of a size, as in a log-structured merge tree.
    """

    def __init__(self, limit_bytes: int, bitmap_ids: int = BITMAP_IDS) -> None:
        self._limit_bytes = limit_bytes
        self._bound = min(bitmap_ids, max(limit_bytes // 3, 1 << 20))
        self._seen = np.zeros(0, bool)
        self._runs: list[Ids] = []

    def add(self, ids: Ids) -> None:
        """Take note of ids."""
        if isinstance(ids, pa.Array):
            self._push(ids.unique())
            return
        if not len(ids):
            return
        if int(ids.min()) < 0 or int(ids.max()) >= self._bound:
            small = (ids >= 0) & (ids < self._bound)
            self._push(np.unique(ids[~small].astype(np.int64)))
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
        while len(self._runs) > 1:
            self._merge()
        if self._runs and isinstance(self._runs[0], pa.Array):
            return sort_strings(self._runs[0])
        marked = np.flatnonzero(self._seen)
        self._seen = np.zeros(0, bool)
        if not self._runs:
            return marked
        rest = self._runs.pop()
        below = int(np.searchsorted(rest, 0))
        return np.concatenate([rest[:below], marked, rest[below:]])

    def _reserve(self, size: int) -> None:
        if size > len(self._seen):
            grown = np.zeros(min(max(size, 2 * len(self._seen)), self._bound), bool)
            grown[: len(self._seen)] = self._seen
            self._seen = grown

    def _push(self, run: Ids) -> None:
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._merge()

    def _merge(self) -> None:
        last, other = self._runs.pop(), self._runs.pop()
        if isinstance(last, pa.Array):
            self._runs.append(pa.concat_arrays([other, last]).unique())
        else:
            self._runs.append(np.union1d(other, last))


def sort_strings(strings: pa.Array) -> pa.Array:
    """Strings in the order of their UTF-8 bytes."""
    return strings.take(pc.array_sort_indices(strings))
