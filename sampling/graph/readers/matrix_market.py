"""MatrixMarket coordinate files (Boisvert, Pozo, Remington 1996): entry (i, j) is an edge i → j.

Ids are 1 … n, isolated nodes included. A symmetric matrix lists one triangle, and its edges run
both ways; values of real and integer matrices are weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sampling.errors import ParseError
from sampling.graph.readers.columns import Place, to_weights, whole
from sampling.graph.readers.declared import check_count, check_ids, declared_int
from sampling.graph.readers.snap import data_blocks, parse_blocks
from sampling.graph.readers.source import EdgeChunk, EdgeSource, ReadOptions
from sampling.graph.readers.text import head

__all__ = ["open_edges"]

COMMENT = re.compile(rb"^%[^\n]*\n", re.MULTILINE)


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a MatrixMarket file."""
    pattern, symmetric = _banner(path)
    num_nodes, num_edges = _size(path)
    types = {"src": pa.int64(), "dst": pa.int64()} | ({} if pattern else {"weight": pa.float64()})

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        blocks = _without_first_line(data_blocks(path, COMMENT))
        for table, row in parse_blocks(path, blocks, types, rows):
            weight = None if pattern else to_weights(
                whole(table["weight"]), Place(path, "weight", row))  # fmt: skip
            yield EdgeChunk(
                check_ids(path, table["src"].to_numpy(), num_nodes, row),
                check_ids(path, table["dst"].to_numpy(), num_nodes, row),
                row,
                weight=weight,
                mirrored=symmetric,
            )

    return EdgeSource(
        path,
        lambda kind, rows: check_count(path, read(kind, rows), num_edges),
        declared=range(1, num_nodes + 1),
        num_rows=num_edges,
    )


def _banner(path: Path) -> tuple[bool, bool]:
    """Whether entries have no values, and whether the matrix is symmetric."""
    words = head(path).split(b"\n", 1)[0].decode("latin1").lower().split()
    if len(words) != 5 or words[0] != "%%matrixmarket":
        raise ParseError(path, "does not start with a %%MatrixMarket line")
    kind, symmetry = words[3], words[4]
    if words[1:3] != ["matrix", "coordinate"] or kind not in ("pattern", "real", "integer"):
        raise ParseError(path, f"is a MatrixMarket {' '.join(words[1:])}; edges are read from a "
                         "coordinate matrix: pattern, real or integer")  # fmt: skip
    if symmetry not in ("general", "symmetric"):
        raise ParseError(path, f"is {symmetry}; only general and symmetric matrices are graphs")
    return kind == "pattern", symmetry == "symmetric"


def _size(path: Path) -> tuple[int, int]:
    block = next(data_blocks(path, COMMENT), b"")
    words = block.split(b"\n", 1)[0].split()
    if len(words) != 3:
        raise ParseError(path, "has no line `rows columns entries` after its comments")
    rows, columns = declared_int(path, words[0], "rows"), declared_int(path, words[1], "columns")
    if rows != columns:
        raise ParseError(path, f"is a {rows} by {columns} matrix; an adjacency matrix is square")
    return rows, declared_int(path, words[2], "entries")


def _without_first_line(blocks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(blocks, b"").split(b"\n", 1)[1:]
    if first and first[0]:
        yield first[0]
    yield from blocks
