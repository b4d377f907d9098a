"""Tables of edges and nodes with named columns: what Parquet and CSV have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sampling.errors import ParseError
from sampling.graph.labels import split_codes
from sampling.graph.readers.columns import (
    Place,
    id_kind,
    is_scaled,
    to_ids,
    to_names,
    to_rows,
    to_times,
    to_weights,
    whole,
)
from sampling.graph.readers.source import (
    EdgeChunk,
    EdgeSource,
    NodeChunk,
    NodeSource,
    ReadOptions,
)

__all__ = [
    "EDGE_ROWS",
    "NODE_ROWS",
    "Batches",
    "edge_chunks",
    "edges_of_table",
    "node_chunks",
    "nodes_of_table",
    "pick",
]

Batches = Callable[[str, int], Iterator[pa.RecordBatch]]
"""`batches(kind, rows)` reads the table with ids as "int" or "string"."""

SYNONYMS = {"src": ("src", "source"), "dst": ("dst", "target")}
EDGE_ROLES = ("src", "dst", "type", "time", "weight", "edge_split")
NODE_ROLES = ("id", "node_type", "node_time", "label", "split")
NEEDED = {"src", "dst", "id"}
EDGE_ROWS, NODE_ROWS = "edge-features", "positions"
"""What several columns together are: role k of "positions" is "positions k"."""


def pick(
    path: Path, found: Sequence[str], roles: Sequence[str], options: ReadOptions
) -> dict[str, str]:
    """Role → column of a file.

    Raises:
        ParseError: a column that is needed, or was named by the user, is not there, or twice.
    """
    picked: dict[str, str] = {}
    for role in roles:
        names = (options.name(role),) if role in options.columns else SYNONYMS.get(
            role, (options.name(role),))  # fmt: skip
        here = [name for name in names if name in found]
        if here:
            picked[role] = here[0]
        elif role in NEEDED or (role in options.columns and role not in options.optional):
            raise ParseError(path, f"has no column {names[0]!r} but {_shown(found)}; "
                             f"name it with --{role.replace('_', '-')}")  # fmt: skip
    for what in (EDGE_ROWS,) if "src" in roles else (NODE_ROWS,):
        picked |= _rows_of(path, found, what, options)
    twice = [name for name in picked.values() if list(found).count(name) > 1]
    if twice:
        raise ParseError(path, f"has the column {twice[0]!r} more than once; rename one")
    return picked


def _rows_of(path: Path, found: Sequence[str], what: str, options: ReadOptions) -> dict[str, str]:
    names = options.edge_features if what == EDGE_ROWS else options.positions
    for name in names:
        if name not in found:
            raise ParseError(path, f"has no column {name!r} but {_shown(found)}; name columns "
                             f"that are there with --{what}")  # fmt: skip
    return {f"{what} {i}": name for i, name in enumerate(names)}


def _rows(path: Path, picked: dict[str, str], what: str, batch: Any, row: int) -> Any:
    """Several columns of a batch as one matrix; None where there are none."""
    names = [name for role, name in picked.items() if role.startswith(f"{what} ")]
    columns = [(whole(batch.column(name)), Place(path, name, row)) for name in names]
    return to_rows(columns) if columns else None


def _shown(found: Sequence[str]) -> str:
    names = ", ".join(repr(name[:40]) for name in found[:12])
    return f"{names} and {len(found) - 12} more" if len(found) > 12 else names


def edges_of_table(
    path: Path,
    schema: pa.Schema,
    picked: dict[str, str],
    batches: Batches,
    *,
    text: bool,
    num_rows: int | None = None,
) -> EdgeSource:
    """The edges of a table whose columns are known."""
    kinds = {id_kind(path, picked[r], schema.field(picked[r]).type) for r in ("src", "dst")}
    if len(kinds) > 1 and not text:
        raise ParseError(path, "has integer ids in one column and strings in the other")
    scaled = "time" in picked and is_scaled(schema.field(picked["time"]).type)
    return EdgeSource(
        path,
        lambda kind, rows: edge_chunks(path, picked, batches(kind, rows), kind),
        id_kind="text" if text else kinds.pop(),
        num_rows=num_rows,
        time_unit="microseconds" if scaled else None,
        ignored=tuple(sorted(set(schema.names) - set(picked.values()))),
        id_columns=(picked["src"], picked["dst"]),
        has_split="edge_split" in picked,
    )


def to_splits(array: pa.Array, place: Place) -> Any:
    """Codes of the words of a split column."""
    return split_codes(array, place.first_row, place.path)[:, 0]


def edge_chunks(
    path: Path, picked: dict[str, str], batches: Iterator[Any], kind: str
) -> Iterator[EdgeChunk]:
    """Record batches as chunks of edges."""
    row = 1
    for batch in batches:

        def column(
            role: str, to: Callable[..., Any], *extra: Any, batch: Any = batch, row: int = row
        ) -> Any:
            if role not in picked:
                return None
            name = picked[role]
            return to(whole(batch.column(name)), *extra, Place(path, name, row))

        yield EdgeChunk(
            column("src", to_ids, kind),
            column("dst", to_ids, kind),
            row,
            column("type", to_names),
            column("time", to_times),
            column("weight", to_weights),
            split=column("edge_split", to_splits),
            features=_rows(path, picked, EDGE_ROWS, batch, row),
        )
        row += batch.num_rows


def nodes_of_table(
    path: Path, schema: pa.Schema, picked: dict[str, str], batches: Batches, *, text: bool
) -> NodeSource:
    """The nodes of a table whose columns are known."""
    kind = id_kind(path, picked["id"], schema.field(picked["id"]).type)
    return NodeSource(
        path,
        lambda kind, rows: node_chunks(path, picked, batches(kind, rows), kind),
        id_kind="text" if text and kind == "int" else kind,
        ignored=tuple(sorted(set(schema.names) - set(picked.values()))),
    )


def node_chunks(
    path: Path, picked: dict[str, str], batches: Iterator[Any], kind: str
) -> Iterator[NodeChunk]:
    """Record batches as chunks of nodes."""
    row = 1
    for batch in batches:

        def raw(role: str, batch: Any = batch) -> Any:
            return whole(batch.column(picked[role])) if role in picked else None

        def place(role: str, row: int = row) -> Place:
            return Place(path, picked[role], row)

        yield NodeChunk(
            to_ids(raw("id"), kind, place("id")),
            row,
            to_names(raw("node_type"), place("node_type")) if "node_type" in picked else None,
            raw("label"),
            raw("split"),
            to_times(raw("node_time"), place("node_time")) if "node_time" in picked else None,
            _rows(path, picked, NODE_ROWS, batch, row),
        )
        row += batch.num_rows
