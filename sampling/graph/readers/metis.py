"""METIS adjacency files (Karypis, Kumar 1998): line i lists the neighbors of node i, from 1.

The header is `n m [fmt [ncon]]`; `fmt` 1 adds a weight after each neighbor, 10 puts `ncon`
node weights in front, 11 does both. Both directions of an edge stand in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import ParseError
from sampling.graph.readers.columns import Place, finite_weights
from sampling.graph.readers.declared import check_count, check_ids, declared_int
from sampling.graph.readers.source import EdgeChunk, EdgeSource, ReadOptions
from sampling.graph.readers.text import line_blocks, parse_block

__all__ = ["open_edges"]

COMMENT = re.compile(rb"^[ \t]*%[^\n]*\n", re.MULTILINE)
NEWLINE = 10


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a METIS file."""
    num_nodes, num_edges, node_weights, weighted = _header(path)

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        done, edges = 0, 1
        for block in _adjacency(path):
            counts, numbers = _numbers(path, block, done + 1, weighted)
            if done + len(counts) > num_nodes and counts[num_nodes - done :].any():
                raise ParseError(path, f"has more than the {num_nodes} adjacency lines that its "
                                 "header declares")  # fmt: skip
            counts = counts[: num_nodes - done]
            src, dst, weight = _edges(path, counts, numbers, done + 1, node_weights, weighted)
            check_ids(path, dst, num_nodes, edges)
            for start in range(0, len(src), rows):
                part = slice(start, start + rows)
                yield EdgeChunk(
                    src[part],
                    dst[part],
                    edges + start,
                    weight=None if weight is None else weight[part],
                )
            done, edges = done + len(counts), edges + len(src)
        if done < num_nodes:
            raise ParseError(path, f"has {done} adjacency lines where its header declares "
                             f"{num_nodes} nodes; copy it again")  # fmt: skip

    return EdgeSource(
        path,
        lambda kind, rows: check_count(path, read(kind, rows), 2 * num_edges),
        declared=range(1, num_nodes + 1),
        num_rows=2 * num_edges,
    )


def _header(path: Path) -> tuple[int, int, int, bool]:
    """Nodes, edges, node weights on each line, and whether edges have weights."""
    block = next(_blocks(path), b"").lstrip()
    words = block.split(b"\n", 1)[0].split()
    if not 2 <= len(words) <= 4:
        raise ParseError(path, "does not start with a METIS header `nodes edges [fmt [ncon]]`")
    layout = words[2].decode("latin1").lstrip("0") if len(words) > 2 else ""
    if layout not in ("", "1", "10", "11"):
        raise ParseError(path, f"has METIS format {words[2].decode('latin1')[:20]!r}; known are "
                         "0, 1, 10 and 11")  # fmt: skip
    num_weights = declared_int(path, words[3], "node weights") if len(words) > 3 else 1
    has_node_weights = layout in ("10", "11")
    return (
        declared_int(path, words[0], "nodes"),
        declared_int(path, words[1], "edges"),
        num_weights if has_node_weights else 0,
        layout in ("1", "11"),
    )


def _blocks(path: Path) -> Iterator[bytes]:
    for block in line_blocks(path):
        yield COMMENT.sub(b"", block) if b"%" in block else block


def _adjacency(path: Path) -> Iterator[bytes]:
    """Blocks of adjacency lines; a blank line is a node without neighbors."""
    header = True
    for block in _blocks(path):
        if header:
            block = block.lstrip()
            header = not block
            block = block.split(b"\n", 1)[1] if block else block
        if block:
            yield block


def _numbers(
    path: Path, block: bytes, first_line: int, weighted: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64] | NDArray[np.int64]]:
    """How many numbers each line has, and all of them."""
    data = np.frombuffer(block, np.uint8)
    space = data <= 32
    starts = ~space
    starts[1:] &= space[:-1]
    ends = np.flatnonzero(data == NEWLINE)
    total = np.cumsum(starts)
    counts = np.diff(total[ends], prepend=0)
    if not starts.any():
        return counts, np.empty(0, np.int64)
    type_ = pa.float64() if weighted else pa.int64()
    words = b"\n".join(block.split())
    table = parse_block(path, words + b"\n", {"neighbors": type_}, first_line)
    return counts, table["neighbors"].to_numpy()


def _edges(
    path: Path,
    counts: NDArray[np.int64],
    numbers: NDArray[np.float64] | NDArray[np.int64],
    first_node: int,
    node_weights: int,
    weighted: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32] | None]:
    """Node numbers of both ends, and weights."""
    per_edge = 2 if weighted else 1
    bad = (counts < node_weights) | ((counts - node_weights) % per_edge != 0)
    if bad.any():
        line = int(np.flatnonzero(bad)[0])
        raise ParseError(path, f"node {first_node + line} has {counts[line]} numbers, which do "
                         f"not fit {node_weights} node weights and {per_edge} per "
                         "neighbor")  # fmt: skip
    if node_weights:
        place = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
        numbers = numbers[place >= node_weights]
    degrees = (counts - node_weights) // per_edge
    src = np.repeat(np.arange(first_node, first_node + len(counts)), degrees)
    if not weighted:
        return src, numbers.astype(np.int64), None
    neighbors, weights = numbers[0::2], numbers[1::2].astype(np.float32)
    if (neighbors != np.floor(neighbors)).any():
        raise ParseError(path, "has a neighbor that is no integer; check fmt in the header")
    return src, neighbors.astype(np.int64), finite_weights(weights, Place(path, "weight", 1))
