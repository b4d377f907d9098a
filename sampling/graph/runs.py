"""Runs of edges and their merge into rows, in bounded memory.

A run is a chunk of edges partitioned by ranges of destinations ("buckets"), in memory or in a
spill file. Groups of buckets that fit are merged at once by the kernels. A bucket that does not
fit (a hub) is sorted run by run, and the sorted runs are cut at sampled keys into parts that do:
an external merge sort with splitters (DeWitt, Naughton, Schneider, PDIS 1991).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampling import kernels
from sampling.graph.csc import index_dtype
from sampling.graph.edge_features import with_ties_by_features

__all__ = ["GROUP_EDGES", "MERGE_BYTES", "Rows", "Run", "RunMerger", "SpilledArray"]

MERGE_BYTES = 24
BUILD_FACTOR = 4
GROUP_EDGES = 16 << 20
EDGE_COLUMNS = ("edge_type", "edge_time", "edge_weight", "edge_features")


class SpilledArray:
    """An array that lies in a file and is read and written by slices."""

    def __init__(self, descriptor: int, place: int, array: NDArray[Any]) -> None:
        self._descriptor, self._place, self.dtype = descriptor, place, array.dtype
        self.nbytes = array.nbytes
        self[0 : len(array)] = array

    def __getitem__(self, part: slice) -> NDArray[Any]:
        out = np.empty(part.stop - part.start, self.dtype)
        view, got = out.view(np.uint8).data, 0
        place = self._place + part.start * self.dtype.itemsize
        while got < len(view):
            got += os.preadv(self._descriptor, [view[got:]], place + got)
        return out

    def __setitem__(self, part: slice, values: NDArray[Any]) -> None:
        view, done = np.ascontiguousarray(values).view(np.uint8).data, 0
        place = self._place + part.start * self.dtype.itemsize
        while done < len(view):
            done += os.pwritev(self._descriptor, [view[done : done + (1 << 30)]], place + done)


class Run(NamedTuple):
    """Partitioned edges: words as the kernels make them, and columns in the same order.

    `bounds` says where every bucket begins; absent columns are None.
    """

    bounds: NDArray[np.int32]
    words: Any
    type: Any = None
    time: Any = None
    weight: Any = None
    features: Any = None

    @property
    def columns(self) -> tuple[Any, ...]:
        """Words, type, time, weight and packed features."""
        return tuple(self[1:])

    @property
    def nbytes(self) -> int:
        return int(self.bounds.nbytes + sum(c.nbytes for c in self.columns if c is not None))


class Rows(NamedTuple):
    """Some edges of the rows from `first` on: how many each row has, and the sorted columns."""

    first: int
    counts: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]


Part = tuple[Run, NDArray[np.int64]]
"""A run, and where adjacent buckets (or a piece of one) begin and end in it."""


@dataclass(frozen=True, slots=True)
class RunMerger:
    """Merges runs.

    Attributes:
        runs: all runs.
        shift: a bucket spans 2**shift nodes.
        num_nodes: number of nodes of the graph.
        types: provisional code of an edge type → final code, None where types are not stored.
        free_bytes: what one group may take in memory.
        num_threads: threads.
    """

    runs: Sequence[Run]
    shift: int
    num_nodes: int
    types: NDArray[np.int16] | None
    free_bytes: int
    num_threads: int

    def rows(self) -> Iterator[Rows]:
        """All rows in order; the edges of a hub come in several parts."""
        sizes = np.diff(self.runs[0].bounds).astype(np.int64)
        for run in self.runs[1:]:
            sizes += np.diff(run.bounds)
        ends, first = np.concatenate([[0], np.cumsum(sizes)]), 0
        while first < len(sizes):
            last = int(np.searchsorted(ends, ends[first] + self.group_edges, "right")) - 1
            last = min(max(last, first + 1), len(sizes))
            parts = [(run, run.bounds[first : last + 1].astype(np.int64)) for run in self.runs]
            if ends[last] - ends[first] > self.group_edges:
                yield from (self._merge(first, last, cut) for cut in self._cut(parts))
            else:
                yield self._merge(first, last, parts)
            first = last

    @property
    def group_edges(self) -> int:
        """Edges that can be merged at once."""
        row = sum(c.dtype.itemsize for c in self.runs[0].columns if c is not None)
        size = MERGE_BYTES if self._is_plain else BUILD_FACTOR * row
        return min(max(self.free_bytes // size, 1024), GROUP_EDGES)

    @property
    def _is_plain(self) -> bool:
        run = self.runs[0]
        typed = self.types is not None and run.type is not None
        return not typed and run.time is None and run.weight is None and run.features is None

    @property
    def _source_bits(self) -> np.uint64:
        return np.uint64(self.num_nodes.bit_length())

    def _merge(self, first: int, last: int, parts: Sequence[Part]) -> Rows:
        low, high = first << self.shift, min(last << self.shift, self.num_nodes)
        shape = (self.shift, self.num_nodes, high - low)
        if self._is_plain:
            words = [run.words[int(at[0]) : int(at[-1])] for run, at in parts]
            bounds = np.stack([at - at[0] for _, at in parts])
            indptr, indices = kernels.merge_runs(words, bounds, *shape, self.num_threads)
            return Rows(low, np.diff(indptr), {"indices": indices})
        read = [self._read(run, int(at[0]), int(at[-1])) for run, at in parts]
        starts = np.cumsum([0] + [int(at[-1] - at[0]) for _, at in parts])
        bounds = np.stack([at - at[0] + s for (_, at), s in zip(parts, starts, strict=False)])
        columns = zip(*read, strict=True)
        joined: list[Any] = [None if c[0] is None else np.concatenate(c) for c in columns]
        del read, columns
        words, type_, time, weight, features = joined
        indptr, order = kernels.order_runs(
            words, bounds, *shape, type_, time, weight, self.num_threads
        )
        if features is not None:
            order = with_ties_by_features(order, indptr, (words, type_, time, weight), features)
        return Rows(low, np.diff(indptr), self._columns(joined, order))

    def _columns(self, joined: Sequence[Any], order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        sources = joined[0][order] & ((np.uint64(1) << self._source_bits) - np.uint64(1))
        named = zip(EDGE_COLUMNS, joined[1:], strict=True)
        rest = {name: column[order] for name, column in named if column is not None}
        return {"indices": sources.astype(index_dtype(self.num_nodes)), **rest}

    def _read(self, run: Run, start: int, stop: int) -> list[NDArray[Any] | None]:
        """Words, final type, time, weight and packed features of a slice."""
        columns = [None if c is None else c[start:stop] for c in run.columns]
        if columns[1] is not None:
            columns[1] = None if self.types is None else self.types[columns[1]]
        return columns

    # --- hubs -----------------------------------------------------------------------------------

    def _cut(self, parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
        """One bucket in parts that fit, in order: runs are sorted in place and cut at samples.

        Equal edges are told apart by run and position, so that even a bucket of one edge
        repeated without end is cut.
        """
        step = max(self.group_edges // (4 * len(parts)), 1)
        samples = [self._sort(run, int(at[0]), int(at[-1]), step) for run, at in parts]
        keys = [np.concatenate(column) for column in zip(*samples, strict=True)]
        owner = np.repeat(np.arange(len(parts)), [len(s[0]) for s in samples])
        order = np.lexsort([owner, *reversed(keys)])
        every = max(self.group_edges // step - len(parts), 1)
        seen = np.zeros(len(parts), np.int64)
        starts, done = np.array([at[0] for _, at in parts]), 0
        for place in range(every - 1, len(order), every):
            seen += np.bincount(owner[order[done : place + 1]], minlength=len(parts))
            done, last = place + 1, order[place]
            cut = [column[last] for column in keys]
            ends = np.array([
                self._position(part, int(count), step, cut, r - int(owner[last]))
                for r, (part, count) in enumerate(zip(parts, seen, strict=True))
            ])  # fmt: skip
            yield _between(parts, starts, ends)
            starts = ends
        yield _between(parts, starts, np.array([at[-1] for _, at in parts]))

    def _sort(self, run: Run, start: int, stop: int, step: int) -> list[NDArray[Any]]:
        """Sort a slice of a run where it lies; returns every `step`-th key."""
        keys = self._keys(run, start, stop)
        order = np.lexsort(keys[::-1])
        samples = [key[order[::step]] for key in keys]
        for column in run.columns:
            if column is not None:
                column[start:stop] = column[start:stop][order]
        return samples

    def _position(self, part: Part, seen: int, step: int, cut: list[Any], after: int) -> int:
        """Where a cut falls in a sorted run, of which `seen` samples lie before or on it.

        `after` is how far behind the run of the cut this run comes: ties go by it.
        """
        run, at = part
        low = int(at[0]) + max(seen - 1, 0) * step
        if after == 0:
            return low + 1
        high = min(low + step, int(at[-1])) if seen else low
        before = np.full(high - low, after < 0)
        for column, value in zip(self._keys(run, low, high)[::-1], cut[::-1], strict=True):
            before = (column < value) | ((column == value) & before)
        return low + int(before.sum())

    def _keys(self, run: Run, start: int, stop: int) -> list[NDArray[Any]]:
        """What a slice is sorted by: row, type, time, source, weight, features."""
        words, type_, time, weight, features = self._read(run, start, stop)
        assert words is not None, "every run has words"
        row, source = words >> self._source_bits, words << (np.uint64(64) - self._source_bits)
        return [key for key in (row, type_, time, source, weight, features) if key is not None]


def _between(
    parts: Sequence[Part], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> Sequence[Part]:
    return [
        (run, np.array([start, end]))
        for (run, _), start, end in zip(parts, starts, ends, strict=True)
    ]
