"""Embeddings as Parquet parts for other programs: node ids, then rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from sampling import FeatureTable, NodeIds
from sampling.graph.arrays import CHUNK_BYTES

__all__ = ["write_parquet_parts"]

PART_ROWS = 1 << 20
GROUP_ROWS = 1 << 16


def write_parquet_parts(
    directory: Path, ids: NodeIds, columns: dict[str, FeatureTable]
) -> dict[str, str]:
    """Write `part-00000.parquet` … with a column `id` first; returns checksums by file name.

    Args:
        directory: where.
        ids: node ids.
        columns: rows of all nodes by column name, written as lists of fixed size: of float16
            where they are stored so, else of float32.
    """
    import pyarrow.parquet as pq

    parts: dict[str, str] = {}
    for number, start in enumerate(range(0, max(ids.num_nodes, 1), PART_ROWS)):
        path = directory / f"part-{number:05d}.parquet"
        end = min(start + PART_ROWS, ids.num_nodes)
        with pq.ParquetWriter(path, _table(ids, columns, 0, 0).schema) as writer:
            for first in range(start, end, GROUP_ROWS):
                writer.write_table(_table(ids, columns, first, min(first + GROUP_ROWS, end)))
        parts[path.name] = _checksum(path)
    return parts


def _table(ids: NodeIds, columns: dict[str, FeatureTable], start: int, end: int) -> Any:
    import pyarrow as pa

    nodes = np.arange(start, end)
    keys = (
        pa.array(ids.to_ids(nodes), pa.string()) if ids.is_string else pa.array(ids.to_ints(nodes))
    )
    rows = {name: _lists(_floats(table, start, end)) for name, table in columns.items()}
    return pa.table({"id": keys, **rows})


def _floats(table: FeatureTable, start: int, end: int) -> NDArray[Any]:
    if table.storage == "float16":
        return table.array[start:end]
    rows: NDArray[Any] = table.rows(start, end).numpy()
    return rows


def _lists(rows: NDArray[Any]) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _checksum(path: Path) -> str:
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return str(digest.hexdigest())
