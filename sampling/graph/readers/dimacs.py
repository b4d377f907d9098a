"""DIMACS files: `p sp n m` with arcs `a u v w`, `p tw n m` with lines `u v`, and `p edge n m`
(or `col`) with lines `e u v`. Ids are 1 … n. Shortest-path arcs are directed and have weights;
the other two hold undirected edges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sampling.errors import ParseError
from sampling.graph.readers.columns import Place, to_weights, whole
from sampling.graph.readers.declared import check_count, check_ids, declared_int
from sampling.graph.readers.snap import BLANK, parse_blocks
from sampling.graph.readers.source import EdgeChunk, EdgeSource, ReadOptions
from sampling.graph.readers.text import line_blocks

__all__ = ["open_edges"]

NOT_DATA = re.compile(rb"^[cp]\b[^\n]*\n", re.MULTILINE)
PROBLEM = re.compile(rb"^p[ \t]+(\w+)[ \t]+(\S+)[ \t]+(\S+)[ \t]*$", re.MULTILINE)
LAYOUTS: dict[str, tuple[str, ...]] = {
    "sp": ("a", "src", "dst", "weight"),
    "tw": ("src", "dst"),
    "edge": ("e", "src", "dst"),
    "col": ("e", "src", "dst"),
}


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a DIMACS file."""
    problem, num_nodes, num_edges = _problem(path)
    layout = LAYOUTS[problem]
    marker = layout[0] if len(layout[0]) == 1 else None
    types = {name: pa.int64() for name in layout}
    if marker:
        types[marker] = pa.large_string()
    if "weight" in types:
        types["weight"] = pa.float64()

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        for table, row in parse_blocks(path, _data(path), types, rows):
            if marker:
                _check_marker(path, table[marker], marker, row)
            weight = None
            if "weight" in types:
                weight = to_weights(whole(table["weight"]), Place(path, "weight", row))
            yield EdgeChunk(
                check_ids(path, table["src"].to_numpy(), num_nodes, row),
                check_ids(path, table["dst"].to_numpy(), num_nodes, row),
                row,
                weight=weight,
                mirrored=problem != "sp",
            )

    # Coloring files count an edge once or twice as their authors liked: no check of those.
    counted = problem in ("sp", "tw")
    return EdgeSource(
        path,
        lambda kind, rows: (
            check_count(path, read(kind, rows), num_edges) if counted else read(kind, rows)
        ),
        declared=range(1, num_nodes + 1),
        num_rows=num_edges,
    )


def _problem(path: Path) -> tuple[str, int, int]:
    for block in line_blocks(path):
        if found := PROBLEM.search(block):
            problem = found.group(1).decode("latin1").lower()
            if problem not in LAYOUTS:
                raise ParseError(path, f"states the problem {problem!r}; known are "
                                 f"{', '.join(LAYOUTS)}")  # fmt: skip
            return (
                problem,
                declared_int(path, found.group(2), "nodes"),
                declared_int(path, found.group(3), "edges"),
            )
        if NOT_DATA.sub(b"", block).strip():
            break
    raise ParseError(path, "has no line `p sp|tw|edge|col nodes edges` before its edges")


def _data(path: Path) -> Iterator[bytes]:
    for block in line_blocks(path):
        kept = BLANK.sub(b"", NOT_DATA.sub(b"", block))
        if kept:
            yield kept


def _check_marker(path: Path, column: pa.ChunkedArray, marker: str, first_row: int) -> None:
    for word in column.unique().to_pylist():
        if word != marker:
            row = column.to_pylist().index(word)
            raise ParseError(path, f"has a line that starts with {word[:20]!r} where "
                             f"{marker!r} is expected", first_row + row)  # fmt: skip
