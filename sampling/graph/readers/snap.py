"""Edge lists as the Stanford network collection (SNAP) keeps them.

Lines of `src dst` or `src dst value`, separated by spaces or tabs, without a header; lines that
start with "#" or "%" are comments. A third column is a time where all of it are integers, else
a weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sampling.errors import ParseError
from sampling.graph.readers.columns import Place, to_ids, to_times, to_weights, whole
from sampling.graph.readers.source import EdgeChunk, EdgeSource, ReadOptions
from sampling.graph.readers.text import BadValueError, line_blocks, parse_block

__all__ = ["data_blocks", "open_edges", "parse_blocks"]

COMMENT = re.compile(rb"^[#%][^\n]*\n", re.MULTILINE)
BLANK = re.compile(rb"^[ \t]*\n", re.MULTILINE)


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a SNAP text file."""
    third = _third_column(path)
    names = ["src", "dst", *third]

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        id_type = pa.int64() if kind == "int" else pa.large_string()
        types = dict.fromkeys(("src", "dst"), id_type) | third
        for table, row in parse_blocks(path, data_blocks(path), types, rows):
            columns = {name: (whole(table[name]), Place(path, name, row)) for name in names}
            yield EdgeChunk(
                to_ids(columns["src"][0], kind, columns["src"][1]),
                to_ids(columns["dst"][0], kind, columns["dst"][1]),
                row,
                time=to_times(*columns["time"]) if "time" in columns else None,
                weight=to_weights(*columns["weight"]) if "weight" in columns else None,
            )

    return EdgeSource(path, read, id_kind="text")


def _third_column(path: Path) -> dict[str, pa.DataType]:
    """What stands behind `src dst`: nothing, a time, or a weight."""
    first = next(data_blocks(path), b"")
    fields = len(first.split(b"\n", 1)[0].split())
    if not fields:
        return {}
    if fields not in (2, 3):
        raise ParseError(path, f"has {fields} columns and no header; give `src dst [time]`, or a "
                         "header line that names the columns")  # fmt: skip
    if fields == 2:
        return {}
    types = dict.fromkeys(("src", "dst"), pa.large_string())
    try:
        for _ in parse_blocks(path, data_blocks(path), types | {"time": pa.int64()}, 1 << 30):
            pass
    except BadValueError:
        return {"weight": pa.float64()}
    return {"time": pa.int64()}


def data_blocks(path: Path, comments: re.Pattern[bytes] = COMMENT) -> Iterator[bytes]:
    """Blocks of whole lines without comments and blank lines."""
    for block in line_blocks(path):
        if b"#" in block or b"%" in block:
            block = comments.sub(b"", block)
        block = BLANK.sub(b"", block) if b"\n\n" in block or block[:1] in b"\n \t" else block
        if block:
            yield block


def parse_blocks(
    path: Path,
    blocks: Iterator[bytes],
    types: dict[str, pa.DataType],
    rows: int,
    first_row: int = 1,
) -> Iterator[tuple[pa.Table, int]]:
    """Tables of at most `rows` rows, each with the number of its first row."""
    row = first_row
    for block in blocks:
        table = parse_block(path, block, types, row)
        for start in range(0, table.num_rows, rows):
            yield table.slice(start, rows), row + start
        row += table.num_rows
