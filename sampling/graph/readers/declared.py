"""What formats with a declared size share: ids 1 … n, and as many edges as the header says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import ParseError
from sampling.graph.readers.source import EdgeChunk

__all__ = ["MAX_NODES", "check_count", "check_ids", "declared_int"]

MAX_NODES = 1 << 40


def declared_int(path: Path, word: Any, what: str) -> int:
    """A non-negative count from a header.

    Raises:
        ParseError: it is none, or more than can be.
    """
    try:
        value = int(word)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_NODES:
        shown = word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
        raise ParseError(path, f"declares {shown[:40]!r} {what}; a count is expected")
    return value


def check_ids(
    path: Path, column: NDArray[np.int64], num_nodes: int, first_row: int, first_id: int = 1
) -> NDArray[np.int64]:
    """The ids again, all within what the header declares.

    Raises:
        ParseError: names the first that is not.
    """
    last = first_id + num_nodes - 1
    if len(column) and (int(column.min()) < first_id or int(column.max()) > last):
        row = int(np.flatnonzero((column < first_id) | (column > last))[0])
        raise ParseError(path, f"names node {column[row]}, outside {first_id} … {last} as its "
                         "header declares", first_row + row)  # fmt: skip
    return column


def check_count(path: Path, chunks: Iterator[EdgeChunk], expected: int) -> Iterator[EdgeChunk]:
    """The chunks again; an error at the end if they hold another number of edges.

    Raises:
        ParseError: the file is cut short, or longer than it says.
    """
    found = 0
    for chunk in chunks:
        found += len(chunk.src)
        yield chunk
    if found != expected:
        raise ParseError(path, f"holds {found} edges where its header declares {expected}; copy "
                         "it again")  # fmt: skip
