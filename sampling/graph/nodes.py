"""Nodes on their way from files to dense numbers: ids, types, labels and splits.

Listed nodes keep the order of their list within each type; types follow each other by name.
Nodes that only edges name are numbered by their sorted ids, so the order of edges decides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import InputError, ParseError
from sampling.graph.csc import NodeType
from sampling.graph.ids import NodeIds
from sampling.graph.idset import utf8_parts
from sampling.graph.labels import encode_labels, plain_labels, split_codes, without_gaps
from sampling.graph.meta import LabelInfo
from sampling.graph.readers.source import Ids, NodeChunk, NodeSource

__all__ = [
    "Nodes",
    "nodes_from_ids",
    "nodes_from_range",
    "number_ids",
    "read_nodes",
    "strings_of",
]


@dataclass(frozen=True, slots=True)
class Nodes:
    """All nodes in dense order.

    Attributes:
        ids: their ids.
        node_types: ranges that cover them.
        labels: (num_nodes,) int64 codes or float32 targets, (num_nodes, classes) uint8 where a
            node has several labels, or None.
        label_info: what the labels mean.
        splits: (num_nodes, 1) uint8, or None.
        time: (num_nodes,) int64, or None.
        positions: (num_nodes, 3) float32, or None.
        file_rows: (num_nodes,) row of every node in its list, -1 for none; None when row i
            is node i.
        listed: the nodes come from a list and not from the edges.
    """

    ids: NodeIds
    node_types: tuple[NodeType, ...] = ()
    labels: NDArray[Any] | None = None
    label_info: LabelInfo | None = None
    splits: NDArray[np.uint8] | None = None
    time: NDArray[np.int64] | None = None
    file_rows: NDArray[np.int64] | None = None
    listed: bool = False
    positions: NDArray[np.float32] | None = None

    def renumbered(self, order: NDArray[np.int64]) -> Nodes:
        """The same nodes under other numbers; `order` holds the old number of every new node."""

        def sort(array: Any) -> Any:
            return None if array is None else array[order]

        ids = strings_of(self.ids) if self.ids.is_string else self.ids.to_ints(order)
        return replace(
            self,
            ids=number_ids(_take(ids, order) if self.ids.is_string else ids),
            labels=sort(self.labels),
            splits=sort(self.splits),
            time=sort(self.time),
            positions=sort(self.positions),
            file_rows=order if self.file_rows is None else self.file_rows[order],
        )

    def with_created(self, ids: Ids) -> Nodes:
        """These nodes and more behind them, without labels."""
        old, more = self.ids.num_nodes, len(ids)
        for what, column in (("time", self.time), ("position", self.positions)):
            if column is not None:
                raise InputError(f"nodes that only edges name have no {what}, and the nodes file "
                                 f"has; list them there or drop their edges")  # fmt: skip
        rows = np.arange(old) if self.file_rows is None else self.file_rows
        return replace(
            self,
            ids=number_ids(_joined_ids(self.ids, ids)),
            node_types=tuple(NodeType(t.name, 0, old + more) for t in self.node_types),
            labels=_padded(self.labels, more, -1),
            splits=_padded(self.splits, more, 0),
            file_rows=_padded(rows, more, -1),
        )


def _padded(array: Any, more: int, fill: int) -> Any:
    if array is None:
        return None
    value = np.nan if array.dtype.kind == "f" else fill
    return np.concatenate([array, np.full((more, *array.shape[1:]), value, array.dtype)])


def _joined_ids(known: NodeIds, more: Ids) -> Ids:
    if isinstance(more, pa.Array):
        return pa.concat_arrays([strings_of(known), more])
    return np.concatenate([known.to_ints(np.arange(known.num_nodes)), more])


def strings_of(ids: NodeIds) -> pa.Array:
    """String ids as an Arrow array."""
    assert ids.data is not None and ids.offsets is not None, "integer ids have no strings"
    buffers = [None, pa.py_buffer(ids.offsets), pa.py_buffer(ids.data)]
    return pa.LargeStringArray.from_buffers(ids.num_nodes, *buffers[1:])


# --- nodes that a file lists --------------------------------------------------------------------


@dataclass(slots=True)
class _Columns:
    """Node columns as they gather."""

    ids: list[Ids] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    splits: list[Any] = field(default_factory=list)
    times: list[Any] = field(default_factory=list)
    positions: list[Any] = field(default_factory=list)
    starts: list[tuple[int, Path, int]] = field(default_factory=list)


def read_nodes(sources: Sequence[NodeSource], rows: int) -> Iterator[int | Nodes]:
    """Nodes from lists; yields the number of rows read so far and, last, the nodes.

    Raises:
        ParseError: a row is wrong, or an id appears twice.
    """
    kind = "string" if any(s.id_kind == "string" for s in sources) else "int"
    columns, count = _Columns(), 0
    for source in sources:
        chunks = source.read(kind, rows)
        first = True
        for chunk in chunks:
            if first:
                columns.starts.append((count, source.path, chunk.first_row))
                first = False
            _gather(columns, chunk, source.path)
            count += len(chunk.ids)
            yield count
    if all(source.type for source in sources):
        _fill_gaps(columns)
    yield _finish(columns, kind)


def _gather(columns: _Columns, chunk: NodeChunk, path: Path) -> None:
    row = chunk.first_row
    columns.ids.append(chunk.ids)
    columns.types.append(chunk.type)
    columns.labels.append(None if chunk.label is None else plain_labels(chunk.label, row, path))
    columns.splits.append(None if chunk.split is None else split_codes(chunk.split, row, path))
    columns.times.append(chunk.time)
    columns.positions.append(chunk.position)


def _fill_gaps(columns: _Columns) -> None:
    """Types whose file has no column of labels or splits have none."""
    sizes = [len(part) for part in columns.ids]
    columns.labels = without_gaps(columns.labels, sizes)
    if any(part is not None for part in columns.splits):
        columns.splits = [
            np.zeros((size, 1), np.uint8) if part is None else part
            for part, size in zip(columns.splits, sizes, strict=True)
        ]


def _finish(columns: _Columns, kind: str) -> Nodes:
    empty: Ids = pa.array([], pa.large_string()) if kind == "string" else np.empty(0, np.int64)
    ids = _concat(columns.ids) if columns.ids else empty
    order, node_types = _order_by_type(columns, len(ids))
    labels, info = encode_labels(columns.labels)

    def sort(array: Any) -> Any:
        return array if array is None or order is None else array[order]

    keys = ids if order is None else _take(ids, order)
    try:
        numbered = number_ids(keys)
    except InputError:
        raise _twice(ids, columns) from None
    return Nodes(
        numbered,
        node_types,
        sort(labels),
        info,
        sort(_all_or_none(columns.splits, "split", columns)),
        sort(_all_or_none(columns.times, "time", columns)),
        order,
        listed=True,
        positions=sort(_all_or_none(columns.positions, "positions", columns)),
    )


def _take(ids: Ids, order: NDArray[np.int64]) -> Ids:
    return ids.take(pa.array(order)) if isinstance(ids, pa.Array) else ids[order]


def _concat(parts: Sequence[Ids]) -> Ids:
    if isinstance(parts[0], pa.Array):
        return pa.concat_arrays(parts)
    return np.concatenate([p.astype(np.int64, copy=False) for p in parts])


def _all_or_none(parts: list[Any], name: str, columns: _Columns) -> Any:
    present = [part is not None for part in parts]
    if not any(present):
        return None
    if not all(present):
        raise InputError(f"some nodes files have a column for {name} and some have none "
                         f"({', '.join(str(p) for _, p, _ in columns.starts)}); give all or "
                         "none")  # fmt: skip
    return np.concatenate(parts)


def _order_by_type(
    columns: _Columns, count: int
) -> tuple[NDArray[np.int64] | None, tuple[NodeType, ...]]:
    if all(part is None for part in columns.types):
        return None, (NodeType("node", 0, count),)
    codes: dict[str, int] = {}
    parts = []
    for part in columns.types:
        if part is None:
            raise InputError("some nodes files have a type column and some have none; give all "
                             "or none of them one")  # fmt: skip
        encoded = part.dictionary_encode()
        local = [codes.setdefault(n, len(codes)) for n in encoded.dictionary.to_pylist()]
        parts.append(np.array(local, np.int32)[encoded.indices.to_numpy()])
    names = sorted(codes)
    place = np.empty(len(names), np.int32)
    place[[codes[name] for name in names]] = np.arange(len(names))
    final = place[np.concatenate(parts)]
    ends = np.cumsum(np.bincount(final, minlength=len(names)))
    node_types = tuple(
        NodeType(name, int(end - size), int(end))
        for name, end, size in zip(names, ends, np.diff(ends, prepend=0), strict=True)
    )
    order = np.argsort(final, kind="stable")
    return (None if (np.diff(order) == 1).all() else order), node_types


def _twice(ids: Ids, columns: _Columns) -> ParseError:
    """Which id appears twice, and where the second time."""
    if isinstance(ids, pa.Array):
        encoded = ids.dictionary_encode()
        codes = encoded.indices.to_numpy()
    else:
        codes = ids
    order = np.argsort(codes, kind="stable")
    again = order[1:][codes[order[1:]] == codes[order[:-1]]]
    row = int(again.min())
    start, path, first = [s for s in columns.starts if s[0] <= row][-1]
    key = ids[row].as_py() if isinstance(ids, pa.Array) else int(ids[row])
    return ParseError(path, f"node id {key!r} appears twice; ids must be distinct",
                      row - start + first)  # fmt: skip


def number_ids(ids: Ids) -> NodeIds:
    """Ids in dense order.

    Raises:
        InputError: an id appears twice.
    """
    if isinstance(ids, pa.Array):
        data, offsets = utf8_parts(ids)
        return NodeIds.from_strings(np.array(data), np.array(offsets))
    return NodeIds.from_ints(ids)


def nodes_from_ids(ids: Ids) -> Nodes:
    """Nodes that only edges name, from their sorted ids."""
    numbered = number_ids(ids)
    return Nodes(numbered, (NodeType("node", 0, numbered.num_nodes),))


def nodes_from_range(ids: range) -> Nodes:
    """Nodes whose ids are a range."""
    return Nodes(NodeIds.range(len(ids), ids.start), (NodeType("node", 0, len(ids)),))
