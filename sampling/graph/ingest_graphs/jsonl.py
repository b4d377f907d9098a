"""JSON lines, one graph per line.

{"id"?, "label"?, "split"?, "num_nodes"?, "node_features"?: [[…]], "node_labels"?: […],
 "edges": [[0, 1], …], "edge_features"?: [[…]], "edge_labels"?: […], "positions"?: [[x, y, z]]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import ParseError
from sampling.graph.ingest_graphs.config import IngestGraphsConfig
from sampling.graph.ingest_graphs.raw import Columns, RawGraphs, Reading, Targets, check_fits
from sampling.graph.ingest_graphs.tabular import one_target
from sampling.graph.labels import split_codes
from sampling.graph.meta import LabelInfo
from sampling.graph.readers.text import line_blocks

__all__ = ["read_jsonl"]

FIELDS = {"id", "label", "split", "num_nodes", "node_features", "node_labels", "edges",
          "edge_features", "edge_labels", "positions"}  # fmt: skip
REPORT_EVERY, MAX_SIZE = 1000, 1 << 31
ARRAYS = ("node_features", "node_labels", "edge_features", "edge_labels", "positions")


@dataclass(frozen=True, slots=True)
class _Line:
    """One graph: where it was written, its scalars and its arrays."""

    path: Path
    row: int
    scalars: dict[str, Any]
    size: int
    edges: NDArray[np.int64]
    arrays: dict[str, NDArray[Any]]

    def error(self, what: str) -> ParseError:
        return ParseError(self.path, what, self.row)


def read_jsonl(config: IngestGraphsConfig) -> Reading:
    """Graphs from files of JSON lines, compressed or not.

    Raises:
        ParseError: names file, row and field of what is wrong.
    """
    lines: list[_Line] = []
    for path in config.files:
        for line in _lines(Path(path)):
            lines.append(line)
            if len(lines) % REPORT_EVERY == 0:
                yield len(lines)
    sizes = np.array([line.size for line in lines], np.int64)
    check_fits(int(sizes.sum()), 64, "nodes")
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    edges = [line.edges + start for line, start in zip(lines, starts.tolist(), strict=True)]
    pairs = np.concatenate(edges) if edges else np.empty((0, 2), np.int64)
    raw = RawGraphs(sizes, np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]))
    if lines:
        _fill(raw, lines, config)
    return raw


def _fill(raw: RawGraphs, lines: Sequence[_Line], config: IngestGraphsConfig) -> None:
    arrays = {name: _stacked(lines, name) for name in ARRAYS}
    raw.node_features = _columns(arrays["node_features"], config)
    raw.edge_features = _columns(arrays["edge_features"], config)
    raw.node_labels = _as_labels(arrays["node_labels"])
    raw.edge_labels = _as_labels(arrays["edge_labels"])
    raw.positions = None if arrays["positions"] is None else arrays["positions"].astype(np.float32)
    raw.ids = _ids(lines)
    raw.targets = _targets(lines, config)
    words = _scalars(lines, "split")
    if words is not None:
        raw.splits = split_codes(_arrow(lines, "split", words), 1, lines[0].path)


def _lines(path: Path) -> Iterator[_Line]:
    row = 0
    for block in line_blocks(path):
        for text in block.split(b"\n")[:-1]:
            row += 1
            if text.strip():
                yield _line(path, row, text)


def _line(path: Path, row: int, text: bytes) -> _Line:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ParseError(path, f"is not JSON ({error.msg}, column {error.colno})", row) from None
    if not isinstance(content, dict):
        raise ParseError(path, f"holds a {type(content).__name__}; every line is one object", row)
    unknown = content.keys() - FIELDS
    if unknown:
        known = ", ".join(sorted(FIELDS))
        raise ParseError(path, f"has an unknown field {min(unknown)[:40]!r}; known: {known}", row)
    edges = _array(path, row, "edges", content.get("edges", []), 2)
    if edges.size == 0:
        edges = np.empty((0, 2), np.int64)
    if edges.shape[1] != 2 or edges.dtype.kind != "i":
        raise ParseError(path, "field 'edges' is no list of pairs of integers", row)
    arrays = {
        name: _array(path, row, name, content[name], 1 if name.endswith("labels") else 2)
        for name in ARRAYS
        if content.get(name) is not None
    }
    size = _size(path, row, content, edges, arrays)
    scalars = {name: content.get(name) for name in ("id", "label", "split")}
    line = _Line(path, row, scalars, size, edges.astype(np.int64), arrays)
    _check(line)
    return line


def _array(path: Path, row: int, name: str, value: Any, dimensions: int) -> NDArray[Any]:
    """A field as an array of numbers."""
    try:
        array = np.array(value) if isinstance(value, list) else None
    except (ValueError, OverflowError):
        array = None
    kinds = "iu" if dimensions == 1 else "iuf"
    if array is None or (
        array.size and (array.ndim != dimensions or array.dtype.kind not in kinds)
    ):
        wanted = (
            "a list of integers" if dimensions == 1 else "a list of equally long rows of numbers"
        )
        raise ParseError(path, f"field {name!r} is not {wanted}", row)
    if not array.size and array.ndim != dimensions:
        array = array.reshape((len(array), 0) if dimensions == 2 else (0,))
    if array.dtype.kind == "u":
        raise ParseError(path, f"field {name!r} holds an integer beyond 64 bits", row)
    return array


def _size(
    path: Path, row: int, content: dict[str, Any], edges: NDArray[Any], arrays: dict[str, Any]
) -> int:
    """Nodes of a graph: as told, as many as have rows, or as edges need."""
    told = content.get("num_nodes")
    if told is not None:
        if type(told) is not int or not 0 <= told <= MAX_SIZE:
            raise ParseError(path, f"field 'num_nodes' is {str(told)[:40]}; a count is needed", row)
        return told
    for name in ("node_features", "node_labels", "positions"):
        if name in arrays:
            return len(arrays[name])
    top = int(edges.max(initial=-1)) + 1
    if top > MAX_SIZE:
        raise ParseError(path, f"field 'edges' names node {top - 1}; nodes count from 0", row)
    return top


def _check(line: _Line) -> None:
    edges, size = line.edges, line.size
    if len(edges) and (edges.min() < 0 or edges.max() >= size):
        bad = edges.min() if edges.min() < 0 else edges.max()
        raise line.error(f"field 'edges' names node {bad} of a graph with {size} nodes")
    for name, array in line.arrays.items():
        wanted = len(edges) if name.startswith("edge") else size
        if len(array) != wanted:
            what = "edges" if name.startswith("edge") else "nodes"
            raise line.error(f"field {name!r} has {len(array)} rows for {wanted} {what}")
        if array.dtype.kind == "f" and not (np.abs(array) <= np.finfo(np.float32).max).all():
            raise line.error(f"field {name!r} holds a number that is no finite float32")
    places = line.arrays.get("positions")
    if places is not None and places.size and places.shape[1] != 3:
        raise line.error("field 'positions' has rows of other than 3 numbers")


def _stacked(lines: Sequence[_Line], name: str) -> NDArray[Any] | None:
    """One field of all graphs; graphs without nodes (edges) need none."""
    per_edge = name.startswith("edge")
    needing = [ln for ln in lines if (len(ln.edges) if per_edge else ln.size)]
    there = [line for line in needing if name in line.arrays]
    if not there:
        return None
    width = there[0].arrays[name].shape[1:]
    for line in needing:
        if name not in line.arrays:
            raise line.error(f"has no field {name!r}, which other graphs have")
        if line.arrays[name].shape[1:] != width:
            got = line.arrays[name].shape[1]
            raise line.error(f"field {name!r} has rows of {got} numbers, others of {width[0]}")
    return np.concatenate([line.arrays[name] for line in needing])


def _columns(rows: NDArray[Any] | None, config: IngestGraphsConfig) -> Columns | None:
    if rows is None:
        return None
    codes = config.integers == "codes" and rows.dtype.kind == "i" and rows.min(initial=0) >= 0
    tops = tuple(int(top) + 1 for top in rows.max(axis=0, initial=0)) if codes else None
    return Columns(rows.astype(np.float32), tuple(map(str, range(rows.shape[1]))), tops)


def _as_labels(labels: NDArray[Any] | None) -> NDArray[np.int64] | None:
    return None if labels is None else labels.astype(np.int64)[:, None]


def _scalars(lines: Sequence[_Line], name: str) -> list[Any] | None:
    values = [line.scalars[name] for line in lines]
    return None if all(value is None for value in values) else values


def _arrow(lines: Sequence[_Line], name: str, values: list[Any]) -> pa.Array:
    """Scalars as a column of one type: the first line of another is refused."""
    kinds = {bool: "b", int: "n", float: "n", str: "s"}
    seen = [kinds.get(type(value), "?") for value in values if value is not None]
    for line, value in zip(lines, values, strict=True):
        if value is not None and (kinds.get(type(value), "?") != seen[0] or seen[0] == "?"):
            raise line.error(f"field {name!r} is {str(value)[:40]!r}, of another type than in "
                             "other graphs, or of none that can be read")  # fmt: skip
    try:
        return pa.array(values, pa.float64() if float in map(type, values) else None)
    except (pa.ArrowInvalid, OverflowError):
        raise lines[0].error(f"field {name!r} holds a number beyond 64 bits") from None


def _ids(lines: Sequence[_Line]) -> Any:
    ids = _scalars(lines, "id")
    if ids is None:
        return None
    seen: set[Any] = set()
    for line, key in zip(lines, ids, strict=True):
        if type(key) not in (int, str) or type(key) is not type(ids[0]):
            raise line.error(f"field 'id' is {str(key)[:40]!r}; ids are all integers or all text")
        if key in seen:
            raise line.error(f"field 'id' is {str(key)[:40]!r} a second time; ids are distinct")
        seen.add(key)
    column = _arrow(lines, "id", ids)
    if pa.types.is_string(column.type):
        return column.cast(pa.large_string())
    return column.to_numpy()


def _targets(lines: Sequence[_Line], config: IngestGraphsConfig) -> Targets | None:
    values = _scalars(lines, "label")
    if values is None:
        return None
    if any(isinstance(value, list) for value in values):
        return _many_targets(lines, values)
    return one_target(_arrow(lines, "label", values), "label", config, lines[0].path)


def _many_targets(lines: Sequence[_Line], values: list[Any]) -> Targets:
    """Lists of numbers, null for none."""
    width = next(len(value) for value in values if isinstance(value, list))
    rows = np.full((len(values), width), np.nan, np.float32)
    for i, (line, value) in enumerate(zip(lines, values, strict=True)):
        if value is None:
            continue
        numbers = [np.nan if v is None else v for v in value] if isinstance(value, list) else []
        good = len(numbers) == width and all(type(v) in (int, float) for v in numbers)
        if not good or not width:
            raise line.error(f"field 'label' is no list of {width} numbers, as in other graphs")
        rows[i] = numbers
    if np.isinf(rows).any():
        bad = int(np.flatnonzero(np.isinf(rows).any(axis=1))[0])
        raise lines[bad].error("field 'label' holds a number that is no finite float32")
    names = tuple(map(str, range(width)))
    return Targets(rows[:, 0] if width == 1 else rows, LabelInfo(kind="real"), names)
