"""The whole ingest, stage by stage.

    files ─▶ chunks ─▶ NodeIds ─▶ (src, dst) ─▶ kernels.build_csc ─▶ graph directory

Nodes come first: from lists of nodes, or from one reading of the edges. Then every chunk of
edges is translated to dense nodes and put into an `EdgeSink`, which sorts them. The order of
edges in the files changes no byte of any array.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.graph.arrays import publish, write_array
from sampling.graph.ingest.adjacency import Adjacency, write_edges
from sampling.graph.ingest.config import Clock, IngestConfig, IngestReport, Reports, check
from sampling.graph.ingest.inputs import Inputs, open_inputs
from sampling.graph.ingest.label_pairs import with_label_pairs
from sampling.graph.ingest.numbering import number_nodes
from sampling.graph.ingest.reorder import reorder
from sampling.graph.ingest.rows import (
    feature_rows,
    splits_of,
    stays_sparse,
    write_features,
    write_positions,
)
from sampling.graph.memory import MemoryBudget
from sampling.graph.meta import GraphMeta
from sampling.graph.nodes import Nodes
from sampling.graph.readers.source import FeatureSource
from sampling.graph.sparse_features import SPARSE
from sampling.graph.store import MANIFEST, write_manifest

__all__ = ["ingest"]


def ingest(config: IngestConfig) -> Iterator[IngestReport]:
    """Write a graph directory; yields reports, the last one with the manifest.

    Raises:
        InputError: a file or an option is wrong; nothing is left behind.
        ExistsError: `out` exists and is not to be replaced.
    """
    check(config)
    budget = MemoryBudget.of(config.memory_bytes)
    began = time.perf_counter()
    with publish(config.out, overwrite=config.overwrite, marker=MANIFEST) as temporary:
        inputs = open_inputs(config, budget)
        nodes = yield from number_nodes(config, inputs, budget)
        if inputs.labels:
            nodes = yield from with_label_pairs(config, inputs, nodes, budget)
        adjacency, order = yield from _write_adjacency(config, inputs, nodes, budget, temporary)
        features = feature_rows(config, inputs, nodes, order)
        arrays, meta = dict(adjacency.arrays), _meta(config, inputs, nodes, adjacency, features)
        if features is not None:
            arrays |= yield from write_features(config, features, temporary)
        arrays |= yield from write_positions(config, inputs, nodes, order, temporary)
        splits, links = splits_of(config, inputs, nodes), adjacency.links
        if order is not None:
            nodes, splits = nodes.renumbered(order), None if splits is None else splits[order]
            meta = meta.model_copy(update={"ids": nodes.ids.header()})
            links = None if links is None else links.renumbered(np.argsort(order))
        linked = {} if links is None else links.arrays()
        for name, array in (node_arrays(nodes, splits) | linked).items():
            arrays[name] = write_array(temporary / f"{name}.npy", array)
        meta = meta.model_copy(update={"num_splits": 0 if splits is None else splits.shape[1]})
        meta = write_manifest(temporary, config.out, meta, arrays)
    clock = Clock("done", began)
    size = sum(path.stat().st_size for path in config.out.iterdir())
    yield clock.report(meta.num_edges, meta.num_edges, size, inputs.notes, meta)


def _write_adjacency(
    config: IngestConfig, inputs: Inputs, nodes: Nodes, budget: MemoryBudget, temporary: Path
) -> Reports:
    """Write the edges, under other numbers where that is asked for; returns these as well."""
    if config.reorder == "none":
        return (yield from write_edges(config, inputs, nodes, budget, temporary)), None
    numbered = temporary / "numbered"
    numbered.mkdir()
    adjacency = yield from write_edges(config, inputs, nodes, budget, numbered)
    return (yield from reorder(config, nodes, adjacency, budget, numbered, temporary))


def node_arrays(nodes: Nodes, splits: NDArray[np.uint8] | None) -> dict[str, NDArray[Any]]:
    named = {"labels": nodes.labels, "splits": splits, "node_time": nodes.time}
    return {n: a for n, a in named.items() if a is not None} | nodes.ids.arrays()


def _meta(
    config: IngestConfig,
    inputs: Inputs,
    nodes: Nodes,
    adjacency: Adjacency,
    features: FeatureSource | None,
) -> GraphMeta:
    return GraphMeta(
        name=config.name or config.out.name,
        num_nodes=nodes.ids.num_nodes,
        num_edges=adjacency.num_edges,
        node_types=[(t.name, t.start, t.end) for t in nodes.node_types],
        edge_types=list(adjacency.edge_types),
        feature_dim=features.dim if features else 0,
        feature_storage=_storage(config, features),
        feature_widths=_feature_widths(inputs, nodes),
        labels=nodes.label_info,
        ids=nodes.ids.header(),
        provenance=_provenance(config, inputs) | adjacency.facts,
    )


def _storage(config: IngestConfig, features: FeatureSource | None) -> str | None:
    if features is None:
        return None
    return SPARSE if stays_sparse(config, features) else config.feature_storage


def _feature_widths(inputs: Inputs, nodes: Nodes) -> dict[str, int] | None:
    if not inputs.typed_features:
        return None
    dims = {name: source.dim for name, source in inputs.typed_features.items()}
    return {kind.name: dims.get(kind.name, 0) for kind in nodes.node_types}


def _provenance(config: IngestConfig, inputs: Inputs) -> dict[str, Any]:
    """Names and sizes, never paths or times: equal inputs leave equal words."""
    found: dict[str, Any] = {
        "edges": [_file(source.path) for source in inputs.edges],
        "nodes": [_file(source.path) for source in inputs.nodes],
        **({"links": [_file(link.source.path) for link in inputs.links]} if inputs.links else {}),
        "ignored_columns": list(inputs.notes),
    }
    if inputs.features is not None:
        found["features"] = _file(inputs.features.path)
    if inputs.typed_features:
        files = sorted(inputs.typed_features.items())
        found["features"] = {name: _file(source.path) for name, source in files}
    if inputs.positions is not None:
        found["positions"] = _file(inputs.positions.path)
    if inputs.edge_rows is not None:
        found["edge_features"] = _file(inputs.edge_rows.path)
    elif not isinstance(config.edge_features, Path) and config.edge_features:
        found["edge_features"] = list(config.edge_features)
    if inputs.labels:
        found["labels"] = [_file(source.path) for source in inputs.labels]
    if config.splits is not None:
        found["splits"] = _file(Path(config.splits))
    if unit := next((s.time_unit for s in inputs.edges), None):
        found["time_unit"] = unit
    return found


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size}
