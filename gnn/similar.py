"""Nearest rows of a table of embeddings by cosine, exactly or by an index.

The index is a hierarchical navigable small world graph (Malkov, Yashunin 2018) of float16 rows, as
usearch builds it: one file, mapped at serving. What it finds is scored again from the table, so
that a score is that of the table's rows in either case:  score(q, v) = q·v / (|q| |v|).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.embeddings import INDEX_FILE, EmbeddingTable
from gnn.errors import MissingPackageError

__all__ = ["SimilarIndex", "build_index", "can_index", "exact_neighbors", "ranked"]

REMEDY = "install it with `pip install usearch`, or leave --index out"
ROWS_AT_ONCE = 1 << 14
SEARCHED = 128
"""Candidates that a search keeps at least; more find more."""

Rows = NDArray[np.float32]
Nodes = NDArray[np.int64]


def can_index() -> bool:
    """Whether the package that builds and reads indexes is installed."""
    return find_spec("usearch") is not None


def build_index(
    rows: Callable[[int, int], Rows], num_rows: int, dim: int, path: Path, num_threads: int = 0
) -> Iterator[int]:
    """Write the index of a table; yields how many rows are in it.

    Args:
        rows: (start, end) → rows of the table, (end - start, d).
        num_rows: rows of the table.
        dim: d.
        path: the file.
        num_threads: threads; all cores where it is 0. With more than one, which of several near
            rows is found may differ from run to run.

    Raises:
        MissingPackageError: usearch is not installed.

    Cost: about 2 d + 150 bytes of memory per row, and a search per row.
    """
    index = _usearch().Index(ndim=dim, metric="cos", dtype="f16")
    for start in range(0, num_rows, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, num_rows)
        index.add(np.arange(start, end, dtype=np.uint64), rows(start, end), threads=num_threads)
        yield end
    index.save(str(path))


class SimilarIndex:
    """The index of a table, mapped.

    Raises:
        MissingPackageError: usearch is not installed.
    """

    def __init__(self, table: EmbeddingTable) -> None:
        self.table = table
        usearch = _usearch()
        # a search uses working memory of the index, one for each of its own threads
        self._lock = threading.Lock()
        self._index = usearch.Index.restore(str(table.path / INDEX_FILE), view=True)

    def neighbors(self, queries: Rows, k: int) -> list[tuple[Nodes, Rows]]:
        """The k nearest rows of every query (m, d): nodes and scores, best first."""
        count = min(2 * k, len(self.table.embeddings))
        with self._lock:
            self._index.expansion_search = max(SEARCHED, 2 * k)
            found = self._index.search(queries, count, threads=1)
        keys = np.asarray(found.keys).reshape(len(queries), -1)
        counts = np.atleast_1d(found.counts if len(queries) > 1 else keys.shape[1])
        lists = [row[:n].astype(np.int64) for row, n in zip(keys, counts, strict=True)]
        return [
            ranked(query, nodes, self.table.rows(nodes), k)
            for query, nodes in zip(queries, lists, strict=True)
        ]


def exact_neighbors(table: EmbeddingTable, queries: Rows, k: int) -> list[tuple[Nodes, Rows]]:
    """The same from all rows of the table, a block at a time."""
    best = [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
    num_rows = len(table.embeddings)
    for start in range(0, num_rows, ROWS_AT_ONCE):
        nodes = np.arange(start, min(start + ROWS_AT_ONCE, num_rows))
        rows = table.rows(nodes)
        for i, query in enumerate(queries):
            block_nodes, block_scores = ranked(query, nodes, rows, k)
            best[i] = _best(
                np.concatenate([best[i][0], block_nodes]),
                np.concatenate([best[i][1], block_scores]),
                k,
            )
    return best


def ranked(query: Rows, nodes: Nodes, rows: Rows, k: int) -> tuple[Nodes, Rows]:
    """The k best of some nodes and their scores; a row of zeros scores 0, lower nodes win ties."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    scores = np.divide(rows @ query, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return _best(nodes, scores.astype(np.float32, copy=False), k)


def _best(nodes: Nodes, scores: Rows, k: int) -> tuple[Nodes, Rows]:
    if len(nodes) > 4 * k:
        near = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        nodes, scores = nodes[near], scores[near]
    order = np.lexsort((nodes, -scores))[:k]
    return nodes[order], scores[order]


def _usearch() -> Any:
    try:
        from usearch import index
    except ImportError as error:
        raise MissingPackageError("usearch", error, REMEDY) from error
    return index
