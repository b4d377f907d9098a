"""Graphs written as elements with attributes (GraphML, GML), turned into chunks of columns.

The file is looked through once to settle what its attributes hold, and read again for nodes
and for edges; no more than a chunk of it is held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from sampling.errors import ParseError
from sampling.graph.readers.columns import Place, to_names, to_times, to_weights
from sampling.graph.readers.source import (
    EdgeChunk,
    EdgeSource,
    Ids,
    NodeChunk,
    NodeSource,
    ReadOptions,
)

__all__ = ["EdgeElement", "Elements", "NodeElement", "edges_of_elements"]

EDGE_ROLES = ("type", "time", "weight")
NODE_ROLES = ("node_type", "node_time", "split", "label")
Element = TypeVar("Element")


class NodeElement(NamedTuple):
    """A node and its attributes, as text."""

    id: str
    attributes: Mapping[str, str]


class EdgeElement(NamedTuple):
    """An edge and its attributes, as text."""

    src: str
    dst: str
    attributes: Mapping[str, str]
    directed: bool


Elements = Callable[[], Iterator[NodeElement | EdgeElement]]


@dataclass(slots=True)
class _Survey:
    """What a look through the file finds."""

    int_ids: bool = True
    num_edges: int = 0
    node_kinds: dict[str, set[str]] = field(default_factory=dict)
    edge_kinds: dict[str, set[str]] = field(default_factory=dict)

    @property
    def id_kind(self) -> str:
        return "int" if self.int_ids else "string"


def edges_of_elements(path: Path, elements: Elements, options: ReadOptions) -> EdgeSource:
    """Edges and nodes of a file of elements."""
    survey = _survey(elements)
    node_names = _picked(path, options, NODE_ROLES, survey.node_kinds)
    edge_names = _picked(path, options, EDGE_ROLES, survey.edge_kinds)
    ignored = sorted(
        (survey.node_kinds.keys() - set(node_names.values()))
        | (survey.edge_kinds.keys() - set(edge_names.values()))
    )

    def nodes(kind: str, rows: int) -> Iterator[NodeChunk]:
        row = 1
        for batch in _batched((e for e in elements() if isinstance(e, NodeElement)), rows):
            yield _node_chunk(path, batch, kind, row, node_names, survey)
            row += len(batch)

    def edges(kind: str, rows: int) -> Iterator[EdgeChunk]:
        row = 1
        for batch in _batched((e for e in elements() if isinstance(e, EdgeElement)), rows):
            for directed in (True, False):
                part = [e for e in batch if e.directed is directed]
                if part:
                    yield _edge_chunk(path, part, kind, row, edge_names, survey)
            row += len(batch)

    return EdgeSource(
        path,
        edges,
        id_kind=survey.id_kind,
        num_rows=survey.num_edges,
        time_unit=_time_unit(edge_names, survey),
        ignored=tuple(ignored),
        nodes=NodeSource(path, nodes, survey.id_kind),
    )


def _survey(elements: Elements) -> _Survey:
    survey = _Survey()
    for element in elements():
        if isinstance(element, NodeElement):
            ids, kinds = (element.id,), survey.node_kinds
        else:
            ids, kinds = (element.src, element.dst), survey.edge_kinds  # type: ignore[assignment]
            survey.num_edges += 1
        survey.int_ids = survey.int_ids and all(_is_int(i) for i in ids)
        for name, value in element.attributes.items():
            kinds.setdefault(name, set()).add(_kind(value))
    return survey


def _is_int(text: str) -> bool:
    """Whether an id is an integer as Python writes it: "007" is text."""
    return len(text) <= 20 and _kind(text) == "int" and str(int(text)) == text


def _kind(text: str) -> str:
    for kind, parse in (("int", int), ("real", float)):
        try:
            parse(text)
        except ValueError:
            continue
        return kind
    return "text" if text else "none"


def _picked(
    path: Path, options: ReadOptions, roles: tuple[str, ...], found: Mapping[str, Any]
) -> dict[str, str]:
    """Role → attribute. A label is only what the user names: here "label" is a caption."""
    picked = {}
    for role in roles:
        name = options.name(role)
        if role in options.columns and name not in found:
            raise ParseError(path, f"has no attribute {name!r} but {', '.join(sorted(found))}; "
                             f"name it with --{role.replace('_', '-')}")  # fmt: skip
        if name in found and (role in options.columns or role in ("weight", "time")):
            picked[role] = name
    return picked


def _time_unit(names: Mapping[str, str], survey: _Survey) -> str | None:
    real = "time" in names and "real" in survey.edge_kinds[names["time"]]
    return "microseconds" if real else None


def _batched(items: Iterator[Element], size: int) -> Iterator[list[Element]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _node_chunk(
    path: Path,
    batch: list[NodeElement],
    kind: str,
    row: int,
    names: Mapping[str, str],
    survey: _Survey,
) -> NodeChunk:
    def column(role: str, *, text: bool = False) -> Any:
        return _column(path, batch, row, role, names, survey.node_kinds, text=text)

    types, times = column("node_type", text=True), column("node_time")
    return NodeChunk(
        _ids(path, [e.id for e in batch], kind, row),
        row,
        None if types is None else to_names(types, Place(path, "type", row)),
        column("label"),
        column("split", text=True),
        None if times is None else to_times(times, Place(path, "time", row)),
    )


def _edge_chunk(
    path: Path,
    batch: list[EdgeElement],
    kind: str,
    row: int,
    names: Mapping[str, str],
    survey: _Survey,
) -> EdgeChunk:
    def column(role: str, to: Callable[..., Any], *, text: bool = False) -> Any:
        found = _column(path, batch, row, role, names, survey.edge_kinds, text=text)
        return None if found is None else to(found, Place(path, names[role], row))

    return EdgeChunk(
        _ids(path, [e.src for e in batch], kind, row),
        _ids(path, [e.dst for e in batch], kind, row),
        row,
        column("type", to_names, text=True),
        column("time", to_times),
        column("weight", to_weights),
        mirrored=not batch[0].directed,
    )


def _ids(path: Path, ids: list[str], kind: str, row: int) -> Ids:
    if kind == "string":
        return pa.array(ids, pa.large_string())
    values = [int(i) for i in ids]
    for place, value in enumerate(values):
        if not -(2**63) <= value < 2**63:
            raise ParseError(path, f"node id {value}: integer ids end at 2**63 - 1", row + place)
    return np.array(values, np.int64)


def _column(
    path: Path,
    batch: list[Any],
    row: int,
    role: str,
    names: Mapping[str, str],
    kinds: Mapping[str, set[str]],
    *,
    text: bool,
) -> pa.Array | None:
    """One attribute of a batch in the narrowest type that all of the file has."""
    if role not in names:
        return None
    values = [element.attributes.get(names[role]) or None for element in batch]
    found = kinds[names[role]] - {"none"}
    if text or "text" in found:
        return pa.array(values, pa.large_string())
    try:
        if "real" in found:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        return pa.array([None if v is None else int(v) for v in values], pa.int64())
    except OverflowError:
        raise ParseError(path, f"attribute {names[role]!r} holds an integer beyond 64 bits near "
                         f"row {row}") from None  # fmt: skip
