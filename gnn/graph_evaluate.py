"""Metrics of a model on one part of a collection's labeled graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.errors import SchemaMismatchError, TrainingError
from gnn.model import GNN
from gnn.splits import PARTS, check_split_index, random_split
from gnn.tasks import task_named
from gnn.transfer import moved
from sampling import Block
from sampling.graph.collection import GraphCollection
from sampling.graph.collections.batch import GraphBatch
from sampling.graphs_loader import GraphLoader

__all__ = ["check_collection", "graph_inputs", "graph_logits", "graph_part_logits", "graph_parts"]

BATCH_NODES = 1 << 14
"""Rows at once, so that those of all layers stay in the caches."""


def check_collection(model: GNN, data: GraphCollection) -> None:
    """Refuse a collection that this model cannot read.

    Raises:
        SchemaMismatchError: its features, edge features or positions are not what the model reads,
            or the model is for tasks on nodes.
    """
    config, meta = model.config, data.meta
    if config.readout == "none":
        raise SchemaMismatchError("the nodes of", "one graph", "a collection of graphs")
    wanted = config.d_in - config.d_position
    if meta.feature_dim != wanted:
        raise SchemaMismatchError("features of width", wanted, meta.feature_dim)
    if config.d_position and not meta.has_positions:
        raise SchemaMismatchError("positions of width", 3, "none")
    if config.d_edge and config.d_edge != meta.edge_dim:
        raise SchemaMismatchError("edge features of width", config.d_edge, meta.edge_dim)


def graph_inputs(model: GNN, batch: GraphBatch) -> tuple[list[Block], Tensor]:
    """What a model's forward pass takes of a batch: a block for every layer, and input rows."""
    assert batch.x is not None, "check_collection sees to it"
    x = batch.x
    if model.config.d_position:
        assert batch.positions is not None, "check_collection sees to it"
        x = torch.cat([x, batch.positions], dim=1)
    block = replace(batch.block, graph_offsets=batch.graph_indptr)
    return [block] * model.num_layers, x


def graph_logits(model: GNN, data: GraphCollection, graphs: NDArray[np.int64]) -> Tensor:
    """What the head gives for these graphs, (len(graphs), d_out); leaves the model as it was."""
    was_training = model.training
    model.eval()
    size = max(1, BATCH_NODES // max(1, int(data.sizes().mean()) if data.num_graphs else 1))
    try:
        with torch.no_grad():
            loader = GraphLoader(data, graphs, size)
            batches = moved(loader, model.device)
            rows = [model(*graph_inputs(model, batch)).cpu() for batch in batches]
        return torch.cat([torch.zeros(0, model.config.d_out), *rows])
    finally:
        model.train(was_training)


def graph_parts(
    data: GraphCollection,
    labeled: Tensor,
    *,
    split_index: int = 0,
    split: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> dict[str, NDArray[np.int64]]:
    """Labeled graphs of each part, ascending: the collection's own split, or one by `seed`.

    Raises:
        TrainingError: no graph has a label.
        InputError: the collection has no such split.
    """
    mask = labeled.numpy()
    if not mask.any():
        raise TrainingError(f"no graph of collection {data.meta.name!r} has a label")
    if data.splits is None:
        check_split_index(split_index, data.meta.name)
        return random_split(np.flatnonzero(mask), split, seed)
    parts = {part: data.in_part(part, split_index) for part in PARTS}
    return {part: graphs[mask[graphs]] for part, graphs in parts.items()}


def graph_part_logits(
    model: GNN,
    data: GraphCollection,
    names: Sequence[str],
    task: str,
    split_index: int,
    split: tuple[float, float, float],
    seed: int,
) -> dict[str, tuple[Tensor, Tensor]]:
    """What the head gives for the labeled graphs of several parts, and their targets.

    Raises:
        SchemaMismatchError: the model cannot read this collection.
        TrainingError: there are no labels.
    """
    check_collection(model, data)
    chosen = task_named(task)
    y, labeled = chosen.targets(data)
    parts = graph_parts(data, labeled, split_index=split_index, split=split, seed=seed)
    found = {}
    for name in names:
        if len(parts[name]):
            targets = y[torch.from_numpy(parts[name])]
            found[name] = graph_logits(model, data, parts[name]), targets
    return found
