"""Rows in their storage types: float32, float16, bfloat16, or int8 with a step per column.

The steps of computed rows are not known before the rows are. They are taken from a sample of runs
of rows, spread evenly: the largest magnitude of every column there, and a quarter more, is 127
steps. What lies beyond is clipped, and counts in the error that is measured while rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling import FeatureTable, kernels
from sampling.errors import InputError
from sampling.graph.features import STORAGE_TYPES

__all__ = [
    "Fill",
    "Outcome",
    "check_fits",
    "empty_rows",
    "encode",
    "part",
    "sample_runs",
    "sampled_scale",
]

SAMPLED_RUNS, RUN_ROWS = 256, 64
HEADROOM = 1.25

Outcome = tuple[int, float]
"""A row that does not fit its storage type, -1 if there is none, and the largest error."""

Fill = Callable[[int, FeatureTable], Outcome]
"""Fills a tile with the rows of nodes from this one on."""


def dtype_of(storage: str) -> np.dtype[Any]:
    """The NumPy type that holds rows of a storage type; bfloat16 is kept as its bits."""
    return cast("np.dtype[Any]", STORAGE_TYPES[storage])


def empty_rows(
    num_rows: int, width: int, storage: str, scale: NDArray[np.float32] | None = None
) -> FeatureTable:
    """Room for rows, uninitialized."""
    return FeatureTable(np.empty((num_rows, width), dtype_of(storage)), storage, scale)


def part(rows: FeatureTable, start: int, end: int) -> FeatureTable:
    """The rows `start … end` as a table that shares their memory."""
    return FeatureTable(rows.array[start:end], rows.storage, rows.scale)


def encode(rows: Tensor, start: int, out: FeatureTable) -> Outcome:
    """Round float rows of nodes from `start` on into `out`."""
    values: NDArray[Any] = rows.float().contiguous().numpy()
    return kernels.dense_rows(
        start, values, None, None, None, None, None, False, out.array, out.scale,
        torch.get_num_threads(),
    )  # fmt: skip


def sample_runs(num_rows: int) -> list[tuple[int, int]]:
    """Runs of rows that stand for all, evenly spread."""
    starts = np.linspace(0, max(num_rows - RUN_ROWS, 0), SAMPLED_RUNS).astype(np.int64)
    return [(start, min(start + RUN_ROWS, num_rows)) for start in np.unique(starts).tolist()]


def sampled_scale(fill: Fill, num_rows: int, width: int) -> NDArray[np.float32]:
    """The int8 step of every column of computed rows, (width,) float32, from a sample of them."""
    largest = np.zeros(width, np.float32)
    for start, end in sample_runs(num_rows):
        run = empty_rows(end - start, width, "float32")
        check_fits("a row", "int8", fill(start, run))
        np.maximum(largest, np.abs(run.array).max(axis=0, initial=0), out=largest)
    return np.where(largest > 0, largest * (HEADROOM / 127), 1.0).astype(np.float32)


def check_fits(name: str, storage: str, outcome: Outcome) -> float:
    """The largest error of rows that fit their storage type.

    Raises:
        InputError: a value is not finite, or too large for the type.
    """
    row, error = outcome
    if row < 0:
        return error
    remedy = (
        "embed with storage float32 or bfloat16"
        if storage == "float16"
        else "look for extreme feature values"
    )
    raise InputError(f"{name} of dense node {row} do not fit {storage}; {remedy}")
