"""The input rows that a model reads of a data set: features, and positions where it wants them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gnn.errors import SchemaMismatchError
from gnn.model_config import SPARSE_CONVS, ModelConfig, is_brought
from sampling import Dataset, FeatureTable
from sampling.errors import InputError
from sampling.graph.sparse_features import SPARSE

__all__ = ["with_inputs"]


def with_inputs(data: Dataset, config: ModelConfig) -> Dataset:
    """The data set with input rows of width `config.d_in` as its features.

    A data set without features gets rows of width 0 where embeddings are learned; positions become
    the last columns where the convolution reads them.

    Raises:
        SchemaMismatchError: the model cannot read this graph.
    """
    features = data.features
    if features is None and config.encoder == "typed" and not config.d_position:
        features = FeatureTable(np.zeros((data.graph.num_nodes, 0), np.float32))
    if features is None:
        raise SchemaMismatchError("features of width", config.d_in, "none")
    if config.d_position:
        features = _with_positions(features, data)
    if features.storage == SPARSE and not config.reads_sparse:
        raise InputError(
            f"the features of {data.meta.name!r} are sparse, and {config.conv} reads dense rows; "
            f"train it with --encoder linear or mlp, choose {' or '.join(SPARSE_CONVS)}, or ingest "
            "the graph with --sparse-features no"
        )
    if features.dim != config.d_in:
        raise SchemaMismatchError("features of width", config.d_in, features.dim)
    _check_types(data, config)
    return data if features is data.features else replace(data, features=features)


def _with_positions(features: FeatureTable, data: Dataset) -> FeatureTable:
    if features.storage == SPARSE:
        raise InputError(f"the features of {data.meta.name!r} are sparse, and egnn reads dense "
                         "rows; ingest the graph with --sparse-features no")  # fmt: skip
    if data.positions is None:
        raise SchemaMismatchError("positions of width", 3, "none")
    rows = features.rows(0, features.num_rows).numpy()
    return FeatureTable(np.concatenate([rows, data.positions.astype(np.float32)], axis=1))


def _shown(ranges: list[tuple[str, int, int]]) -> str:
    return ", ".join(f"{name!r} {start} … {end}" for name, start, end in ranges)


def _check_types(data: Dataset, config: ModelConfig) -> None:
    """Learned embeddings belong to the nodes of one graph; typed layers to its types."""
    if config.input_types and config.input_types[-1].end != data.graph.num_nodes:
        raise SchemaMismatchError("nodes", config.input_types[-1].end, data.graph.num_nodes)
    ranges = [(t.name, t.start, t.end) for t in data.graph.node_types]
    known = [(t.name, t.start, t.end) for t in config.input_types]
    if known and known != ranges:
        raise SchemaMismatchError("node types", _shown(known), _shown(ranges))
    typed = config.conv in ("rgcn", "hgt")
    typed |= is_brought(config.conv) and config.num_relations > 1
    if typed and len(data.graph.edge_types) > config.num_relations:
        raise SchemaMismatchError("edge types", config.num_relations, len(data.graph.edge_types))
    if config.conv == "hgt" and len(data.graph.node_types) > config.num_node_types:
        raise SchemaMismatchError("node types", config.num_node_types, len(data.graph.node_types))
    if config.conv == "sage" and config.aggregator == "weighted" and data.graph.edge_weight is None:
        raise SchemaMismatchError("edges", "with weights", "without")
    d_edge = 0 if data.graph.edge_features is None else data.graph.edge_features.shape[1]
    if config.d_edge and config.d_edge != d_edge:
        raise SchemaMismatchError("edge features of width", config.d_edge, d_edge)
