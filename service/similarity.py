"""Nodes near a node or a vector, by the cosine of embeddings: from an index, or from all rows.

Searches have threads of their own and a short queue, so that they take nothing from predictions.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from gnn import EmbeddingTable
from gnn.similar import SimilarIndex, can_index, exact_neighbors
from service.errors import NoIndexError, OverloadedError

__all__ = ["Found", "Similarity"]

Found = list[tuple[NDArray[np.int64], NDArray[np.float32]]]

MAX_WAITING = 64
MAX_OPEN = 4


class Similarity:
    """Searches in tables of embeddings.

    Args:
        exact_rows: rows up to which a table without an index is searched exactly.
        threads: searches at once.
    """

    def __init__(self, exact_rows: int, threads: int) -> None:
        self.exact_rows = exact_rows
        self._indexes: OrderedDict[str, SimilarIndex] = OrderedDict()
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="similar")
        self._waiting = 0

    def check(self, table: EmbeddingTable) -> None:
        """Refuse a table that is too large to be searched without an index.

        Raises:
            NoIndexError: it is.
        """
        if not self.has_index(table) and len(table.embeddings) > self.exact_rows:
            raise NoIndexError(len(table.embeddings), self.exact_rows)

    def has_index(self, table: EmbeddingTable) -> bool:
        """Whether a table is searched by an index: it brought one, and there is what reads it."""
        return table.meta.index is not None and can_index()

    async def of_nodes(self, table: EmbeddingTable, nodes: NDArray[np.int64], k: int) -> Found:
        """The k nearest other nodes of every node."""
        found = await self._run(lambda: self._search(table, table.rows(nodes), k + 1))
        pairs = zip(nodes.tolist(), found, strict=True)
        return [_without(node, others, scores, k) for node, (others, scores) in pairs]

    async def of_vector(self, table: EmbeddingTable, vector: NDArray[np.float32], k: int) -> Found:
        """The k nearest nodes of a vector (d,)."""
        return await self._run(lambda: self._search(table, vector[None], k))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _search(self, table: EmbeddingTable, queries: NDArray[np.float32], k: int) -> Found:
        if not self.has_index(table):
            return exact_neighbors(table, queries, k)
        return self._index(table).neighbors(queries, k)

    def _index(self, table: EmbeddingTable) -> SimilarIndex:
        """The index of a table, mapped once; those of tables that were are let go."""
        with self._opening:
            if table.meta.digest not in self._indexes:
                self._indexes[table.meta.digest] = SimilarIndex(table)
                while len(self._indexes) > MAX_OPEN:
                    self._indexes.popitem(last=False)
            return self._indexes[table.meta.digest]

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
