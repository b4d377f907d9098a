"""The whole ingest of graphs.

files ─▶ RawGraphs ─▶ features, edges both ways, splits ─▶ GraphCollection ─▶ directory
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import InputError
from sampling.graph.arrays import check_replaceable
from sampling.graph.collection import GraphCollection
from sampling.graph.csc import Graph
from sampling.graph.ingest_graphs.config import GraphsReport, IngestGraphsConfig, check_config
from sampling.graph.ingest_graphs.jsonl import read_jsonl
from sampling.graph.ingest_graphs.raw import (
    Columns,
    RawGraphs,
    Reading,
    check_fits,
    joined,
    label_columns,
)
from sampling.graph.ingest_graphs.smiles import read_smiles
from sampling.graph.ingest_graphs.splits import splits_of
from sampling.graph.ingest_graphs.tables import read_tables
from sampling.graph.ingest_graphs.tu import read_tu
from sampling.graph.manifest import COLLECTION_MANIFEST
from sampling.graph.nodes import number_ids
from sampling.graph.store import Dataset

__all__ = ["ingest_graphs"]

READERS: dict[str, Callable[[IngestGraphsConfig], Reading]] = {
    "jsonl": read_jsonl,
    "smiles": read_smiles,
    "tables": read_tables,
    "tu": read_tu,
}


def ingest_graphs(config: IngestGraphsConfig) -> Iterator[GraphsReport]:
    """Write a collection directory; yields reports, the last one with the manifest.

    Raises:
        InputError: a file or an option is wrong; nothing is left behind.
        ExistsError: `out` exists and is not to be replaced.
    """
    check_config(config)
    check_replaceable(config.out, config.overwrite, COLLECTION_MANIFEST)
    began = time.perf_counter()

    def report(stage: str, graphs: int, **more: Any) -> GraphsReport:
        return GraphsReport(stage, graphs, seconds=time.perf_counter() - began, **more)

    reading = READERS[config.format](config)
    while True:
        try:
            yield report("read", next(reading))
        except StopIteration as done:
            raw: RawGraphs = done.value
            break
    if not raw.num_graphs:
        raise InputError(f"{_first_input(config)} holds no graphs; there is nothing to ingest")
    yield report("build", 0, total_graphs=raw.num_graphs)
    collection = build_collection(config, raw)
    meta = collection.write(config.out, overwrite=config.overwrite)
    size = sum(path.stat().st_size for path in config.out.rglob("*") if path.is_file())
    yield report("done", raw.num_graphs, total_graphs=raw.num_graphs, meta=meta, bytes=size,
                 skipped=raw.skipped, notes=tuple(_notes(raw, collection)))  # fmt: skip


def build_collection(config: IngestGraphsConfig, raw: RawGraphs) -> GraphCollection:
    """The collection that the options ask for."""
    edge_columns = joined(raw.edge_features, label_columns(raw.edge_labels, config.node_labels))
    graph = _graph(raw, edge_columns, config.undirected)
    columns = joined(raw.node_features, label_columns(raw.node_labels, config.node_labels))
    if config.degree_features is not None:
        columns = joined(columns, _degrees(graph, config.degree_features, columns))
    if config.constant_feature:
        columns = joined(columns, _constant(graph, columns))
    nodes = Dataset.in_memory(
        graph, features=None if columns is None else columns.rows, positions=raw.positions
    )
    targets, ids = raw.targets, raw.ids
    return GraphCollection.in_memory(
        nodes,
        raw.offsets,
        labels=None if targets is None else targets.values,
        classes=None if targets is None else targets.info.classes,
        target_names=() if targets is None else targets.names,
        splits=splits_of(config, raw),
        ids=None if ids is None else number_ids(ids),
        node_feature_names=None if columns is None else columns.names,
        node_cardinalities=None if columns is None else columns.cardinalities,
        edge_feature_names=None if edge_columns is None else edge_columns.names,
        edge_cardinalities=None if edge_columns is None else edge_columns.cardinalities,
        provenance=_provenance(config, raw),
        name=config.name or config.out.name,
    )


def _graph(raw: RawGraphs, columns: Columns | None, undirected: bool) -> Graph:
    src, dst = raw.src, raw.dst
    rows = None if columns is None else columns.rows
    num_nodes = int(raw.sizes.sum())
    if undirected:
        back = src != dst
        src, dst = np.concatenate([src, dst[back]]), np.concatenate([dst, src[back]])
        rows = None if rows is None else np.concatenate([rows, rows[back]])
    if rows is None:
        graph = Graph.from_edges(src, dst, num_nodes=num_nodes)
        return _once(graph) if undirected else graph
    # Parallel edges are in the order of their features, so that the input's order decides nothing.
    order = np.lexsort((*rows.T[::-1], src, dst))
    src, dst, rows = src[order], dst[order], rows[order]
    if undirected and len(src):
        new = (np.diff(src) != 0) | (np.diff(dst) != 0) | (np.diff(rows, axis=0) != 0).any(axis=1)
        kept = np.concatenate([[True], new])
        src, dst, rows = src[kept], dst[kept], rows[kept]
    return Graph.from_edges(src, dst, num_nodes=num_nodes, edge_features=rows)


def _once(graph: Graph) -> Graph:
    """The graph with equal edges as one."""
    if not graph.num_edges:
        return graph
    again = np.zeros(graph.num_edges, bool)
    again[1:] = graph.indices[1:] == graph.indices[:-1]
    starts = graph.indptr[:-1]
    again[starts[starts < graph.num_edges]] = False
    if not again.any():
        return graph
    kept = np.concatenate([[0], np.cumsum(~again)])
    return Graph(kept[graph.indptr], graph.indices[~again])


def _degrees(graph: Graph, top: int, columns: Columns | None) -> Columns:
    """min(in-degree, top): one-hot, or a code beside other codes."""
    codes = np.minimum(graph.in_degrees(), top)
    if columns is not None and columns.cardinalities is not None:
        return Columns(codes[:, None].astype(np.float32), ("degree",), (top + 1,))
    check_fits(len(codes) * (top + 1), 4, "one-hot degrees")
    rows = np.zeros((len(codes), top + 1), np.float32)
    rows[np.arange(len(codes)), codes] = 1
    return Columns(rows, tuple(f"degree={d}" for d in range(top + 1)))


def _constant(graph: Graph, columns: Columns | None) -> Columns:
    if columns is not None and columns.cardinalities is not None:
        return Columns(np.zeros((graph.num_nodes, 1), np.float32), ("constant",), (1,))
    return Columns(np.ones((graph.num_nodes, 1), np.float32), ("constant",))


def _provenance(config: IngestGraphsConfig, raw: RawGraphs) -> dict[str, Any]:
    files = [*config.files, config.graphs, config.edges, config.nodes]
    return {
        "format": config.format,
        "files": [path.name for path in files if path is not None],
        "undirected": config.undirected,
        "skipped": raw.skipped,
        "seed": config.seed,
    }


def _notes(raw: RawGraphs, collection: GraphCollection) -> Iterator[str]:
    if raw.skipped:
        yield f"{raw.skipped} molecules could not be read and were left out"
    if collection.nodes.features is None:
        yield ("nodes have no features; --degree-features or --constant-feature gives them some")
    if collection.labels is None:
        yield "graphs have no labels; --label names their column"
    empty: NDArray[np.bool_] = raw.sizes == 0
    if empty.any():
        yield f"{int(empty.sum())} graphs have no nodes"


def _first_input(config: IngestGraphsConfig) -> Any:
    return config.graphs or next(iter(config.files), "the input")
