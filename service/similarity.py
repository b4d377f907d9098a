"""Nodes near a node or a vector, by the cosine of embeddings: from an index, or from all rows.

Searches have threads of their own and a short queue, so that they take nothing from predictions.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from gnn import EmbeddingTable
from gnn.similar import SimilarIndex, can_index, exact_neighbors
from service.errors import NoIndexError
from service.side import SideWork

__all__ = ["Found", "Similarity"]

Found = list[tuple[NDArray[np.int64], NDArray[np.float32]]]
Timed = tuple[Found, dict[str, float]]

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
        self._work = SideWork("similar", threads, MAX_WAITING)

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

    async def of_nodes(self, table: EmbeddingTable, nodes: NDArray[np.int64], k: int) -> Timed:
        """The k nearest other nodes of every node, and the seconds of each stage."""

        def search() -> Found:
            found = self._search(table, table.rows(nodes), k + 1)
            pairs = zip(nodes.tolist(), found, strict=True)
            return [_without(node, others, scores, k) for node, (others, scores) in pairs]

        return await self._work.timed(search)

    async def of_vector(self, table: EmbeddingTable, vector: NDArray[np.float32], k: int) -> Timed:
        """The k nearest nodes of a vector (d,), and the seconds of each stage."""
        return await self._work.timed(self._search, table, vector[None], k)

    def close(self) -> None:
        """End the threads."""
        self._work.close()

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


def _without(
    node: int, nodes: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    others = nodes != node
    return nodes[others][:k], scores[others][:k]
