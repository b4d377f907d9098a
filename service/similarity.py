"""Nodes near a node or a vector, by the cosine of embeddings: from an index, or from all rows.

Searches have threads of their own and a short queue, so that they take nothing from predictions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from gnn import EmbeddingTable
from gnn.similar import SimilarIndex, exact_neighbors
from service.errors import NoIndexError, OverloadedError

__all__ = ["Found", "Similarity"]

Found = list[tuple[NDArray[np.int64], NDArray[np.float32]]]

MAX_WAITING = 64


class Similarity:
    """Searches in one table of embeddings.

    Args:
        table: the table, with its index if it has one.
        exact_rows: rows up to which a table without an index is searched exactly.
        threads: searches at once.

    Raises:
        GnnError: the index cannot be opened.
    """

    def __init__(self, table: EmbeddingTable, exact_rows: int, threads: int) -> None:
        self.table, self.exact_rows = table, exact_rows
        self._index = SimilarIndex(table) if table.meta.index is not None else None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="similar")
        self._waiting = 0

    @property
    def source(self) -> str:
        """What searches: `index`, or `exact`."""
        return "exact" if self._index is None else "index"

    def check(self) -> None:
        """Refuse a table that is too large to be searched without an index.

        Raises:
            NoIndexError: it is.
        """
        if self._index is None and len(self.table.embeddings) > self.exact_rows:
            raise NoIndexError(len(self.table.embeddings), self.exact_rows)

    async def of_nodes(self, nodes: NDArray[np.int64], k: int) -> Found:
        """The k nearest other nodes of every node."""
        found = await self._run(lambda: self._search(self.table.rows(nodes), k + 1))
        pairs = zip(nodes.tolist(), found, strict=True)
        return [_without(node, others, scores, k) for node, (others, scores) in pairs]

    async def of_vector(self, vector: NDArray[np.float32], k: int) -> Found:
        """The k nearest nodes of a vector (d,)."""
        return await self._run(lambda: self._search(vector[None], k))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _search(self, queries: NDArray[np.float32], k: int) -> Found:
        if self._index is not None:
            return self._index.neighbors(queries, k)
        return exact_neighbors(self.table, queries, k)

    async def _run(self, search: Callable[[], Found]) -> Found:
        if self._waiting >= MAX_WAITING:
            raise OverloadedError(self._waiting, MAX_WAITING, 1)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, search)
        finally:
            self._waiting -= 1


def _without(
    node: int, nodes: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    others = nodes != node
    return nodes[others][:k], scores[others][:k]
