"""The same graph, or a part of it, under other node numbers; and the model that knows its nodes.

Node types keep their contiguous ranges: nodes change places with nodes of their own type. A
model that learned an embedding for every node has it under the node's number, so the rows of
these tables move with the nodes: they are input that happens to be kept with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnn.model import GNN, unfilled_model
from gnn.model_config import InputType, ModelConfig
from sampling import Dataset, FeatureTable, Graph, NodeType, induced_block

__all__ = ["renumbered", "renumbered_model", "shuffled_within"]

Nodes = NDArray[np.int64]


def renumbered(data: Dataset, nodes: Nodes) -> Dataset:
    """The graph that `nodes` induce, with node `nodes[i]` as its node i.

    Args:
        data: the graph.
        nodes: (n,) distinct dense nodes, those of one type side by side in the order of types.

    Returns:
        Features, positions and times of the nodes with all that edges carry; no labels.
    """
    block = induced_block(data.graph, nodes)
    dst = torch.repeat_interleave(torch.arange(len(nodes)), block.in_degrees())
    ranges = _ranges([(t.name, t.start, t.end) for t in data.graph.node_types], nodes)
    graph = Graph.from_edges(
        block.indices.long(),
        dst,
        num_nodes=len(nodes),
        edge_type=block.edge_type,
        edge_weight=block.edge_weight,
        edge_time=block.edge_time,
        edge_features=block.edge_features,
        node_types=tuple(NodeType(*part) for part in ranges),
        edge_types=data.graph.edge_types,
    )
    return Dataset.in_memory(
        graph,
        features=_rows(data.features, nodes),
        node_time=_of(data.node_time, nodes),
        positions=_of(data.positions, nodes),
        name=data.meta.name,
    )


def renumbered_model(model: GNN, nodes: Nodes) -> GNN:
    """The model for `renumbered(data, nodes)`, in evaluation mode: rows per node moved along."""
    types = model.config.input_types
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    for i, kind in enumerate(types):
        if not kind.d_in:
            own = nodes[(nodes >= kind.start) & (nodes < kind.end)] - kind.start
            name = f"encoder.maps.{i}.weight"
            weights[name] = weights[name][torch.from_numpy(own)]
    moved = unfilled_model(_config(model.config, nodes))
    moved.load_state_dict(weights, assign=True)
    return moved.requires_grad_(False).eval()


def shuffled_within(starts: Sequence[int], random: np.random.Generator) -> Nodes:
    """All nodes in a random order that leaves each in its own range, (num_nodes,) int64.

    Args:
        starts: first node of every range and, last, the number of nodes.
        random: source of the order.
    """
    parts = [random.permutation(np.arange(a, b, dtype=np.int64)) for a, b in pairwise(starts)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _config(config: ModelConfig, nodes: Nodes) -> ModelConfig:
    ranges = _ranges([(t.name, t.start, t.end) for t in config.input_types], nodes)
    widths = [t.d_in for t in config.input_types]
    types = tuple(InputType(name=name, start=start, end=end, d_in=d_in)
                  for (name, start, end), d_in in zip(ranges, widths, strict=True))  # fmt: skip
    return replace(config, input_types=types)


def _ranges(types: list[tuple[str, int, int]], nodes: Nodes) -> list[tuple[str, int, int]]:
    """Name, first node and one past the last node of every type among the renumbered nodes."""
    counts = [int(((nodes >= start) & (nodes < end)).sum()) for _, start, end in types]
    ends = np.cumsum([0, *counts]).tolist()
    return [(name, ends[i], ends[i + 1]) for i, (name, _, _) in enumerate(types)]


def _rows(features: FeatureTable | None, nodes: Nodes) -> FeatureTable | None:
    if features is None:
        return None
    return features.take(nodes)


def _of(array: NDArray[Any] | None, nodes: Nodes) -> NDArray[Any] | None:
    return None if array is None else np.ascontiguousarray(array[nodes])
