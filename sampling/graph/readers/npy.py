"""Edges in NumPy files: `.npy` of shape (E, 2) or (2, E), and the `.npz` layouts of the field.

An archive is a SciPy sparse adjacency (`save_npz`), a plain array `edges`, the layout of the
"Pitfalls" benchmark (Shchur et al. 2018: adj_*, attr_*, labels) or that of the heterophilous
sets (Platonov et al. 2023: edges, node_features, node_labels, masks), where one file holds
edges, features, labels and splits. Ids are 0 … n - 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import ParseError
from sampling.graph.readers.arrays import Archive, open_archive, open_mapped
from sampling.graph.readers.columns import Place, finite_weights
from sampling.graph.readers.declared import check_ids
from sampling.graph.readers.features import (
    check_sparse,
    dense_source,
    sparse_format,
    sparse_source,
)
from sampling.graph.readers.source import (
    EdgeChunk,
    EdgeSource,
    FeatureSource,
    NodeChunk,
    NodeSource,
    ReadOptions,
)

__all__ = ["open_archive_edges", "open_edges"]

MASKS = {"train_masks": 1, "val_masks": 2, "test_masks": 3}


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a `.npy` file."""
    mapped = open_mapped(path)
    pairs = _pairs(path, mapped.array, path.name)

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        for start in range(0, len(pairs), rows):
            part = np.array(pairs[start : start + rows])
            mapped.forget()
            yield EdgeChunk(part[:, 0].copy(), part[:, 1].copy(), start + 1)

    return EdgeSource(path, read, num_rows=len(pairs))


def open_archive_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges, and all that comes with them, of a `.npz` file."""
    archive = open_archive(path, options.limit_bytes)
    if "node_labels" in archive or "node_features" in archive:
        return _heterophilous(path, archive)
    if "edges" in archive:
        return _plain(path, _pairs(path, archive.read("edges"), "edges"), None)
    if "adj_indptr" in archive:
        return _pitfalls(path, archive)
    if "format" in archive and "row" in archive:
        return _coordinates(path, archive)
    if "indptr" in archive:
        return _sparse(path, archive, "")
    raise ParseError(path, f"holds {', '.join(archive.names) or 'nothing'}; edges are an array "
                     "'edges' or a matrix of scipy.sparse.save_npz")  # fmt: skip


def _pairs(path: Path, array: NDArray[Any], name: str) -> NDArray[Any]:
    """Edges as (E, 2)."""
    if array.ndim != 2 or 2 not in array.shape or array.dtype.kind not in "iu":
        raise ParseError(path, f"{name} holds {array.dtype} of shape {array.shape}; edges are "
                         "integers of shape (E, 2) or (2, E)")  # fmt: skip
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ParseError(path, f"{name} holds {array.max()}; integer ids end at 2**63 - 1")
    return array if array.shape[1] == 2 else array.T


def _plain(
    path: Path, pairs: NDArray[Any], num_nodes: int | None, *, mirrored: bool = False, **more: Any
) -> EdgeSource:
    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        for start in range(0, len(pairs), rows):
            part = pairs[start : start + rows].astype(np.int64)
            src, dst = part[:, 0].copy(), part[:, 1].copy()
            if num_nodes is not None:
                check_ids(path, src, num_nodes, start + 1, 0)
                check_ids(path, dst, num_nodes, start + 1, 0)
            yield EdgeChunk(src, dst, start + 1, mirrored=mirrored)

    declared = None if num_nodes is None else range(num_nodes)
    return EdgeSource(path, read, declared=declared, num_rows=len(pairs), **more)


def _sparse(path: Path, archive: Archive, prefix: str, **more: Any) -> EdgeSource:
    """Compressed rows (or columns): entry (i, j) is an edge i → j, unless all are 1 a weight."""
    by_column = not prefix and sparse_format(path, archive) == "csc"
    shape, indptr, indices = check_sparse(path, archive, prefix, ("csr", "csc"))
    _check_square(path, shape)
    weights = _weights(path, archive, f"{prefix}data", len(indices))

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        for start in range(0, len(indices), rows):
            places = np.arange(start, min(start + rows, len(indices)))
            row = np.searchsorted(indptr, places, "right") - 1
            other = indices[start : start + rows].astype(np.int64)
            src, dst = (other, row) if by_column else (row, other)
            weight = None if weights is None else weights[start : start + rows]
            yield EdgeChunk(src, dst, start + 1, weight=weight)

    return EdgeSource(path, read, declared=range(shape[0]), num_rows=len(indices), **more)


def _coordinates(path: Path, archive: Archive) -> EdgeSource:
    """SciPy's coordinate format."""
    if missing := [name for name in ("row", "col", "data", "shape") if name not in archive]:
        raise ParseError(path, f"has no array {missing[0]!r} but {', '.join(archive.names)}")
    shape = archive.read("shape")
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 0).any():
        raise ParseError(path, f"shape is {shape.tolist()}; a matrix has two lengths")
    _check_square(path, (int(shape[0]), int(shape[1])))
    row, col = archive.read("row"), archive.read("col")
    if row.ndim != 1 or row.shape != col.shape or {row.dtype.kind, col.dtype.kind} - set("iu"):
        raise ParseError(path, f"row and col are {row.dtype} {row.shape} and {col.dtype} "
                         f"{col.shape}; they are integers of one length")  # fmt: skip
    weights = _weights(path, archive, "data", len(row))

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        for start in range(0, len(row), rows):
            src, dst = (a[start : start + rows].astype(np.int64) for a in (row, col))
            yield EdgeChunk(
                check_ids(path, src, int(shape[0]), start + 1, 0),
                check_ids(path, dst, int(shape[0]), start + 1, 0),
                start + 1,
                weight=None if weights is None else weights[start : start + rows],
            )

    return EdgeSource(path, read, declared=range(int(shape[0])), num_rows=len(row))


def _check_square(path: Path, shape: tuple[int, int]) -> None:
    if shape[0] != shape[1]:
        raise ParseError(path, f"is a {shape[0]} by {shape[1]} matrix; an adjacency matrix is "
                         "square. A matrix of features is given with --features")  # fmt: skip


def _weights(path: Path, archive: Archive, name: str, count: int) -> NDArray[np.float32] | None:
    data = archive.read(name)
    if data.shape != (count,) or data.dtype.kind not in "fiub":
        raise ParseError(path, f"{name} holds {data.dtype} of shape {data.shape}; it needs a "
                         f"number for each of the {count} edges")  # fmt: skip
    if data.dtype.kind == "b" or (data == 1).all():
        return None
    with np.errstate(over="ignore"):
        return finite_weights(data.astype(np.float32), Place(path, name, 1))


# --- one file with everything -------------------------------------------------------------------


def _pitfalls(path: Path, archive: Archive) -> EdgeSource:
    features: FeatureSource | None = None
    if "attr_indptr" in archive:
        features = sparse_source(path, archive, "attr_")
    elif "attr_matrix" in archive:
        features = dense_source(path, archive.read("attr_matrix"), "attr_matrix")
    nodes = _labeled(path, archive, "labels") if "labels" in archive else None
    return _sparse(path, archive, "adj_", features=features, nodes=nodes)


def _heterophilous(path: Path, archive: Archive) -> EdgeSource:
    for name in ("node_features", "node_labels", "edges"):
        if name not in archive:
            raise ParseError(path, f"has no array {name!r} but {', '.join(archive.names)}")
    nodes = _labeled(path, archive, "node_labels")
    features = dense_source(path, archive.read("node_features"), "node_features")
    pairs = _pairs(path, archive.read("edges"), "edges")
    return _plain(
        path,
        pairs,
        features.num_rows,
        mirrored=True,
        features=features,
        nodes=nodes,
        splits=_masks(path, archive, features.num_rows),
    )


def _labeled(path: Path, archive: Archive, name: str) -> NodeSource:
    labels = archive.read(name)
    if labels.ndim != 1 or labels.dtype.kind not in "iufb":
        raise ParseError(path, f"{name} holds {labels.dtype} of shape {labels.shape}; labels are "
                         "one number per node")  # fmt: skip

    def read(kind: str, rows: int) -> Iterator[NodeChunk]:
        for start in range(0, len(labels), rows):
            part = labels[start : start + rows]
            yield NodeChunk(np.arange(start, start + len(part)), start + 1, label=pa.array(part))

    return NodeSource(path, read)


def _masks(path: Path, archive: Archive, num_nodes: int) -> NDArray[np.uint8] | None:
    present = [name for name in MASKS if name in archive]
    if not present:
        return None
    splits: NDArray[np.uint8] | None = None
    for name in present:
        mask = archive.read(name)
        mask = mask[:, None] if mask.ndim == 1 else mask
        if mask.ndim != 2 or mask.dtype.kind != "b" or num_nodes not in mask.shape:
            raise ParseError(path, f"{name} holds {mask.dtype} of shape {mask.shape}; masks are "
                             f"true or false, one row or column for each of {num_nodes} "
                             "nodes")  # fmt: skip
        mask = mask if mask.shape[0] == num_nodes else mask.T
        splits = np.zeros(mask.shape, np.uint8) if splits is None else splits
        if mask.shape != splits.shape or (splits[mask] != 0).any():
            raise ParseError(path, f"{name} overlaps another mask or differs from it in shape")
        splits[mask] = MASKS[name]
    return splits
