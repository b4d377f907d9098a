"""Edges on their way from files to compressed sparse columns, in bounded memory.

Chunks of edges become runs, each one partitioned by ranges of destinations ("buckets"). Runs
stay in memory while they fit and are spilled from there on. The same buckets of all runs are
then merged and appended to the arrays of the graph: a radix sort whose passes may have the disk
between them. Rows are sorted by (type, time, source, weight, features), so that nothing shows
where runs were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.arrays import ArrayWriter, write_array
from sampling.graph.csc import MAX_EDGE_TYPES, index_dtype
from sampling.graph.edge_features import unpacked_rows
from sampling.graph.ids import NodeIds
from sampling.graph.idset import utf8_parts
from sampling.graph.memory import release
from sampling.graph.meta import ArrayInfo
from sampling.graph.readers.ahead import read_ahead
from sampling.graph.runs import Rows, Run, RunMerger, SpilledArray

__all__ = ["EdgeSink", "EdgeTypes", "Edges", "dense_nodes", "mirror"]

RUN_BYTES = 64 << 20


class Edges(NamedTuple):
    """Parallel arrays of edges between dense nodes; absent columns are None.

    Features are packed: an item for every edge (see `sampling.graph.edge_features`).
    """

    src: NDArray[Any]
    dst: NDArray[Any]
    type: NDArray[np.int16] | None = None
    time: NDArray[np.int64] | None = None
    weight: NDArray[np.float32] | None = None
    features: NDArray[Any] | None = None

    def take(self, rows: NDArray[Any] | slice) -> Edges:
        """These rows, by mask, position or slice."""
        columns: list[Any] = [None if a is None else a[rows] for a in self]
        return Edges(*columns)

    @property
    def is_plain(self) -> bool:
        """Nothing but sources and destinations."""
        return all(column is None for column in self[2:])


def mirror(edges: Edges) -> Edges:
    """The edges that run the other way; self-loops have none."""
    back = edges._replace(src=edges.dst, dst=edges.src)
    loops = edges.src == edges.dst
    return back.take(~loops) if loops.any() else back


def dense_nodes(ids: NodeIds, keys: Any, num_threads: int) -> NDArray[Any]:
    """Dense node of every id, -1 where there is none, int32 where that is enough."""
    if isinstance(keys, pa.Array):
        found = ids.find_strings(*utf8_parts(keys), num_threads)
        return found.astype(index_dtype(ids.num_nodes))
    if ids.kind == "range" and len(keys) and _within(keys, ids):
        shifted = keys.astype(np.int64) - ids.first if ids.first else keys
        return np.asarray(shifted, index_dtype(ids.num_nodes))
    found = ids.find_ints(keys.astype(np.int64, copy=False), num_threads)
    return found.astype(index_dtype(ids.num_nodes))


def _within(keys: NDArray[Any], ids: NodeIds) -> bool:
    return int(keys.min()) >= ids.first and int(keys.max()) < ids.first + ids.num_nodes


class EdgeTypes:
    """Codes of edge types, given as they come and put in order of their names at the end."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._given: set[str] = set()
        self._inverse: set[str] = set()

    def encode(self, names: pa.Array) -> NDArray[np.int16]:
        """A provisional code for every name."""
        encoded = names.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        self._given.update(distinct)
        codes = [self._code(name) for name in distinct]
        places: NDArray[np.int32] = encoded.indices.to_numpy()
        return np.array(codes, np.int16)[places]

    def invert(self, codes: NDArray[np.int16]) -> NDArray[np.int16]:
        """The code of the inverse of every type, whose name begins with `rev_`."""
        names, inverse = list(self._codes), np.zeros(len(self._codes), np.int16)
        for code in np.unique(codes).tolist():
            name = f"rev_{names[code]}"
            self._inverse.add(name)
            inverse[code] = self._code(name)
        return inverse[codes]

    def check_inverses(self) -> None:
        """Refuse a type that is the inverse of another by its name alone.

        Raises:
            InputError: the edges have such a type.
        """
        both = sorted(self._given & self._inverse)
        if both:
            raise InputError(f"the edges have a type {both[0]!r} already, which --reverse-edges "
                             "would add; leave the option out")  # fmt: skip

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


class EdgeSink:
    """Takes edges in any order and writes the adjacency.

    Args:
        directory: where the arrays go; the spill file lives there for a while, without a name,
            so that it is gone with the process however that ends.
        num_nodes: number of nodes.
        free_bytes: what edges may take in memory; half of it holds runs, the rest is for work.
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
        self.num_spilled = self.num_edges = self.num_duplicates = 0
        self.arrays: dict[str, ArrayInfo] = {}
        self._staged: Edges | None = None
        self._num_staged = self._kept_bytes = self._spill_bytes = self._shift = 0
        self._runs: list[Run] = []
        self._last: tuple[Any, ...] = ()
        self._writers: dict[str, ArrayWriter] = {}
        self._spill = (directory / "spill").open("w+b", buffering=0)
        (directory / "spill").unlink()

    def add(self, edges: Edges) -> None:
        """Keep edges, in memory or on disk."""
        if self._staged is None:
            self._staged = self._room(edges)
        start, size = 0, len(edges.src)
        while start < size:
            place = self._num_staged
            count = min(size - start, len(self._staged.src) - place)
            for staged, column in zip(self._staged, edges, strict=True):
                if staged is not None and column is not None:
                    staged[place : place + count] = column[start : start + count]
            start, self._num_staged = start + count, place + count
            if self._num_staged == len(self._staged.src):
                self._close_run()

    def finish(self, *, drop_duplicates: bool) -> Iterator[int]:
        """Write the arrays; yields edges written so far. `arrays` then holds their facts."""
        if self._num_staged or not self._runs:
            self._close_run()
        self._staged = None
        indptr = np.zeros(self.num_nodes + 1, np.int64)
        merger = RunMerger(
            self._runs,
            self._shift,
            self.num_nodes,
            self.types.final(),
            (self.free - self._kept_bytes) // 2,
            self.num_threads,
        )
        with closing(read_ahead(merger.rows())) as groups:
            for rows in groups:
                total = len(rows.columns["indices"])
                if drop_duplicates:
                    rows = self._without_last(distinct(rows))
                self._append(rows, indptr)
                self.num_edges += len(rows.columns["indices"])
                self.num_duplicates += total - len(rows.columns["indices"])
                yield self.num_edges
        np.cumsum(indptr, out=indptr)
        self.arrays |= {name: writer.close() for name, writer in self._writers.items()}
        self.arrays["indptr"] = write_array(self.directory / "indptr.npy", indptr)

    def __enter__(self) -> EdgeSink:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()
        for writer in self._writers.values():
            writer.abort()

    def _room(self, like: Edges) -> Edges:
        """Arrays for the edges of one run: filled again and again, so that no page is new twice."""
        row = sum(column.dtype.itemsize for column in like if column is not None)
        size = max(min(RUN_BYTES, self.free // 12) // row, 1)
        columns: list[Any] = [None if c is None else np.empty(size, c.dtype) for c in like]
        return Edges(*columns)

    def _close_run(self) -> None:
        """Make a run of what is staged; keep it in memory while there is room for runs."""
        edges = (self._staged or _no_edges(self.num_nodes)).take(slice(self._num_staged))
        self._num_staged = 0
        words, bounds, order, self._shift = kernels.partition_edges(
            edges.src, edges.dst, self.num_nodes, not edges.is_plain, self.num_threads
        )
        more = [None if c is None else c[order] for c in edges[2:]]
        run = Run(bounds.astype(np.int32), words, *more)
        if self._kept_bytes + run.nbytes > self.free // 2:
            self.num_spilled += len(words)
            self._runs.append(Run(run.bounds, *(self._spilled(c) for c in run.columns)))
            release()
        else:
            self._kept_bytes += run.nbytes
            self._runs.append(run)

    def _spilled(self, column: NDArray[Any] | None) -> SpilledArray | None:
        if column is None:
            return None
        place, self._spill_bytes = self._spill_bytes, self._spill_bytes + column.nbytes
        return SpilledArray(self._spill.fileno(), place, column)

    def _append(self, rows: Rows, indptr: NDArray[np.int64]) -> None:
        """Write edges behind those that are written, and count them."""
        indptr[rows.first + 1 : rows.first + 1 + len(rows.counts)] += rows.counts
        for name, column in rows.columns.items():
            column = unpacked_rows(column) if name == "edge_features" else column
            if name not in self._writers:
                path = self.directory / f"{name}.npy"
                shape = (None, *column.shape[1:])
                self._writers[name] = ArrayWriter(path, column.dtype, shape)
            self._writers[name].write(column)

    def _without_last(self, rows: Rows) -> Rows:
        """Rows without a first edge that was the last of the part before: a hub has several."""
        if not len(rows.columns["indices"]):
            return rows
        filled = np.flatnonzero(rows.counts)
        first = (rows.first + int(filled[0]), *(c[0] for c in rows.columns.values()))
        last = (rows.first + int(filled[-1]), *(c[-1] for c in rows.columns.values()))
        again, self._last = first == self._last, last
        if again:
            rows.counts[filled[0]] -= 1
            return rows._replace(columns={name: c[1:] for name, c in rows.columns.items()})
        return rows


def distinct(rows: Rows) -> Rows:
    """Rows without edges that equal the one before them."""
    num_edges = len(rows.columns["indices"])
    same = np.ones(max(num_edges - 1, 0), bool)
    for column in rows.columns.values():
        same &= column[1:] == column[:-1]
    ends = np.cumsum(rows.counts)
    starts = ends[rows.counts > 0] - rows.counts[rows.counts > 0]
    same[starts[starts > 0] - 1] = False
    if not same.any():
        return rows
    repeated = np.flatnonzero(same) + 1
    fewer = np.bincount(np.searchsorted(ends, repeated, "right"), minlength=len(ends))
    keep = np.concatenate([np.ones(1, bool), ~same])
    columns = {name: column[keep] for name, column in rows.columns.items()}
    return Rows(rows.first, rows.counts - fewer, columns)


def _no_edges(num_nodes: int) -> Edges:
    none = np.empty(0, index_dtype(num_nodes))
    return Edges(none, none)
