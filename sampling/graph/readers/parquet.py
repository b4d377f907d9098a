"""Parquet files, read page by page so that a huge row group costs no more than a small one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sampling.graph.readers.source import EdgeSource, NodeSource, ReadOptions
from sampling.graph.readers.table import (
    EDGE_ROLES,
    NODE_ROLES,
    Batches,
    edges_of_table,
    nodes_of_table,
    pick,
)
from sampling.graph.readers.text import reading

__all__ = ["open_edges", "open_nodes"]

PAGE_BUFFER_BYTES = 1 << 20


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a Parquet file."""
    schema, rows = _schema(path)
    picked = pick(path, schema.names, EDGE_ROLES, options)
    batches = _batches(path, picked)
    return edges_of_table(path, schema, picked, batches, text=False, num_rows=rows)


def open_nodes(path: Path, options: ReadOptions) -> NodeSource:
    """Nodes of a Parquet file."""
    schema, _ = _schema(path)
    picked = pick(path, schema.names, NODE_ROLES, options)
    batches = _batches(path, picked)
    return nodes_of_table(path, schema, picked, batches, text=False)


def _schema(path: Path) -> tuple[pa.Schema, int]:
    with reading(path), pq.ParquetFile(path) as file:
        return file.schema_arrow, int(file.metadata.num_rows)


def _batches(path: Path, picked: dict[str, str]) -> Batches:
    columns = list(dict.fromkeys(picked.values()))

    def batches(_: str, rows: int) -> Iterator[pa.RecordBatch]:
        with (
            reading(path),
            pq.ParquetFile(path, buffer_size=PAGE_BUFFER_BYTES, pre_buffer=False) as file,
        ):
            yield from file.iter_batches(rows, columns=columns, use_threads=True)

    return batches
