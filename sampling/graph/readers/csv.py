"""CSV and TSV with a header, or with names that are given for one, streamed by Arrow.

A text file does not say what its columns hold, and its first lines may mislead. Ids are what
all of them are: integers, or else strings. Times and labels climb a ladder of types until
every row fits; the column is read once for each rung, so the order of rows decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from sampling import kernels
from sampling.errors import ParseError
from sampling.graph.readers.columns import first_index
from sampling.graph.readers.source import EdgeSource, NodeSource, ReadOptions
from sampling.graph.readers.table import (
    EDGE_ROLES,
    EDGE_ROWS,
    NODE_ROLES,
    NODE_ROWS,
    edges_of_table,
    nodes_of_table,
    pick,
)
from sampling.graph.readers.text import (
    BAD_VALUE,
    MAX_LINE_BYTES,
    BadValueError,
    head,
    line_blocks,
    open_stream,
    reading,
    words,
)

__all__ = ["delimiter_of", "header_of", "open_edges", "open_nodes"]

INT, REAL, TEXT = pa.int64(), pa.float64(), pa.large_string()
LADDERS: dict[str, tuple[pa.DataType, ...]] = {
    "time": (INT, REAL, pa.timestamp("us"), pa.timestamp("us", "UTC")),
    "node_time": (INT, REAL, pa.timestamp("us"), pa.timestamp("us", "UTC")),
    "label": (INT, REAL, TEXT),
}
FIXED = {"weight": REAL, "type": TEXT, "node_type": TEXT, "split": TEXT,
         "edge_split": TEXT}  # fmt: skip
IDS = ("src", "dst", "id")
ROWS = (EDGE_ROWS, NODE_ROWS)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
INTEGER = re.compile(r"[+-]?\d+")


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a CSV or TSV file."""
    table = _Table(path, EDGE_ROLES, options)
    return edges_of_table(path, table.schema, table.picked, table.batches, text=True)


def open_nodes(path: Path, options: ReadOptions) -> NodeSource:
    """Nodes of a CSV or TSV file."""
    table = _Table(path, NODE_ROLES, options)
    return nodes_of_table(path, table.schema, table.picked, table.batches, text=True)


def delimiter_of(first_line: str) -> str:
    """The separator that the header uses most."""
    return max((",", "\t", ";", "|", " "), key=first_line.count)


def header_of(path: Path) -> tuple[list[str], str]:
    """Column names and separator.

    Raises:
        ParseError: the file is empty.
    """
    text = head(path).decode("utf-8-sig", "replace").splitlines()
    if not text or not text[0].strip():
        raise ParseError(path, "is empty; a table starts with a line of column names")
    delimiter = delimiter_of(text[0])
    return [name.strip().strip('"') for name in text[0].split(delimiter)], delimiter


class _Table:
    """One file, its columns and their settled types."""

    def __init__(self, path: Path, roles: tuple[str, ...], options: ReadOptions) -> None:
        self.path = path
        first, self.delimiter = header_of(path)
        self.names, self.is_bare = list(options.header) or first, bool(options.header)
        if len(self.names) != len(first):
            raise ParseError(path, f"has {len(first)} columns, and {len(self.names)} names are "
                             "given for them; give one for each")  # fmt: skip
        self.picked = pick(path, self.names, roles, options)
        rows = [name for role, name in self.picked.items() if role.startswith(ROWS)]
        self.types = dict.fromkeys(rows, REAL)
        self.types |= {self.picked[r]: t for r, t in FIXED.items() if r in self.picked}
        for role, ladder in LADDERS.items():
            if role in self.picked:
                self.types[self.picked[role]] = self._settle(self.picked[role], ladder)

    @property
    def schema(self) -> pa.Schema:
        """All columns; ids count as integers until they are read."""
        return pa.schema([(name, self.types.get(name, INT)) for name in dict.fromkeys(self.names)])

    def batches(self, kind: str, rows: int) -> Iterator[Any]:
        """The columns of interest, ids as integers or strings."""
        id_type = INT if kind == "int" else TEXT
        ids = {self.picked[r]: id_type for r in IDS if r in self.picked}
        done = 0
        if kind == "int" and set(self.names) == ids.keys():
            for batch in self._plain():
                if batch is None:
                    break
                done += batch.num_rows
                yield from _slices(batch, rows)
            else:
                return
        for batch in self._scan(self.types | ids):
            rest = batch.slice(min(done, batch.num_rows))
            done -= batch.num_rows - rest.num_rows
            yield from _slices(rest, rows)

    def _plain(self) -> Iterator[pa.RecordBatch | None]:
        """Rows of plain integers; None, at the end, where other rows follow."""
        code, threads = ord(self.delimiter), kernels.default_threads()
        with closing(line_blocks(self.path)) as blocks:
            for number, block in enumerate(blocks):
                start = 0 if number or self.is_bare else block.index(b"\n") + 1
                text = np.frombuffer(block, np.uint8)[start:]
                columns = kernels.parse_integers(text, code, len(self.names), threads)
                if columns is None:
                    yield None
                    return
                yield pa.RecordBatch.from_arrays(list(columns), self.names)

    def _settle(self, name: str, ladder: tuple[pa.DataType, ...]) -> pa.DataType:
        """The first type of the ladder that every row has."""
        refused: ParseError | None = None
        for type_ in ladder:
            try:
                for _ in self._scan({name: type_}):
                    pass
            except BadValueError as error:
                refused = refused or error
            else:
                return type_
        assert refused is not None
        raise refused

    def _scan(self, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        try:
            with reading(self.path), open_stream(self.path) as stream:
                yield from self._open(stream, types)
        except _RefusedError as error:
            raise self._explain(error.args[0], types) from None

    def _open(self, stream: Any, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        try:
            yield from pacsv.open_csv(
                stream,
                read_options=pacsv.ReadOptions(
                    block_size=MAX_LINE_BYTES, column_names=self.names,
                    skip_rows=0 if self.is_bare else 1,
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=types, include_columns=list(types), null_values=[""],
                    strings_can_be_null=True,
                ),
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            if "conversion error" in str(error) or "UTF8" in str(error):
                raise _RefusedError(str(error)) from None
            raise

    def _explain(self, text: str, types: dict[str, pa.DataType]) -> ParseError:
        """Find the row of a value that did not fit: Arrow's stream does not count rows."""
        bad = BAD_VALUE.search(text)
        if bad is None:
            return ParseError(self.path, f"holds text that is not UTF-8 ({text[:120]})")
        name, value = self.names[int(bad.group(1))], bad.group(2)
        row = self._row_of(name, value) if types[name] != TEXT else None
        return BadValueError(self.path, name, value, row, words(types[name]))

    def _row_of(self, name: str, value: str) -> int | None:
        row = 1
        for batch in self._scan({name: TEXT}):
            if (place := first_index(batch.column(0), value)) >= 0:
                return row + place
            row += batch.num_rows
        return None


def _slices(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


class _RefusedError(Exception):
    """Arrow's message, on its way out of the stream that must be closed first."""


def integer_or_text(error: BadValueError) -> None:
    """Whether ids that are no 64-bit integers can be text: numbers cannot.

    Raises:
        ParseError: the value is a number, of a kind that ids cannot have.
    """
    value = error.value.strip()
    if INTEGER.fullmatch(value):
        raise ParseError(
            error.path,
            f"column {error.column!r} holds {value}; integer ids end at 2**63 - 1",
            error.row,
        )
    if NUMBER.fullmatch(value):
        raise ParseError(
            error.path,
            f"column {error.column!r} holds {value}; ids are integers or text, never floats",
            error.row,
        )
