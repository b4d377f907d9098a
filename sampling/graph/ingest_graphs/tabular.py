"""Whole tables (Parquet, CSV, TSV) and their columns, refused by row where a value is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sampling.errors import InputError, ParseError
from sampling.graph.ids import NodeIds
from sampling.graph.idset import utf8_parts
from sampling.graph.ingest_graphs.config import IngestGraphsConfig
from sampling.graph.ingest_graphs.raw import MAX_CODES, Columns, Targets
from sampling.graph.labels import encode_labels, plain_labels, split_codes
from sampling.graph.meta import LabelInfo
from sampling.graph.nodes import number_ids
from sampling.graph.readers.columns import Place, id_kind, to_ids, whole
from sampling.graph.readers.csv import header_of
from sampling.graph.readers.source import Ids
from sampling.graph.readers.text import explain, open_stream, reading, stem_suffix

__all__ = ["Table", "feature_columns", "targets_of"]

FIRST_ROW = 1


class Table:
    """One file in memory.

    Args:
        path: Parquet, CSV or TSV.
        text: columns that are text whatever they look like.

    Raises:
        ParseError: the file cannot be read.
    """

    def __init__(self, path: Path, text: Sequence[str] = ()) -> None:
        self.path = path
        self.data = _parquet(path) if stem_suffix(path) == ".parquet" else _csv(path, text)
        names = self.data.column_names
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ParseError(path, f"has two columns {twice[0]!r}; give each its own name")

    @property
    def names(self) -> list[str]:
        return list(self.data.column_names)

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Leave out all other rows."""
        self.data = self.data.take(pa.array(rows))

    def column(self, name: str, option: str = "") -> pa.Array:
        """One column.

        Raises:
            ParseError: it is not there.
        """
        if name not in self.names:
            hint = f"; name it with {option}" if option else ""
            shown = ", ".join(self.names[:20])
            raise ParseError(self.path, f"has no column {name!r} but {shown}{hint}")
        return whole(self.data.column(name))

    def integers(self, name: str) -> NDArray[np.int64]:
        """A column of integers, none missing.

        Raises:
            ParseError: a value is something else.
        """
        array = self.column(name)
        if not pa.types.is_integer(array.type):
            row = _first_odd(array)
            raise ParseError(self.path, f"column {name!r} holds {array[row].as_py()!r}; integers "
                             "are needed", FIRST_ROW + row) if len(array) else ParseError(
                                 self.path, "has no rows")  # fmt: skip
        ids: NDArray[Any] = to_ids(array, "int", Place(self.path, name, FIRST_ROW))
        return ids.astype(np.int64, copy=False)

    def ids(self, name: str) -> Ids:
        """A column of ids, integers or text."""
        array = self.column(name)
        kind = id_kind(self.path, name, array.type)
        return to_ids(array, kind, Place(self.path, name, FIRST_ROW))

    def numbered_ids(self, name: str) -> NodeIds:
        """Distinct ids of the rows.

        Raises:
            ParseError: one comes twice.
        """
        try:
            return number_ids(self.ids(name))
        except InputError as error:
            if isinstance(error, ParseError):
                raise
            raise ParseError(self.path, str(error).replace("node id", "graph id")) from None

    def find(self, name: str, known: NodeIds) -> NDArray[np.int64]:
        """The place of every id of a column among known ids.

        Raises:
            ParseError: an id is unknown.
        """
        ids = self.ids(name)
        if isinstance(ids, pa.Array):
            places = known.find_strings(*utf8_parts(ids))
        else:
            places = known.find_ints(np.ascontiguousarray(ids, np.int64))
        if (places < 0).any():
            row = int(np.flatnonzero(places < 0)[0])
            key = ids[row].as_py() if isinstance(ids, pa.Array) else int(ids[row])
            raise ParseError(self.path, f"column {name!r} names graph {key!r}, which is in no row "
                             "of the table of graphs", FIRST_ROW + row)  # fmt: skip
        return places

    def splits(self, name: str) -> NDArray[np.uint8]:
        """A column of split words, (rows, 1)."""
        return split_codes(self.column(name), FIRST_ROW, self.path)


def _parquet(path: Path) -> pa.Table:
    with reading(path):
        return pq.read_table(path)


def _csv(path: Path, text: Sequence[str]) -> pa.Table:
    names, delimiter = header_of(path)
    types = {name: pa.large_string() for name in text if name in names}
    try:
        with reading(path), open_stream(path) as stream:
            try:
                return pacsv.read_csv(
                    stream,
                    read_options=pacsv.ReadOptions(column_names=names, skip_rows=1),
                    parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                    convert_options=pacsv.ConvertOptions(
                        column_types=types, null_values=[""], strings_can_be_null=True
                    ),
                )
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    return pa.table({name: pa.array([], types.get(name)) for name in names})
                raise explain(path, error, names, types, FIRST_ROW - 1) from None
    except pa.ArrowInvalid as error:
        raise ParseError(path, f"cannot be read ({str(error)[:200]})") from None


def _first_odd(array: pa.Array) -> int:
    """The first row that is no integer."""
    for row, value in enumerate(array):
        if not str(value.as_py()).lstrip("-").isdigit():
            return row
    return 0


def feature_columns(table: Table, names: Sequence[str], integers: str) -> Columns | None:
    """These columns of numbers as features; categorical codes where all are integers from 0.

    Raises:
        ParseError: a value is missing, not finite, or no number.
    """
    if not names:
        return None
    columns = [_numbers(table, name) for name in names]
    rows = np.stack(columns, axis=1).astype(np.float32)
    whole_numbers = all(column.dtype.kind == "i" for column in columns)
    tops = [int(column.max(initial=0)) for column in columns]
    are_codes = whole_numbers and all(column.min(initial=0) >= 0 for column in columns)
    if integers == "numbers" or not are_codes or max(tops) >= MAX_CODES:
        return Columns(rows, tuple(names))
    return Columns(rows, tuple(names), tuple(top + 1 for top in tops))


def _numbers(table: Table, name: str) -> NDArray[Any]:
    array = table.column(name)
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        if pa.types.is_boolean(kind):
            array = array.cast(pa.int8())
        Place(table.path, name, FIRST_ROW).refuse_nulls(array)
        return array.cast(pa.int64()).to_numpy()  # type: ignore[no-any-return]  # Arrow is untyped
    if not pa.types.is_floating(kind):
        raise ParseError(table.path, f"column {name!r} is of type {kind}; features are numbers")
    values: NDArray[np.float64] = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if not (np.abs(values) <= np.finfo(np.float32).max).all():
        row = int(np.flatnonzero(~(np.abs(values) <= np.finfo(np.float32).max))[0])
        raise ParseError(table.path, f"column {name!r} holds {values[row]}; features are finite "
                         "float32 numbers", FIRST_ROW + row)  # fmt: skip
    return values


def targets_of(
    table: Table, config: IngestGraphsConfig, candidates: Sequence[str]
) -> Targets | None:
    """The columns of targets: those asked for, or `label`, or the only candidate.

    Raises:
        ParseError: a value is wrong, or it is not clear which column is meant.
    """
    names = list(config.labels) or [n for n in ("label",) if n in candidates] or list(candidates)
    if len(names) > 1 and not config.labels:
        raise ParseError(table.path, f"may have its target in {', '.join(names[:10])}; name it "
                         "with --label")  # fmt: skip
    if not names:
        return None
    if len(names) == 1:
        return one_target(table.column(names[0], "--label"), names[0], config, table.path)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"--label names {twice[0]!r} twice; name every target once")
    kind = config.target_kind
    if kind == "class":
        raise InputError(f"{len(names)} targets are real numbers; --target-kind class is for one")
    columns = [_real(table.column(n, "--label"), n, table.path) for n in names]
    return Targets(np.stack(columns, axis=1), LabelInfo(kind="real"), tuple(names))


def one_target(array: pa.Array, name: str, config: IngestGraphsConfig, path: Path) -> Targets:
    """One column as classes or as real targets."""
    if config.target_kind == "real":
        return Targets(_real(array, name, path), LabelInfo(kind="real"), (name,))
    plain = plain_labels(array, FIRST_ROW, path)
    if config.target_kind == "class" and getattr(plain, "dtype", np.dtype(int)).kind == "f":
        known = plain[~np.isnan(plain)]
        if (known != np.rint(known)).any():
            bad = int(np.flatnonzero((plain != np.rint(plain)) & ~np.isnan(plain))[0])
            raise ParseError(path, f"column {name!r} holds {plain[bad]:g}, which is no class; use "
                             "--target-kind real", FIRST_ROW + bad)  # fmt: skip
        plain = np.where(np.isnan(plain), -1, plain).astype(np.int64)
    values, info = encode_labels([plain])
    assert values is not None, "a column has values"
    assert info is not None, "a column has a kind"
    return Targets(values, info, (name,))


def _real(array: pa.Array, name: str, path: Path) -> NDArray[np.float32]:
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan, np.float32)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ParseError(path, f"column {name!r} is of type {kind}; a real target is a number")
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    values: NDArray[np.float32] = plain_labels(array.cast(pa.float64()), FIRST_ROW, path)
    return values
