"""Node features at rest: a dense matrix in one of four storage types, read as float32."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.errors import FeatureError
from sampling.graph.csc import as_tensor

__all__ = ["STORAGE_TYPES", "FeatureTable", "column_scale", "encode_rows"]

STORAGE_TYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "int8": np.dtype(np.int8),
}
"""Storage type → the NumPy type that holds it; bfloat16 is kept as its bits."""


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """One row of features per node, in memory or mapped.

    Attributes:
        array: (num_nodes, d) of the NumPy type in `STORAGE_TYPES`.
        storage: "float32", "float16", "bfloat16" or "int8".
        scale: (d,) float32, the step of every column; int8 only.
    """

    array: NDArray[Any]
    storage: str = "float32"
    scale: NDArray[np.float32] | None = None

    @property
    def num_rows(self) -> int:
        return int(self.array.shape[0])

    @property
    def dim(self) -> int:
        return int(self.array.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(num_nodes, d)."""
        return self.num_rows, self.dim

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, nodes: Tensor | ArrayLike) -> Tensor:
        """Rows of these nodes, as `gather` gives them.

        Raises:
            FeatureError: they are no indices; a mask is none.

        Example:
            >>> FeatureTable(np.eye(3, dtype=np.float32))[[2, 0]].tolist()
            [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        """
        indices = torch.as_tensor(nodes).reshape(-1)
        if len(indices) and (indices.dtype == torch.bool or indices.is_floating_point()):
            raise FeatureError(f"nodes are {indices.dtype}; give their indices")
        return self.gather(indices.long())

    def gather(self, nodes: Tensor, num_threads: int = 1) -> Tensor:
        """Rows of these nodes, (len(nodes), d) float32."""
        rows = kernels.gather(self.array, nodes.numpy(), self.scale, num_threads)
        return torch.from_numpy(rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return int(self.array.nbytes)

    def take(self, nodes: NDArray[np.int64]) -> FeatureTable:
        """The rows of these nodes as a table."""
        return FeatureTable(np.ascontiguousarray(self.array[nodes]), self.storage, self.scale)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by the names of their files."""
        scale = {} if self.scale is None else {"feature_scale": self.scale}
        return {"features": self.array, **scale}

    def rows(self, start: int, end: int) -> Tensor:
        """Rows `start … end` as float32."""
        return self.gather(torch.arange(start, end))

    def tensor(self) -> Tensor | None:
        """The whole table as a torch view where torch has the type; None for int8."""
        if self.storage == "int8":
            return None
        view = as_tensor(self.array)
        return view.view(torch.bfloat16) if self.storage == "bfloat16" else view

    @classmethod
    def from_rows(cls, rows: NDArray[Any] | Tensor, storage: str = "float32") -> FeatureTable:
        """A table in memory from finite floats, (num_nodes, d)."""
        array = rows.numpy(force=True) if isinstance(rows, Tensor) else np.asarray(rows)
        if array.ndim != 2:
            raise FeatureError(f"features have shape {array.shape}; give one row per node")
        scale = column_scale([array]) if storage == "int8" else None
        return cls(encode_rows(array, storage, scale), storage, scale)


def column_scale(chunks: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
    """The int8 step of every column: its largest magnitude divided by 127, (d,) float32."""
    largest: NDArray[Any] | None = None
    for chunk in chunks:
        top = np.abs(chunk).max(axis=0, initial=0)
        largest = top if largest is None else np.maximum(largest, top)
    if largest is None:
        raise FeatureError("features have no rows; there is nothing to scale")
    return np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)


def encode_rows(
    rows: NDArray[Any], storage: str, scale: NDArray[np.float32] | None, first_row: int = 0
) -> NDArray[Any]:
    """`rows` in a storage type, rounded to nearest.

    Args:
        rows: (n, d) numbers.
        storage: a key of `STORAGE_TYPES`.
        scale: the step of every column, for int8.
        first_row: number of the first row, for the error.

    Raises:
        FeatureError: a value is NaN or infinite, or too large for the storage type.
    """
    if storage not in STORAGE_TYPES:
        raise FeatureError(f"no storage type {storage!r}; choose one of {', '.join(STORAGE_TYPES)}")
    values = np.ascontiguousarray(rows, dtype=np.float32)
    _refuse_unless(np.isfinite(values), rows, first_row, "features must be finite float32 numbers")
    if storage == "float16":
        fits = np.abs(values) <= 65504
        _refuse_unless(fits, rows, first_row, "float16 ends at 65504: choose bfloat16 or float32")
        return values.astype(np.float16)
    if storage == "bfloat16":
        bits = values.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return rounded.astype(np.uint16)
    if storage == "int8":
        assert scale is not None, "int8 rows are written with their column scale"
        steps: NDArray[Any] = np.clip(np.rint(values / scale), -127, 127)
        return steps.astype(np.int8)
    return values


def _refuse_unless(good: NDArray[np.bool_], rows: Any, first_row: int, rule: str) -> None:
    if good.all():
        return
    row, column = (int(i) for i in np.argwhere(~good)[0])
    raise FeatureError(f"features[{first_row + row}, {column}] is {rows[row, column]}; {rule}")
