"""Node features at rest as compressed sparse rows: bags of words of many thousand columns.

    row v:   columns[indptr[v] … indptr[v + 1]],  values[indptr[v] … indptr[v + 1]]

Rows are given out as torch's compressed sparse rows, never dense: 60,000 nodes with 60,000 columns
would take 14 GiB. The first linear map of a model sums the weights of the columns that are there.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling.errors import FeatureError
from sampling.graph.features import FeatureTable

__all__ = ["SPARSE", "SparseTable", "sparse_rows"]

SPARSE = "sparse"
"""The storage type, as the manifest names it."""


@dataclass(frozen=True, slots=True)
class SparseTable(FeatureTable):
    """One sparse row of features per node, in memory or mapped.

    Attributes:
        array: the values, (num_values,) float32, finite.
        storage: "sparse".
        indptr: offsets into values and columns, (num_nodes + 1,) int64.
        columns: of every value, (num_values,) int32, ascending within a row.
        width: number of columns, d.
    """

    storage: str = SPARSE
    scale: None = None
    indptr: NDArray[np.int64] = None  # type: ignore[assignment]  # the fields before it have defaults
    columns: NDArray[np.int32] = None  # type: ignore[assignment]
    width: int = 0

    @property
    def num_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def dim(self) -> int:
        return self.width

    @property
    def nbytes(self) -> int:
        return int(self.array.nbytes + self.columns.nbytes + self.indptr.nbytes)

    def gather(self, nodes: Tensor, num_threads: int = 1) -> Tensor:
        """Rows of these nodes, (len(nodes), d) float32 in torch's sparse CSR layout."""
        indptr, columns, values = self._taken(nodes.numpy())
        return sparse_rows(indptr, columns, values, self.width)

    def rows(self, start: int, end: int) -> Tensor:
        """Rows `start … end` in the same layout."""
        low, high = self.indptr[start], self.indptr[end]
        indptr = self.indptr[start : end + 1] - low
        return sparse_rows(indptr, self.columns[low:high], self.array[low:high], self.width)

    def take(self, nodes: NDArray[np.int64]) -> SparseTable:
        """The rows of these nodes as a table."""
        indptr, columns, values = self._taken(nodes)
        return SparseTable(values, indptr=indptr, columns=columns, width=self.width)

    def tensor(self) -> None:
        """None: a dense view there is none."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by the names of their files."""
        return {
            "feature_indptr": self.indptr,
            "feature_columns": self.columns,
            "feature_values": self.array,
        }

    def row_normalized(self) -> SparseTable:
        """Every row divided by the sum of its magnitudes."""
        counts = np.diff(self.indptr)
        sums = np.add.reduceat(np.r_[np.abs(self.array), np.float32(0)], self.indptr[:-1])
        sums = np.repeat(np.where(counts > 0, sums, 1), counts)
        values = self.array / np.maximum(sums, 1e-12).astype(np.float32)
        return SparseTable(values, indptr=self.indptr, columns=self.columns, width=self.width)

    def fault(self) -> str:
        """What is wrong with the arrays, or nothing: they may come from a hostile directory."""
        indptr, columns = self.indptr, self.columns
        if indptr[0] != 0 or indptr[-1] != len(columns) or len(columns) != len(self.array):
            return "spans other values than there are"
        counts = np.diff(indptr)
        if (counts < 0).any():
            return "falls"
        if len(columns) and (int(columns.min()) < 0 or int(columns.max()) >= self.width):
            return f"leads to a column outside 0 … {self.width - 1}"
        firsts = np.zeros(len(columns) + 1, bool)
        firsts[indptr[:-1]] = True
        rises = columns[1:] > columns[:-1]
        if not (rises | firsts[1:-1]).all():
            return "has a row whose columns do not ascend"
        return "" if np.isfinite(self.array).all() else "has a value that is not finite"

    def _taken(
        self, nodes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        starts = self.indptr[nodes]
        counts = self.indptr[nodes + 1] - starts
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        place = np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])
        return indptr, self.columns[place], self.array[place]

    @classmethod
    def from_csr(
        cls,
        indptr: NDArray[Any],
        columns: NDArray[Any],
        values: NDArray[Any],
        width: int,
        order: NDArray[np.int64] | None = None,
    ) -> SparseTable:
        """A table of compressed sparse rows in any order; entries that repeat add up.

        Args:
            indptr: offsets, (rows + 1,).
            columns: 0 … width - 1, (num_values,).
            values: numbers, (num_values,).
            width: number of columns.
            order: row that becomes row i; row i itself when left out.

        Raises:
            FeatureError: a value is not a finite float32 number.
        """
        from scipy.sparse import csr_matrix

        numbers = np.asarray(values, np.float64)  # sums of small integers must not overflow
        matrix = csr_matrix((numbers, columns, indptr), shape=(len(indptr) - 1, width))
        matrix = matrix.copy() if order is None else matrix[order]
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        with np.errstate(over="ignore"):
            stored = matrix.data.astype(np.float32)
        if not np.isfinite(stored).all():
            place = int(np.flatnonzero(~np.isfinite(stored))[0])
            row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
            raise FeatureError(f"features[{row}, {matrix.indices[place]}] is {matrix.data[place]}; "
                               "features must be finite float32 numbers")  # fmt: skip
        offsets, places = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        return cls(stored, indptr=offsets, columns=places, width=width)


def sparse_rows(
    indptr: NDArray[np.int64], columns: NDArray[np.int32], values: NDArray[np.float32], width: int
) -> Tensor:
    """Arrays as torch's compressed sparse rows, (len(indptr) - 1, width) float32."""
    parts = (torch.from_numpy(np.array(indptr)), torch.from_numpy(columns.astype(np.int64)))
    size = (len(indptr) - 1, width)
    return torch.sparse_csr_tensor(*parts, torch.from_numpy(np.array(values)), size,
                                   check_invariants=False)  # fmt: skip


def _let_torch_say_it_once() -> None:
    """Torch warns once per process that its sparse CSR tensors are in beta; it is said here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse_rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), 1)


_let_torch_say_it_once()
