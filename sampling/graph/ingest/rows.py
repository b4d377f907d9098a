"""Rows of features and splits, matched to nodes and written in dense order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
from numpy.typing import NDArray

from sampling.errors import FeatureError
from sampling.graph.arrays import ArrayWriter, write_array
from sampling.graph.features import STORAGE_TYPES, column_scale, encode_rows
from sampling.graph.ingest.config import Clock, IngestConfig, Reports
from sampling.graph.ingest.inputs import Inputs
from sampling.graph.labels import random_split
from sampling.graph.nodes import Nodes
from sampling.graph.readers.ahead import read_ahead
from sampling.graph.readers.source import FeatureSource

__all__ = ["splits_of", "write_features"]

FEATURE_CHUNK_BYTES = 16 << 20


def _row_order(config: IngestConfig, inputs_rows: int, nodes: Nodes) -> NDArray[np.int64] | None:
    """Row of features (or splits) that belongs to every node; None where row i is node i.

    Raises:
        FeatureError: rows and nodes cannot be matched.
    """
    n, ids = nodes.ids.num_nodes, nodes.ids
    if not ids.is_string and config.feature_rows != "nodes":
        if ids.kind == "range" and ids.first == 0 and n == inputs_rows:
            return None
        keys = ids.to_ints(np.arange(n))
        inside = bool(((keys >= 0) & (keys < inputs_rows)).all())
        if inside and (n == inputs_rows or config.feature_rows == "id"):
            return keys
        if config.feature_rows == "id":
            raise FeatureError(f"there are {inputs_rows} rows and node ids from {keys.min()} to "
                               f"{keys.max()}; row i belongs to node id i")  # fmt: skip
    declared = ids.kind == "range" and not nodes.listed
    if n != inputs_rows or not (nodes.listed or declared):
        raise FeatureError(f"there are {inputs_rows} rows for {n} nodes; give one row per node, "
                           "in the order of the nodes file or by ids 0 … rows - 1")  # fmt: skip
    if nodes.file_rows is not None and (nodes.file_rows < 0).any():
        raise FeatureError("nodes that only edges name have no row; list them in the nodes file")
    return nodes.file_rows


def write_features(
    config: IngestConfig,
    source: FeatureSource,
    nodes: Nodes,
    numbers: NDArray[np.int64] | None,
    temporary: Path,
) -> Reports:
    """Write one row per node; returns what the manifest says of the arrays.

    `numbers` holds the number in `nodes` of every node, where rows come in another order.
    """
    order = _row_order(config, source.num_rows, nodes)
    if numbers is not None:
        order = numbers if order is None else order[numbers]
    storage, n = config.feature_storage, nodes.ids.num_nodes
    dtype = cast("np.dtype[Any]", STORAGE_TYPES[storage])
    _check_space(temporary, n * source.dim * dtype.itemsize)
    rows = max(1, FEATURE_CHUNK_BYTES // (source.dim * 4))
    clock, done, arrays, scale = Clock("features"), 0, {}, None
    if storage == "int8":
        scale = column_scale(_finite(source.read(order, rows)))
        arrays["feature_scale"] = write_array(temporary / "feature_scale.npy", scale)
    writer = ArrayWriter(temporary / "features.npy", dtype, (n, source.dim))
    try:
        with closing(read_ahead(_encoded(source.read(order, rows), storage, scale))) as chunks:
            for chunk in chunks:
                writer.write(chunk)
                done += len(chunk)
                yield clock.report(done, n)
        arrays["features"] = writer.close()
    finally:
        writer.abort()
    return arrays


def _encoded(
    chunks: Iterator[NDArray[Any]], storage: str, scale: NDArray[np.float32] | None
) -> Iterator[NDArray[Any]]:
    """Chunks as they are stored."""
    done = 0
    for chunk in chunks:
        with np.errstate(over="ignore"):
            stored = encode_rows(chunk, storage, scale, done)
        done += len(chunk)
        yield stored


def _finite(chunks: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Chunks whose values are checked before a scale is taken of them."""
    done = 0
    for chunk in chunks:
        with np.errstate(over="ignore"):
            encode_rows(chunk, "float32", None, done)
        done += len(chunk)
        yield chunk


def _check_space(directory: Path, num_bytes: int) -> None:
    free = psutil.disk_usage(str(directory)).free
    if num_bytes > free:
        raise FeatureError(f"features take {num_bytes >> 20} MiB once they are dense and "
                           f"{free >> 20} MiB are free; choose int8 or fewer columns")  # fmt: skip


def splits_of(config: IngestConfig, inputs: Inputs, nodes: Nodes) -> NDArray[np.uint8] | None:
    if config.random_split is not None:
        n = nodes.ids.num_nodes
        return random_split(nodes.labels, n, config.random_split, config.split_seed)
    if inputs.splits is None:
        return nodes.splits
    order = _row_order(config, len(inputs.splits), nodes)
    return inputs.splits if order is None else inputs.splits[order]
