"""Rows of features and splits, matched to nodes and written in dense order.

Node types may have features of different widths, or none: their rows lie in one table, each
in its first columns and zeros behind them, so that one pass gathers a mixture of types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sampling.errors import FeatureError
from sampling.graph.arrays import ArrayWriter, write_array
from sampling.graph.csc import NodeType
from sampling.graph.features import STORAGE_TYPES, column_scale, encode_rows
from sampling.graph.ingest.config import Clock, IngestConfig, Reports
from sampling.graph.ingest.inputs import Inputs
from sampling.graph.labels import random_split
from sampling.graph.nodes import Nodes, strings_of
from sampling.graph.readers.ahead import read_ahead
from sampling.graph.readers.columns import Place, finite_rows
from sampling.graph.readers.source import FeatureSource

__all__ = ["feature_rows", "splits_of", "stays_sparse", "write_features", "write_positions"]

FEATURE_CHUNK_BYTES = 16 << 20
SPARSE_FROM_BYTES = 1 << 30
SPARSE_VALUE_BYTES, MOSTLY_ZEROS = 8, 8
COUNTED = r"^(0|[1-9][0-9]{0,17})$"


def _row_order(
    config: IngestConfig, inputs_rows: int, nodes: Nodes, name: str
) -> NDArray[np.int64] | None:
    """Row of features (or splits) that belongs to every node; None where row i is node i.

    Args:
        config: how rows and nodes are matched.
        inputs_rows: how many there are.
        nodes: whose they are.
        name: of the file.

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
            raise FeatureError(f"{name} has {inputs_rows} rows, and node ids are {keys.min()} … "
                               f"{keys.max()}; row i belongs to node id i")  # fmt: skip
    declared = ids.kind == "range" and not nodes.listed
    if n != inputs_rows or not (nodes.listed or declared):
        raise FeatureError(f"{name} has {inputs_rows} rows for {n} nodes; give one row per node, "
                           "in the order of the nodes file or by ids 0 … rows - 1")  # fmt: skip
    if nodes.file_rows is not None and (nodes.file_rows < 0).any():
        raise FeatureError("nodes that only edges name have no row; list them in the nodes file")
    return nodes.file_rows


def feature_rows(
    config: IngestConfig, inputs: Inputs, nodes: Nodes, numbers: NDArray[np.int64] | None
) -> FeatureSource | None:
    """One row per node, in dense order; None without features.

    `numbers` holds the number in `nodes` of every node, where rows come in another order.

    Raises:
        FeatureError: rows and nodes cannot be matched.
    """
    if inputs.typed_features:
        return _typed_rows(config, inputs.typed_features, nodes, numbers)
    return None if inputs.features is None else _matched(config, inputs.features, nodes, numbers)


def _matched(
    config: IngestConfig,
    source: FeatureSource,
    nodes: Nodes,
    numbers: NDArray[np.int64] | None,
) -> FeatureSource:
    """A source with one row per node, in dense order."""
    order = _reordered(_row_order(config, source.num_rows, nodes, source.path.name), numbers)
    read, read_sparse = source.read, source.read_sparse
    return replace(
        source,
        num_rows=nodes.ids.num_nodes,
        read=lambda _, rows: read(order, rows),
        read_sparse=None if read_sparse is None else lambda _: read_sparse(order),
    )


def stays_sparse(config: IngestConfig, source: FeatureSource) -> bool:
    """Whether rows are stored sparse.

    Raises:
        FeatureError: they are to be, and the file is not sparse.
    """
    if config.sparse_features == "yes" and source.read_sparse is None:
        raise FeatureError(
            f"{source.path.name} is not sparse, or its rows are those of a node type; write it "
            "with scipy.sparse.save_npz, or leave out --sparse-features"
        )
    if config.sparse_features != "auto":
        return config.sparse_features == "yes"
    dense, kept = 4 * source.num_rows * source.dim, SPARSE_VALUE_BYTES * source.num_values
    is_wide = dense > SPARSE_FROM_BYTES and kept * MOSTLY_ZEROS < dense
    return source.read_sparse is not None and config.feature_storage == "float32" and is_wide


def _reordered(
    order: NDArray[np.int64] | None, numbers: NDArray[np.int64] | None
) -> NDArray[np.int64] | None:
    if numbers is None:
        return order
    return numbers if order is None else order[numbers]


def _typed_rows(
    config: IngestConfig,
    sources: Mapping[str, FeatureSource],
    nodes: Nodes,
    numbers: NDArray[np.int64] | None,
) -> FeatureSource:
    """Rows of all types, each with zeros behind its own columns."""
    known = [kind.name for kind in nodes.node_types]
    for name in sources:
        if name not in known:
            raise FeatureError(
                f"features are given for node type {name!r}, and there is "
                f"{', '.join(known)}; name types with --nodes TYPE=FILE"
            )
    if config.feature_storage == "int8" and len(sources) > 1:
        raise FeatureError("int8 has one scale for each column, and a column is something else in "
                           "every node type; choose float16 or bfloat16")  # fmt: skip
    dim = max(source.dim for source in sources.values())
    orders = {
        kind.name: _reordered(
            _row_order_of(config, sources[kind.name], nodes, kind),
            None if numbers is None else numbers[kind.start : kind.end] - kind.start,
        )
        for kind in nodes.node_types
        if kind.name in sources
    }

    def read(_: NDArray[np.int64] | None, rows: int) -> Iterator[NDArray[Any]]:
        for kind in nodes.node_types:
            if kind.name in sources:
                for chunk in sources[kind.name].read(orders[kind.name], rows):
                    yield np.pad(chunk, ((0, 0), (0, dim - chunk.shape[1])))
            else:
                for start in range(kind.start, kind.end, rows):
                    yield np.zeros((min(rows, kind.end - start), dim), np.float32)

    first = next(iter(sources.values()))
    return FeatureSource(first.path, nodes.ids.num_nodes, dim, read)


def _row_order_of(
    config: IngestConfig, source: FeatureSource, nodes: Nodes, kind: NodeType
) -> NDArray[np.int64] | None:
    """Row of the type's features that belongs to every node of it; None where row i is its i-th.

    Raises:
        FeatureError: rows and nodes cannot be matched.
    """
    count, rows = kind.end - kind.start, source.num_rows
    keys = None if config.feature_rows == "nodes" else _counted_ids(config, nodes, kind)
    inside = keys is not None and len(keys) > 0 and keys.min() >= 0 and keys.max() < rows
    if inside and (count == rows or config.feature_rows == "id"):
        return keys
    if config.feature_rows == "id" or count != rows:
        raise FeatureError(f"{source.path.name} has {rows} rows for {count} nodes of type "
                           f"{kind.name!r}; give one row per node, in the order of its list or by "
                           "ids 0 … rows - 1")  # fmt: skip
    return None


def _counted_ids(config: IngestConfig, nodes: Nodes, kind: NodeType) -> NDArray[np.int64] | None:
    """Ids of a type as integers, without their prefix; None where they are text."""
    if not nodes.ids.is_string:
        return nodes.ids.to_ints(np.arange(kind.start, kind.end))
    if not config.id_prefix:
        return None
    texts = strings_of(nodes.ids).slice(kind.start, kind.end - kind.start)
    counts = pc.utf8_slice_codeunits(texts, len(kind.name) + 1)
    if not pc.all(pc.match_substring_regex(counts, COUNTED)).as_py():
        return None
    keys: NDArray[np.int64] = counts.cast(pa.int64()).to_numpy()
    return keys


def write_features(config: IngestConfig, source: FeatureSource, temporary: Path) -> Reports:
    """Write rows in the order of the source; returns what the manifest says of the arrays."""
    if stays_sparse(config, source):
        return (yield from _write_sparse(source, temporary))
    storage, n = config.feature_storage, source.num_rows
    dtype = cast("np.dtype[Any]", STORAGE_TYPES[storage])
    _check_space(temporary, n * source.dim * dtype.itemsize)
    rows = max(1, FEATURE_CHUNK_BYTES // (source.dim * 4))
    clock, done, arrays, scale = Clock("features"), 0, {}, None
    if storage == "int8":
        scale = column_scale(_finite(source, rows))
        arrays["feature_scale"] = write_array(temporary / "feature_scale.npy", scale)
    writer = ArrayWriter(temporary / "features.npy", dtype, (n, source.dim))
    try:
        with closing(read_ahead(_encoded(source, rows, storage, scale))) as chunks:
            for chunk in chunks:
                writer.write(chunk)
                done += len(chunk)
                yield clock.report(done, n)
        arrays["features"] = writer.close()
    finally:
        writer.abort()
    return arrays


def write_positions(
    config: IngestConfig,
    inputs: Inputs,
    nodes: Nodes,
    numbers: NDArray[np.int64] | None,
    temporary: Path,
) -> Reports:
    """Write the places of nodes, of their list or of a file of their own; returns the array.

    Raises:
        FeatureError: rows and nodes cannot be matched.
        ParseError: a value is not finite.
    """
    path = temporary / "positions.npy"
    if inputs.positions is None:
        places = nodes.positions
        if places is None:
            return {}
        return {"positions": write_array(path, places if numbers is None else places[numbers])}
    source = _matched(config, inputs.positions, nodes, numbers)
    clock, done, rows = Clock("positions"), 0, FEATURE_CHUNK_BYTES // 12
    _check_positions(inputs.positions, rows)
    shape = (source.num_rows, 3)
    with ArrayWriter(path, np.dtype(np.float32), shape) as writer:
        for chunk in source.read(None, rows):
            writer.write(finite_rows(chunk, Place(source.path, "", done + 1)))
            done += len(chunk)
            yield clock.report(done, source.num_rows)
        return {"positions": writer.close()}


def _check_positions(source: FeatureSource, rows: int) -> None:
    """Look at all values in the order of the file, so that a bad one is named by its row there."""
    done = 0
    for chunk in source.read(None, rows):
        finite_rows(chunk, Place(source.path, "", done + 1))
        done += len(chunk)


def _write_sparse(source: FeatureSource, temporary: Path) -> Reports:
    assert source.read_sparse is not None, "stays_sparse looked"
    clock, table = Clock("features"), source.read_sparse(None)
    arrays = {n: write_array(temporary / f"{n}.npy", a) for n, a in table.arrays().items()}
    yield clock.report(table.num_rows, table.num_rows)
    return arrays


def _encoded(
    source: FeatureSource, rows: int, storage: str, scale: NDArray[np.float32] | None
) -> Iterator[NDArray[Any]]:
    """Chunks of so many rows as they are stored."""
    done = 0
    for chunk in source.read(None, rows):
        with np.errstate(over="ignore"), _naming(source):
            stored = encode_rows(chunk, storage, scale, done)
        done += len(chunk)
        yield stored


def _finite(source: FeatureSource, rows: int) -> Iterator[NDArray[Any]]:
    """Chunks whose values are checked before a scale is taken of them."""
    done = 0
    for chunk in source.read(None, rows):
        with np.errstate(over="ignore"), _naming(source):
            encode_rows(chunk, "float32", None, done)
        done += len(chunk)
        yield chunk


@contextmanager
def _naming(source: FeatureSource) -> Iterator[None]:
    """A value that is refused inside is one of this file."""
    try:
        yield
    except FeatureError as error:
        raise FeatureError(f"{source.path.name}: {error}") from None


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
    order = _row_order(config, len(inputs.splits), nodes, "the file of splits")
    return inputs.splits if order is None else inputs.splits[order]
