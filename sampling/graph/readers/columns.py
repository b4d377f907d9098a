"""Arrow columns turned into ids, times, weights and names, refused by row when they are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sampling.errors import ParseError
from sampling.graph.readers.source import Ids

__all__ = [
    "Place",
    "finite_rows",
    "id_kind",
    "to_ids",
    "to_names",
    "to_rows",
    "to_times",
    "to_weights",
]

MICROSECONDS = 1_000_000
MAX_SECONDS = 9.2e12


class Place:
    """Where a column stands, for messages: file, name, number of its first row."""

    def __init__(self, path: Path, column: str, first_row: int) -> None:
        self.path, self.column, self.first_row = path, column, first_row

    def error(self, row: int, what: str) -> ParseError:
        """The error of row `row` of this chunk."""
        return ParseError(self.path, f"column {self.column!r} {what}", self.first_row + row)

    def refuse_nulls(self, array: pa.Array) -> None:
        """Raise where a value is missing."""
        if array.null_count:
            row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
            raise self.error(row, "is empty; every row needs a value")


def id_kind(path: Path, column: str, type_: pa.DataType) -> str:
    """Whether ids of a typed column are integers or strings.

    Raises:
        ParseError: they are neither.
    """
    value = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_integer(value):
        return "int"
    if pa.types.is_string(value) or pa.types.is_large_string(value):
        return "string"
    raise ParseError(path, f"column {column!r} is of type {type_}; ids must be integers or strings")


def to_ids(array: pa.Array, kind: str, place: Place) -> Ids:
    """Ids of one kind.

    Raises:
        ParseError: a value is missing, or cannot be an id of this kind.
    """
    place.refuse_nulls(array)
    array = _decoded(array)
    got = id_kind(place.path, place.column, array.type)
    if got != kind:
        raise place.error(0, f"holds {array.type} ids such as {array[0].as_py()!r}, but the other "
                          f"ids are of kind {kind}; all files must agree")  # fmt: skip
    if kind == "string":
        return array.cast(pa.large_string())
    if array.type == pa.int32():
        return array.to_numpy()
    if array.type == pa.uint64():
        values = array.to_numpy()
        if len(values) and values.max() > np.iinfo(np.int64).max:
            row = int(np.flatnonzero(values > np.iinfo(np.int64).max)[0])
            raise place.error(row, f"holds {values[row]}; integer ids end at 2**63 - 1")
    return array.cast(pa.int64()).to_numpy()


def to_times(array: pa.Array, place: Place) -> NDArray[np.int64]:
    """Times as int64: integers as they are, seconds with a fraction and timestamps in µs."""
    place.refuse_nulls(array)
    if pa.types.is_integer(array.type):
        return _int64(array)
    if pa.types.is_timestamp(array.type):
        return _int64(array.cast(pa.timestamp("us", array.type.tz)))
    if pa.types.is_floating(array.type):
        seconds = array.cast(pa.float64()).to_numpy()
        bad = ~(np.abs(seconds) < MAX_SECONDS)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise place.error(row, f"holds {seconds[row]}; times are finite seconds")
        times: NDArray[np.int64] = np.rint(seconds * MICROSECONDS).astype(np.int64)
        return times
    raise place.error(0, f"is of type {array.type}; times are integers, seconds or timestamps")


def _int64(array: pa.Array) -> NDArray[np.int64]:
    values: NDArray[np.int64] = array.cast(pa.int64()).to_numpy()
    return values


def is_scaled(type_: pa.DataType) -> bool:
    """Whether `to_times` turns this type into microseconds."""
    return bool(pa.types.is_floating(type_) or pa.types.is_timestamp(type_))


def to_weights(array: pa.Array, place: Place) -> NDArray[np.float32]:
    """Weights as finite float32."""
    place.refuse_nulls(array)
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
        raise place.error(0, f"is of type {array.type}; weights are numbers")
    with np.errstate(over="ignore"):
        weights = array.to_numpy(zero_copy_only=False).astype(np.float32)
    return finite_weights(weights, place)


def to_numbers(array: pa.Array, place: Place) -> NDArray[np.float64]:
    """Numbers of one column, as they are."""
    place.refuse_nulls(array)
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
        raise place.error(0, f"is of type {array.type}; features and positions are numbers")
    numbers: NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return numbers


def to_rows(columns: Sequence[tuple[pa.Array, Place]]) -> NDArray[np.float32]:
    """Finite float32 rows, (num_rows, num_columns), of columns of numbers."""
    rows = np.empty((len(columns[0][0]), len(columns)), np.float32)
    for i, (array, place) in enumerate(columns):
        with np.errstate(over="ignore"):
            rows[:, i] = to_numbers(array, place)
        rows[:, i : i + 1] = finite_rows(rows[:, i : i + 1], place)
    return rows


def finite_rows(rows: NDArray[Any], place: Place) -> NDArray[np.float32]:
    """The rows as float32, with 0 for -0, so that equal rows have equal bytes.

    A place without a name is a whole matrix, whose columns count from 0.

    Raises:
        ParseError: names the first row with a value that is not finite as float32.
    """
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32, copy=False) + np.float32(0)
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        named = Place(place.path, place.column or str(column), place.first_row)
        raise named.error(row, f"holds {rows[row, column]}; features and positions must be "
                          "finite float32 numbers")  # fmt: skip
    return rows


def finite_weights(weights: NDArray[np.float32], place: Place) -> NDArray[np.float32]:
    """The weights again, with 0 for -0, so that equal weights have equal bytes."""
    finite = np.isfinite(weights)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise place.error(row, f"holds {weights[row]}; weights must be finite float32 numbers")
    return weights + np.float32(0)


def to_names(array: pa.Array, place: Place) -> pa.Array:
    """Names of types, as strings."""
    place.refuse_nulls(array)
    return _decoded(array).cast(pa.large_string())


def whole(array: Any) -> pa.Array:
    """One array of a chunked column."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _decoded(array: pa.Array) -> pa.Array:
    array = whole(array)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def first_index(array: pa.Array, value: str) -> int:
    """Position of a string in an array, or -1."""
    return int(pc.index(array, pa.scalar(value, array.type)).as_py())
