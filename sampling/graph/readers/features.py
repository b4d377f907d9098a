"""Feature matrices in `.npy` and SciPy's sparse `.npz`, as bounded dense chunks.

Nothing in these files is believed: no pickled objects, headers must fit the size of the file,
and a sparse matrix must be one, or it is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import FeatureError, ParseError
from sampling.graph.readers.arrays import Archive, MappedArray, open_archive, open_mapped
from sampling.graph.readers.source import FeatureSource, ReadOptions
from sampling.graph.sparse_features import SparseTable

__all__ = [
    "check_matrix",
    "check_sparse",
    "dense_source",
    "open_features",
    "open_splits",
    "sparse_source",
]

MAX_DIM = 1 << 20
SCATTERED_ROWS = 1024


def open_features(path: Path, options: ReadOptions) -> FeatureSource:
    """Features from `.npy` (dense) or `.npz` (dense under one name, or SciPy CSR).

    Raises:
        ParseError: the file cannot be read.
        FeatureError: it holds no matrix of numbers.
    """
    if path.suffix == ".npy":
        return mapped_source(path, open_mapped(path))
    archive = open_archive(path, options.limit_bytes)
    if "indptr" in archive:
        return sparse_source(path, archive, "")
    for name in ("features", "x", *archive.names):
        if name in archive:
            return dense_source(path, archive.read(name), name)
    raise FeatureError(f"{path} holds no arrays; write features with numpy.save")


def open_splits(path: Path, options: ReadOptions) -> NDArray[np.uint8]:
    """Splits (num_rows, num_splits) uint8: 0 none, 1 train, 2 val, 3 test.

    Raises:
        ParseError: the file has no such array.
    """
    if path.suffix == ".npy":
        array = np.array(open_mapped(path).array)
    else:
        archive = open_archive(path, options.limit_bytes)
        if "split" not in archive:
            raise ParseError(path, f"has no array 'split' but {', '.join(archive.names)}")
        array = archive.read("split")
    if array.ndim not in (1, 2) or array.dtype.kind not in "iu":
        raise ParseError(path, f"holds {array.dtype} of shape {array.shape}; splits are uint8 "
                         "with one row per node and one column per split")  # fmt: skip
    array = array[:, None] if array.ndim == 1 else array
    bad = (array < 0) | (array > 3)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise ParseError(path, f"split[{row}, {column}] is {array[row, column]}; 0 is none, "
                         "1 train, 2 val, 3 test")  # fmt: skip
    return array.astype(np.uint8)


def mapped_source(path: Path, mapped: MappedArray) -> FeatureSource:
    """Features in a `.npy` file, which may be larger than memory."""
    check_matrix(path, mapped.array.shape, mapped.array.dtype)

    def read(order: NDArray[np.int64] | None, rows: int) -> Iterator[NDArray[Any]]:
        for start in range(0, len(mapped.array) if order is None else len(order), rows):
            end = min(start + rows, len(mapped.array if order is None else order))
            yield _copy_rows(mapped, order, start, end)

    num_rows, dim = mapped.array.shape
    return FeatureSource(path, num_rows, dim, read)


def _copy_rows(
    mapped: MappedArray, order: NDArray[np.int64] | None, start: int, end: int
) -> NDArray[Any]:
    """Rows in memory; a scattered row makes its surroundings resident, so few at a time."""
    out = np.empty((end - start, mapped.array.shape[1]), mapped.array.dtype)
    step = end - start if order is None else SCATTERED_ROWS
    for low in range(start, end, step):
        part = slice(low, min(low + step, end))
        out[part.start - start : part.stop - start] = mapped.array[
            part if order is None else order[part]
        ]
        mapped.forget()
    return out


def dense_source(path: Path, array: NDArray[Any], name: str) -> FeatureSource:
    """Features in memory."""
    check_matrix(path, array.shape, array.dtype, name)

    def read(order: NDArray[np.int64] | None, rows: int) -> Iterator[NDArray[Any]]:
        for start in range(0, len(array) if order is None else len(order), rows):
            part = slice(start, start + rows)
            yield array[part if order is None else order[part]]

    num_rows, dim = array.shape
    return FeatureSource(path, num_rows, dim, read)


def check_matrix(
    path: Path, shape: tuple[int, ...], dtype: Any, name: str = "features", per: str = "node"
) -> None:
    """Refuse what is no matrix of numbers.

    Raises:
        FeatureError: it is none.
    """
    if len(shape) != 2 or dtype.kind not in "fiub":
        raise FeatureError(f"{path}: {name} has shape {tuple(shape)} and type {dtype}; features "
                           f"are a matrix of numbers with one row per {per}")  # fmt: skip
    _check_dim(path, shape[1])


def _check_dim(path: Path, dim: int) -> None:
    if not 0 < dim <= MAX_DIM:
        raise FeatureError(f"{path}: features have {dim} columns; use 1 … {MAX_DIM}")


def sparse_source(path: Path, archive: Archive, prefix: str) -> FeatureSource:
    """Features as SciPy's compressed sparse rows, made dense chunk by chunk, or kept."""
    shape, indptr, indices = check_sparse(path, archive, prefix)
    _check_dim(path, shape[1])
    data = archive.read(f"{prefix}data")
    if data.dtype.kind not in "fiub" or data.shape != indices.shape:
        raise FeatureError(f"{path}: {prefix}data is {data.dtype} of shape {data.shape}; it needs "
                           f"a number for each of the {len(indices)} indices")  # fmt: skip

    def read(order: NDArray[np.int64] | None, rows: int) -> Iterator[NDArray[Any]]:
        for start in range(0, shape[0] if order is None else len(order), rows):
            picked = (
                np.arange(start, min(start + rows, shape[0]))
                if order is None
                else order[start : start + rows]
            )
            yield densify(indptr, indices, data, picked, shape[1])

    def read_sparse(order: NDArray[np.int64] | None) -> SparseTable:
        return SparseTable.from_csr(indptr, indices, data, shape[1], order)

    return FeatureSource(path, *shape, read, read_sparse, len(data))


def densify(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
    rows: NDArray[np.int64],
    dim: int,
) -> NDArray[Any]:
    """Dense rows of a compressed sparse matrix; repeated entries add up."""
    starts = indptr[rows].astype(np.int64)
    counts = indptr[rows + 1] - starts
    row = np.repeat(np.arange(len(rows)), counts)
    first = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    place = first + np.arange(len(row))
    out = np.zeros((len(rows), dim), np.float64 if data.dtype == np.float64 else np.float32)
    np.add.at(out, (row, indices[place]), data[place])
    return out


def check_sparse(
    path: Path, archive: Archive, prefix: str, formats: tuple[str, ...] = ("csr",)
) -> tuple[tuple[int, int], NDArray[Any], NDArray[Any]]:
    """Shape, indptr and indices of compressed sparse rows that hold together.

    Raises:
        ParseError: names the array and what is wrong with it.
    """
    for name in ("data", "indices", "indptr", "shape"):
        if f"{prefix}{name}" not in archive:
            raise ParseError(path, f"has no array '{prefix}{name}' but {', '.join(archive.names)}")
    layout = sparse_format(path, archive) if not prefix else "csr"
    if layout not in formats:
        raise ParseError(path, f"is sparse in format {layout!r}; save it with tocsr()")
    shape = archive.read(f"{prefix}shape")
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 0).any():
        raise ParseError(path, f"{prefix}shape is {shape.tolist()}; a matrix has two lengths")
    num_rows, dim = (int(n) for n in (shape[::-1] if layout == "csc" else shape))
    indptr, indices = archive.read(f"{prefix}indptr"), archive.read(f"{prefix}indices")
    fault = _csr_fault(indptr, indices, num_rows, dim)
    if fault:
        raise ParseError(path, f"{prefix}{fault}; write it again with scipy.sparse.save_npz")
    return (num_rows, dim), indptr, indices


def sparse_format(path: Path, archive: Archive) -> str:
    """ "csr", "csc", "coo" … as `scipy.sparse.save_npz` wrote it; CSR where it says nothing."""
    if "format" not in archive:
        return "csr"
    layout = archive.read("format")
    if layout.shape != () or layout.dtype.kind not in "SU":
        raise ParseError(path, "has an array 'format' that is no word")
    value = layout.item()
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _csr_fault(indptr: NDArray[Any], indices: NDArray[Any], num_rows: int, dim: int) -> str:
    if indptr.ndim != 1 or indices.ndim != 1 or {indptr.dtype.kind, indices.dtype.kind} - set("iu"):
        return "indptr and indices are not arrays of integers"
    if len(indptr) != num_rows + 1:
        return f"indptr has {len(indptr)} entries for {num_rows} rows"
    if indptr[0] != 0 or int(indptr[-1]) != len(indices):
        return f"indptr runs from {indptr[0]} to {indptr[-1]} over {len(indices)} indices"
    if (indptr[1:] < indptr[:-1]).any():
        return f"indptr falls after row {int(np.flatnonzero(indptr[1:] < indptr[:-1])[0])}"
    if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= dim):
        bad = indices.max() if int(indices.max()) >= dim else indices.min()
        return f"indices holds {bad}, outside 0 … {dim - 1}"
    return ""
