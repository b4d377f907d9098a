"""A file of edge features beside one file of edges: row i belongs to its i-th edge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sampling.errors import FeatureError, InputError
from sampling.graph.readers.arrays import open_mapped
from sampling.graph.readers.columns import Place, finite_rows
from sampling.graph.readers.features import check_matrix
from sampling.graph.readers.source import EdgeChunk, EdgeSource

__all__ = ["EdgeRows"]


class EdgeRows:
    """Rows of a `.npy` file, which may be larger than memory, given to edges as these are read.

    Args:
        path: the file.
        edges: the files of edges.

    Raises:
        FeatureError: it holds no matrix of numbers.
        InputError: there are several files of edges.
    """

    def __init__(self, path: Path, edges: list[EdgeSource]) -> None:
        if len(edges) != 1:
            raise InputError(f"{path.name} holds edge features for one file of edges, and "
                             f"{len(edges)} are given; join them, or name columns")  # fmt: skip
        self.path, self.edges, self._mapped = path, edges[0].path, open_mapped(path)
        check_matrix(path, self._mapped.array.shape, self._mapped.array.dtype, per="edge")
        self.num_rows, self.dim = self._mapped.array.shape
        self._done = 0

    def attach(self, chunk: EdgeChunk) -> EdgeChunk:
        """The next edges with their rows.

        Raises:
            FeatureError: there are fewer rows than edges.
            ParseError: a value is not finite.
            InputError: the format does not give edges in the order of the file.
        """
        if chunk.first_row != self._done + 1:
            raise InputError(f"the edges of {self.edges.name} are not counted by rows, so "
                             f"{self.path.name} cannot go with them; give a table")  # fmt: skip
        start, self._done = self._done, self._done + len(chunk.src)
        if self._done > self.num_rows:
            raise self._mismatch(f"more than {self._done - 1}")
        rows = np.array(self._mapped.array[start : self._done])
        self._mapped.forget()
        return replace(chunk, features=finite_rows(rows, Place(self.path, "", start + 1)))

    def check_all_read(self) -> None:
        """Refuse rows that belong to no edge.

        Raises:
            FeatureError: there are more rows than edges.
        """
        if self._done != self.num_rows:
            raise self._mismatch(str(self._done))

    def _mismatch(self, edges: str) -> FeatureError:
        return FeatureError(f"{self.path.name} has {self.num_rows} rows and {self.edges.name} "
                            f"{edges} edges; give one row per edge, in their order")  # fmt: skip
