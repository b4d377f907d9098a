"""Edges on their way from files to compressed sparse columns, in bounded memory.

Chunks of edges gather in memory while they fit. From there on they are spilled as runs, each
one partitioned by ranges of destinations ("buckets"), so that adjacent buckets of a run lie
side by side in the file. Groups of buckets are then read back from all runs, sorted and
appended to the arrays of the graph: a radix partitioning with one pass over the disk. Rows are
sorted by (type, time, source, weight), so both ways end in the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.arrays import ArrayWriter
from sampling.graph.csc import MAX_EDGE_TYPES, index_dtype
from sampling.graph.ids import NodeIds
from sampling.graph.memory import release
from sampling.graph.meta import ArrayInfo

__all__ = ["EdgeSink", "EdgeTypes", "Edges", "dense_nodes", "mirror", "utf8_parts"]

BUILD_FACTOR = 4
MAX_BUCKETS = 1 << 14
RUN_BYTES = 64 << 20


class Edges(NamedTuple):
    """Parallel arrays of edges between dense nodes; absent columns are None."""

    src: NDArray[Any]
    dst: NDArray[Any]
    type: NDArray[np.int16] | None = None
    time: NDArray[np.int64] | None = None
    weight: NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in self if a is not None)

    def take(self, rows: NDArray[Any]) -> Edges:
        """These rows, by mask or position."""
        columns: list[Any] = [None if a is None else a[rows] for a in self]
        return Edges(*columns)

    @property
    def is_plain(self) -> bool:
        """Nothing but sources and destinations."""
        return self.type is None and self.time is None and self.weight is None


def mirror(edges: Edges) -> Edges:
    """The edges that run the other way; self-loops have none."""
    back = edges._replace(src=edges.dst, dst=edges.src)
    loops = edges.src == edges.dst
    return back.take(~loops) if loops.any() else back


def concat(parts: Sequence[Edges]) -> Edges:
    """One array for each column."""
    if len(parts) == 1:
        return parts[0]
    columns: list[Any] = [
        None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)
    ]
    return Edges(*columns)


def dense_nodes(ids: NodeIds, keys: Any, num_threads: int) -> NDArray[Any]:
    """Dense node of every id, -1 where there is none, int32 where that is enough."""
    if isinstance(keys, pa.Array):
        encoded = keys.dictionary_encode()
        found = ids.find_strings(*utf8_parts(encoded.dictionary), num_threads)
        places: NDArray[np.int32] = encoded.indices.to_numpy()
        return found.astype(index_dtype(ids.num_nodes))[places]
    if ids.kind == "range" and len(keys) and _within(keys, ids):
        shifted = keys.astype(np.int64) - ids.first if ids.first else keys
        return np.asarray(shifted, index_dtype(ids.num_nodes))
    found = ids.find_ints(keys.astype(np.int64, copy=False), num_threads)
    return found.astype(index_dtype(ids.num_nodes))


def _within(keys: NDArray[Any], ids: NodeIds) -> bool:
    return int(keys.min()) >= ids.first and int(keys.max()) < ids.first + ids.num_nodes


def utf8_parts(strings: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes and offsets of a large_string array without nulls."""
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return raw[ends[0] : ends[-1]], ends - ends[0]


class EdgeTypes:
    """Codes of edge types, given as they come and put in order of their names at the end."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def encode(self, names: pa.Array) -> NDArray[np.int16]:
        """A provisional code for every name."""
        encoded = names.dictionary_encode()
        codes = [self._code(name) for name in encoded.dictionary.to_pylist()]
        places: NDArray[np.int32] = encoded.indices.to_numpy()
        return np.array(codes, np.int16)[places]

    def _code(self, name: str) -> int:
        code = self._codes.setdefault(name, len(self._codes))
        if code >= MAX_EDGE_TYPES:
            raise InputError(f"the edges have more than {MAX_EDGE_TYPES} types; the column that "
                             "was read as edge type may hold something else")  # fmt: skip
        return code

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._codes)) or ("edge",)

    def final(self) -> NDArray[np.int16] | None:
        """Provisional code → final code; None where there is one type, which is not stored."""
        if len(self._codes) < 2:
            return None
        place = {name: i for i, name in enumerate(self.names)}
        return np.array([place[name] for name in self._codes], np.int16)


@dataclass(frozen=True, slots=True)
class _Run:
    """Edges in the spill file: where every column starts, and where every bucket."""

    columns: tuple[int | None, ...]
    bounds: NDArray[np.int64]


class EdgeSink:
    """Takes edges in any order and writes the adjacency.

    Args:
        directory: where the arrays go; the spill file lives there for a while.
        num_nodes: number of nodes.
        free_bytes: what edges may take in memory.
        types: codes of edge types.
        num_threads: threads for sorting.
    """

    def __init__(
        self,
        directory: Path,
        num_nodes: int,
        free_bytes: int,
        types: EdgeTypes,
        num_threads: int,
    ) -> None:
        self.directory, self.num_nodes, self.types = directory, num_nodes, types
        self.num_threads = num_threads
        self.free = free_bytes
        self.num_spilled = 0
        self._held: list[Edges] = []
        self._held_bytes = 0
        self._runs: list[_Run] = []
        self._writers: dict[str, ArrayWriter] = {}
        self._dtypes: tuple[Any, ...] = ()
        self._shift = max(0, (max(num_nodes, 1) - 1).bit_length() - MAX_BUCKETS.bit_length() + 1)
        self._num_buckets = (max(num_nodes, 1) - 1 >> self._shift) + 1
        self._spill = (directory / "spill").open("w+b", buffering=0)
        (directory / "spill").unlink()

    @property
    def run_bytes(self) -> int:
        """Size of one run on disk."""
        return min(RUN_BYTES, self.free // 12)

    def add(self, edges: Edges) -> None:
        """Keep edges, in memory or on disk."""
        if not len(edges.src):
            return
        self._held.append(edges)
        self._held_bytes += edges.nbytes
        limit = self.run_bytes if self._runs else self.free // BUILD_FACTOR
        if self._held_bytes > limit:
            self._spill_held()

    def finish(self, *, drop_duplicates: bool) -> Iterator[int]:
        """Write the arrays; yields edges written so far. `result` then holds their facts."""
        if self._runs:
            self._spill_held()
        indptr = np.zeros(self.num_nodes + 1, np.int64)
        writers = self._writers
        self.num_duplicates = done = 0
        for lo, hi, edges in self._groups():
            total = len(edges.src)
            offsets, columns = sort_rows(
                edges, self.num_nodes, self.types.final(), self.num_threads
            )
            counts = np.diff(offsets[lo : hi + 1])
            del edges, offsets
            if drop_duplicates:
                counts, columns = distinct(counts, columns)
            indptr[lo + 1 : hi + 1] = counts
            for name, column in columns.items():
                if name not in writers:
                    path = self.directory / f"{name}.npy"
                    writers[name] = ArrayWriter(path, column.dtype, (None,))
                writers[name].write(column)
            done += len(columns["indices"])
            self.num_duplicates += total - len(columns["indices"])
            yield done
        np.cumsum(indptr, out=indptr)
        self.num_edges = int(indptr[-1])
        self.arrays: dict[str, ArrayInfo] = {n: w.close() for n, w in writers.items()}
        whole = ArrayWriter(self.directory / "indptr.npy", indptr.dtype, indptr.shape)
        whole.write(indptr)
        self.arrays["indptr"] = whole.close()

    def __enter__(self) -> EdgeSink:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()
        for writer in self._writers.values():
            writer.abort()

    # --- spilling -------------------------------------------------------------------------------

    def _spill_held(self) -> None:
        """Write what is held as runs."""
        while self._held:
            size, parts = 0, list[Edges]()
            while self._held and (not parts or size < self.run_bytes):
                parts.append(self._held.pop())
                size += parts[-1].nbytes
            self._write_run(concat(parts))
        self._held_bytes = 0
        release()

    def _write_run(self, edges: Edges) -> None:
        bucket = edges.dst >> self._shift
        bounds = np.zeros(self._num_buckets + 1, np.int64)
        np.cumsum(np.bincount(bucket, minlength=self._num_buckets), out=bounds[1:])
        order = _partition(bucket)
        self._dtypes = tuple(None if a is None else a.dtype for a in edges)
        starts: list[int | None] = []
        place = self._spill.seek(0, os.SEEK_END)
        for column in edges:
            starts.append(None if column is None else place)
            if column is not None:
                place += _write_all(self._spill, column[order])
        self._runs.append(_Run(tuple(starts), bounds))
        self.num_spilled += len(order)

    # --- reading back ---------------------------------------------------------------------------

    def _groups(self) -> Iterator[tuple[int, int, Edges]]:
        """Ranges of destinations with all their edges, each small enough to sort in memory."""
        if not self._runs:
            yield 0, self.num_nodes, concat(self._take_held() or [_no_edges(self.num_nodes)])
            return
        for first, last in self._bucket_groups():
            lo, hi = first << self._shift, min(last << self._shift, self.num_nodes)
            yield from self._split(lo, hi, first, last)
            release()

    def _bucket_groups(self) -> Iterator[tuple[int, int]]:
        sizes = sum((np.diff(run.bounds) for run in self._runs), np.zeros(1, np.int64))
        ends = np.concatenate([[0], np.cumsum(sizes)])
        first = 0
        while first < self._num_buckets:
            last = int(np.searchsorted(ends, ends[first] + self._group_edges(), "right")) - 1
            last = min(max(last, first + 1), self._num_buckets)
            yield first, last
            first = last

    def _group_edges(self) -> int:
        """Edges that can be sorted at once."""
        row = sum(np.dtype(t).itemsize for t in self._dtypes if t is not None)
        return int(max(self.free // (BUILD_FACTOR * row), 1024))

    def _split(self, lo: int, hi: int, first: int, last: int) -> Iterator[tuple[int, int, Edges]]:
        """One group, or its rows in several where a bucket is too large to sort at once."""
        total = sum(int(run.bounds[last] - run.bounds[first]) for run in self._runs)
        if total <= self._group_edges() or hi - lo == 1:
            yield lo, hi, concat([self._read(run, first, last) for run in self._runs])
            return
        counts = np.zeros(hi - lo, np.int64)
        for run in self._runs:
            dst = self._read_column(run, 1, first, last)
            counts += np.bincount(dst - lo, minlength=hi - lo)
        ends = np.concatenate([[0], np.cumsum(counts)])
        start = 0
        while start < hi - lo:
            end = int(np.searchsorted(ends, ends[start] + self._group_edges(), "right")) - 1
            end = min(max(end, start + 1), hi - lo)
            yield (
                lo + start,
                lo + end,
                concat(
                    [self._read_rows(run, first, last, lo + start, lo + end) for run in self._runs]
                ),
            )
            start = end

    def _take_held(self) -> list[Edges]:
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def _read(self, run: _Run, first: int, last: int) -> Edges:
        return Edges(*(self._read_column(run, i, first, last) for i in range(len(run.columns))))

    def _read_rows(self, run: _Run, first: int, last: int, lo: int, hi: int) -> Edges:
        edges = self._read(run, first, last)
        return edges.take((edges.dst >= lo) & (edges.dst < hi))

    def _read_column(self, run: _Run, column: int, first: int, last: int) -> Any:
        start = run.columns[column]
        if start is None:
            return None
        out = np.empty(int(run.bounds[last] - run.bounds[first]), self._dtypes[column])
        place = start + int(run.bounds[first]) * out.itemsize
        view, got = out.view(np.uint8).data, 0
        while got < len(view):
            got += os.preadv(self._spill.fileno(), [view[got:]], place + got)
        return out


def sort_rows(
    edges: Edges, num_nodes: int, types: NDArray[np.int16] | None, num_threads: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Offsets of all rows, and the edge arrays sorted as a graph stores them."""
    type_ = types[edges.type] if types is not None and edges.type is not None else None
    if type_ is None and edges.time is None and edges.weight is None:
        indptr, indices = kernels.build_csc(edges.src, edges.dst, num_nodes, num_threads)
        return indptr, {"indices": indices}
    indptr, order = kernels.csc_order(
        edges.src, edges.dst, num_nodes, type_, edges.time, edges.weight, num_threads
    )
    keys = {"edge_type": type_, "edge_time": edges.time, "edge_weight": edges.weight}
    columns = {name: key[order] for name, key in keys.items() if key is not None}
    return indptr, {"indices": edges.src[order], **columns}


def distinct(
    counts: NDArray[np.int64], columns: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Rows without edges that equal the one before them."""
    num_edges = len(columns["indices"])
    same = np.ones(max(num_edges - 1, 0), bool)
    for column in columns.values():
        same &= column[1:] == column[:-1]
    ends = np.cumsum(counts)
    starts = ends[counts > 0] - counts[counts > 0]
    same[starts[starts > 0] - 1] = False
    if not same.any():
        return counts, columns
    keep = np.concatenate([np.ones(1, bool), ~same])
    kept = np.concatenate([[0], np.cumsum(keep)])
    degrees = kept[ends] - kept[ends - counts]
    return degrees, {name: column[keep] for name, column in columns.items()}


def _no_edges(num_nodes: int) -> Edges:
    none = np.empty(0, index_dtype(num_nodes))
    return Edges(none, none)


def _partition(bucket: NDArray[Any]) -> NDArray[Any]:
    """Positions in order of bucket: packed words sort much faster than an argsort."""
    packed = (bucket.astype(np.uint64) << np.uint64(32)) | np.arange(len(bucket), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _write_all(file: Any, column: NDArray[Any]) -> int:
    view, done = np.ascontiguousarray(column).view(np.uint8).data, 0
    while done < len(view):
        done += file.write(view[done : done + (1 << 30)])
    return len(view)
