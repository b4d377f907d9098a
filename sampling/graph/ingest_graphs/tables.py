"""Tables of graphs, edges and nodes: `graph[,label][,num_nodes][,fold][,split]`,
`graph,src,dst[,…]` and `graph,node[,label][,…]`, nodes numbered from 0 within each graph."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import ParseError
from sampling.graph.ids import NodeIds
from sampling.graph.ingest_graphs.config import IngestGraphsConfig
from sampling.graph.ingest_graphs.raw import Columns, RawGraphs, Reading, check_fits
from sampling.graph.ingest_graphs.tabular import FIRST_ROW, Table, feature_columns, targets_of

__all__ = ["graph_columns", "read_tables"]

KNOWN = ("graph", "id", "num_nodes", "fold", "split", "smiles")
MAX_SIZE = 1 << 31


def read_tables(config: IngestGraphsConfig) -> Reading:
    """Graphs from two or three tables.

    Raises:
        ParseError: names file and row of what is wrong.
    """
    assert config.graphs is not None, "checked with the options"
    assert config.edges is not None, "checked with the options"
    split = config.columns.get("split", "split")
    graphs = Table(config.graphs, text=[split])
    raw, known = graph_columns(graphs, config)
    yield len(graphs)
    edges = Table(config.edges)
    nodes = None if config.nodes is None else Table(config.nodes)
    owners = edges.find("graph", known)
    ends = edges.integers("src"), edges.integers("dst")
    places = None if nodes is None else (nodes.find("graph", known), nodes.integers("node"))
    raw.sizes = _sizes(graphs, owners, ends, places)
    check_fits(int(raw.sizes.sum()), 64, "nodes")
    starts = raw.offsets[:-1]
    for name, column in zip(("src", "dst"), ends, strict=True):
        _check_inside(edges, name, column, owners, raw.sizes)
    raw.src, raw.dst = (starts[owners] + column for column in ends)
    raw.edge_features, raw.edge_labels = _features(edges, ("graph", "src", "dst"), config)
    if nodes is not None and places is not None:
        _place_nodes(raw, nodes, places, config)
    yield len(graphs)
    return raw


def graph_columns(graphs: Table, config: IngestGraphsConfig) -> tuple[RawGraphs, NodeIds]:
    """What the table of graphs says, without nodes and edges; and the ids."""
    role = config.columns
    candidates = [name for name in ("graph", "id") if name in graphs.names]
    id_column = role.get("id", candidates[0] if candidates else None)
    ids = NodeIds.range(len(graphs))
    empty = np.empty(0, np.int64)
    raw = RawGraphs(np.zeros(len(graphs), np.int64), empty, empty)
    if id_column is not None:
        graphs.column(id_column, "--id")
        ids, raw.ids = graphs.numbered_ids(id_column), graphs.ids(id_column)
    used = {*KNOWN, id_column, *role.values()}
    raw.targets = targets_of(graphs, config, [n for n in graphs.names if n not in used])
    if "split" in role or "split" in graphs.names:
        raw.splits = graphs.splits(role.get("split", "split"))
    if "fold" in role or "fold" in graphs.names:
        name = role.get("fold", "fold")
        graphs.column(name, "--fold")
        raw.folds = graphs.integers(name)
        _check_folds(graphs, name, raw.folds)
    return raw, ids


def _check_folds(table: Table, name: str, folds: NDArray[np.int64]) -> None:
    bad = (folds < 0) | (folds > 1000)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ParseError(table.path, f"column {name!r} holds {folds[row]}; folds count from 1 to "
                         "1000, 0 is in none", FIRST_ROW + row)  # fmt: skip


def _sizes(
    graphs: Table,
    owners: NDArray[np.int64],
    ends: tuple[NDArray[np.int64], NDArray[np.int64]],
    places: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
) -> NDArray[np.int64]:
    """Nodes of every graph: as told, as listed, or as many as edges need."""
    if "num_nodes" in graphs.names:
        sizes = graphs.integers("num_nodes")
        bad = (sizes < 0) | (sizes > MAX_SIZE)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ParseError(graphs.path, f"column 'num_nodes' holds {sizes[row]}", FIRST_ROW + row)
        return sizes
    if places is not None:
        return np.bincount(places[0], minlength=len(graphs)).astype(np.int64)
    sizes = np.zeros(len(graphs), np.int64)
    for column in ends:
        np.maximum.at(sizes, owners, np.clip(column + 1, 0, MAX_SIZE))
    return sizes


def _check_inside(
    table: Table,
    name: str,
    column: NDArray[np.int64],
    owners: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    bad = (column < 0) | (column >= sizes[owners])
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ParseError(table.path, f"column {name!r} names node {column[row]} of a graph whose "
                         f"nodes are 0 … {sizes[owners[row]] - 1}", FIRST_ROW + row)  # fmt: skip


def _place_nodes(
    raw: RawGraphs,
    nodes: Table,
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    config: IngestGraphsConfig,
) -> None:
    """Put the rows of nodes where their nodes are."""
    owners, column = places
    _check_inside(nodes, "node", column, owners, raw.sizes)
    position = raw.offsets[owners] + column
    total = int(raw.sizes.sum())
    seen = np.bincount(position, minlength=total)
    if (seen > 1).any():
        row = int(np.flatnonzero(seen[position] > 1)[-1])
        raise ParseError(nodes.path, f"lists node {column[row]} of this graph twice",
                         FIRST_ROW + row)  # fmt: skip
    if (seen == 0).any():
        node = int(np.flatnonzero(seen == 0)[0])
        graph = int(np.searchsorted(raw.offsets, node, side="right")) - 1
        raise ParseError(nodes.path, f"does not list node {node - raw.offsets[graph]} of the graph "
                         f"in row {graph + FIRST_ROW} of the table of graphs; list all nodes or "
                         "give no table of nodes")  # fmt: skip
    order = np.argsort(position)
    features, labels = _features(nodes, ("graph", "node"), config)
    raw.node_labels = None if labels is None else labels[order]
    if features is not None:
        raw.node_features = Columns(features.rows[order], features.names, features.cardinalities)


def _features(
    table: Table, keys: tuple[str, ...], config: IngestGraphsConfig
) -> tuple[Columns | None, NDArray[np.int64] | None]:
    """Numbers, and the categorical column `label`."""
    names = [n for n in table.names if n not in (*keys, "label")]
    integers = "codes" if config.integers == "auto" else config.integers
    columns = feature_columns(table, names, integers)
    return columns, None if "label" not in table.names else _labels(table)[:, None]


def _labels(table: Table) -> NDArray[np.int64]:
    array = table.column("label")
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        codes = array.dictionary_encode()
        names = np.array(codes.dictionary.to_pylist(), object)
        if codes.null_count:
            row = int(np.flatnonzero(codes.is_null().to_numpy(zero_copy_only=False))[0])
            raise ParseError(table.path, "column 'label' is empty", FIRST_ROW + row)
        rank = np.argsort(np.argsort(names))
        labels: NDArray[np.int64] = rank[codes.indices.to_numpy()].astype(np.int64)
        return labels
    return table.integers("label")
