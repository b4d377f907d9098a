"""From a graph, a task and what the user chose to a whole architecture.

What the data dictate (widths, types, edge features, positions) is read off the data; what the
recipe suggests gives way to what the user says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnn.errors import TrainingError
from gnn.model_config import InputType, ModelConfig
from gnn.recipes import Recipe
from gnn.tasks import task_named
from sampling import Dataset

__all__ = ["architecture_for", "data_schema"]

EDGE_FEATURE_CONVS = ("gine", "transformer", "egnn", "tgat")
TYPED_CONVS = ("rgcn", "hgt")


def architecture_for(
    task: str, data: Dataset, recipe: Recipe, chosen: Mapping[str, Any]
) -> ModelConfig:
    """The model that a training of `task` on `data` builds.

    Args:
        task: a task on the nodes or links of one graph.
        data: the graph.
        recipe: settings to start from.
        chosen: fields of `ModelConfig` that the user set.

    Raises:
        TrainingError: the graph lacks what the convolution or the task reads.
        InputError: a value is out of range.
    """
    schema = data_schema(data, chosen.get("conv", recipe.model["conv"]))
    settings = {**recipe.model, **schema, **chosen}
    has_head = settings.get("decoder", "none") == "none"
    if settings.get("jumping", "none") != "none" and has_head and "head" not in chosen:
        settings["head"] = "linear"
    return ModelConfig(**{**settings, "d_out": task_named(task).num_outputs(data)})


def data_schema(data: Dataset, conv: str) -> dict[str, Any]:
    """Fields of `ModelConfig` that the data dictate, for this convolution.

    Raises:
        TrainingError: the graph has no positions for a convolution that reads them, or no times.
    """
    graph = data.graph
    schema: dict[str, Any] = {"d_in": data.features.dim if data.features else 0}
    if not schema["d_in"]:
        schema |= {"encoder": "typed", "input_types": _learned(data)}
    if conv == "egnn":
        if data.positions is None:
            raise TrainingError(
                f"graph {data.meta.name!r} has no positions, and egnn reads them; choose another "
                "--model, or ingest positions"
            )
        schema |= {"d_position": 3, "d_in": schema["d_in"] + 3}
    if conv in EDGE_FEATURE_CONVS and graph.edge_features is not None:
        schema["d_edge"] = graph.edge_features.shape[1]
    if conv in TYPED_CONVS:
        schema |= {
            "num_relations": len(graph.edge_types),
            "num_node_types": len(graph.node_types),
        }
    if conv == "pna":
        schema["mean_log_degree"] = float(max(np.log1p(graph.in_degrees()).mean(), 1e-3))
    if conv == "tgat":
        schema["time_scale"] = _time_scale(data)
    return schema


def _learned(data: Dataset) -> tuple[InputType, ...]:
    """One learned embedding per node, of every type."""
    return tuple(InputType(name=t.name, start=t.start, end=t.end, d_in=0)
                 for t in data.graph.node_types)  # fmt: skip


def _time_scale(data: Dataset) -> float:
    """A thousandth of the span of the edge times, so that encodings of usual gaps differ."""
    times = data.graph.edge_time
    if times is None:
        raise TrainingError(
            f"graph {data.meta.name!r} has no edge times, and tgat reads them; choose another "
            "--model, or ingest a time column"
        )
    span = int(times.max(initial=0)) - int(times.min(initial=0))
    return max(span / 1000, 1.0)
