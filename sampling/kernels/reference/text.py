"""Integers in text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["parse_integers"]

Array = NDArray[Any]


def parse_integers(text: Array, delimiter: int, num_columns: int, num_threads: int) -> Array | None:
    """Columns (num_columns, lines) int64 of lines of integers; None where a line is not plain.

    A plain line is `num_columns` fields with one delimiter between them, each of 1 to 18 digits
    with at most a minus before them, and nothing else.

    Args:
        text: uint8, whole lines.
        delimiter: code of the character between fields.
        num_columns: fields of a line.
        num_threads: threads.
    """
    field = rb"(-?[0-9]{1,18})"
    line = re.compile(re.escape(bytes([delimiter])).join([field] * num_columns))
    rows = [line.fullmatch(row) for row in text.tobytes().split(b"\n")[:-1]]
    if not all(rows):
        return None
    values = [[int(value) for value in row.groups()] for row in rows if row is not None]
    return np.array(values, np.int64).reshape(-1, num_columns).T
