"""Computed embeddings kept in memory, bounded by bytes, evicted by SIEVE.

SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi, NSDI 2024) keeps one queue in the order of insertion,
a visited bit per entry and a hand. A hit sets the bit and moves nothing. To evict, the hand walks
from the oldest entry to the newest, clears set bits, and takes the first entry whose bit is
clear; it stays where it stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CacheStats", "EmbeddingCache", "MemoryCache", "space_of"]

ENTRY_BYTES = 300
"""What one entry costs beside its row: measured, CPython 3.11."""

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds."""

    entries: int
    size_bytes: int
    evictions: int


class EmbeddingCache(Protocol):
    """Rows by (space, node). A space names all else that a row depends on: see `space_of`."""

    def get_many(self, space: str, nodes: Sequence[int]) -> list[Row | None]: ...

    def put_many(self, space: str, nodes: Sequence[int], rows: NDArray[np.float32]) -> None: ...

    def stats(self) -> CacheStats: ...


def space_of(model_digest: str, graph_fingerprint: str, mode: str, seed: int | None) -> str:
    """All that a row depends on beside the node; digests, because names and versions recur."""
    return f"{model_digest}:{graph_fingerprint}:{mode}:{'' if seed is None else seed}"


class _Entry:
    __slots__ = ("key", "newer", "older", "row", "visited")

    def __init__(self, key: tuple[str, int], row: Row) -> None:
        self.key, self.row, self.visited = key, row, False
        self.older: _Entry | None = None
        self.newer: _Entry | None = None


class MemoryCache:
    """The cache of one process; safe to call from several threads.

    Args:
        limit_bytes: rows and their bookkeeping together; 0 keeps nothing.

    Example:
        >>> cache = MemoryCache(10_000)
        >>> cache.put_many("m", [7], np.ones((1, 2), np.float32))
        >>> [row is not None for row in cache.get_many("m", [7, 8])]
        [True, False]
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._entries: dict[tuple[str, int], _Entry] = {}
        self._oldest: _Entry | None = None
        self._newest: _Entry | None = None
        self._hand: _Entry | None = None
        self._size_bytes = self._evictions = 0
        self._lock = threading.Lock()

    def get_many(self, space: str, nodes: Sequence[int]) -> list[Row | None]:
        """The row of every node, (d,) float32 and read-only, or None."""
        with self._lock:
            return [self._get((space, node)) for node in nodes]

    def put_many(self, space: str, nodes: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Keep a copy of every row of (len(nodes), d)."""
        with self._lock:
            for node, row in zip(nodes, rows, strict=True):
                self._put((space, node), row)

    def stats(self) -> CacheStats:
        """Counts and bytes now."""
        with self._lock:
            return CacheStats(len(self._entries), self._size_bytes, self._evictions)

    def _get(self, key: tuple[str, int]) -> Row | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.visited = True
        return entry.row

    def _put(self, key: tuple[str, int], row: Row) -> None:
        cost = row.nbytes + ENTRY_BYTES
        if cost > self.limit_bytes:
            return
        if key in self._entries:
            self._drop(self._entries[key])
        while self._size_bytes + cost > self.limit_bytes:
            self._evict()
        copy = np.array(row, np.float32)
        copy.flags.writeable = False
        self._append(_Entry(key, copy))
        self._size_bytes += cost

    def _append(self, entry: _Entry) -> None:
        self._entries[entry.key] = entry
        entry.older, self._newest = self._newest, entry
        if entry.older is None:
            self._oldest = entry
        else:
            entry.older.newer = entry

    def _evict(self) -> None:
        entry = self._hand or self._oldest
        while entry is not None and entry.visited:
            entry.visited = False
            entry = entry.newer or self._oldest
        assert entry is not None, "nothing is left to evict, yet the cache is over its limit"
        self._drop(entry)
        self._evictions += 1

    def _drop(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        self._size_bytes -= entry.row.nbytes + ENTRY_BYTES
        if self._hand is entry or self._hand is None:
            self._hand = entry.newer
        if entry.older is None:
            self._oldest = entry.newer
        else:
            entry.older.newer = entry.newer
        if entry.newer is None:
            self._newest = entry.older
        else:
            entry.newer.older = entry.older
