"""From a graph, a task and what the user chose to a whole architecture.

What the data dictate (widths, types, edge features, positions) is read off the data; what the
recipe suggests gives way to what the user says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gnn.data import Data
from gnn.errors import TrainingError
from gnn.model_config import UNFOLLOWED, InputType, ModelConfig, is_brought
from gnn.model_options import check_are_read
from gnn.recipes import Recipe
from gnn.tasks import GRAPH_TASKS, task_for
from sampling import Dataset
from sampling.errors import InputError
from sampling.graph.collection import GraphCollection
from sampling.graph.sparse_features import SPARSE

__all__ = ["architecture_for", "data_schema"]

EDGE_FEATURE_CONVS = ("gine", "transformer", "egnn", "tgat")
TYPED_CONVS = ("rgcn", "hgt")
PAIR_TASKS = ("link-prediction", "unsupervised")
"""Tasks whose models score pairs of rows."""


def architecture_for(
    task: str, data: Data, recipe: Recipe, chosen: Mapping[str, Any]
) -> ModelConfig:
    """The model that a training of `task` on `data` builds.

    Args:
        task: a key of `gnn.tasks.TASKS`.
        data: the graph, or the collection of graphs.
        recipe: settings to start from.
        chosen: fields of `ModelConfig` that the user set.

    Raises:
        TrainingError: the data lack what the convolution or the task reads.
        InputError: a value is out of range, or the task is for other data.
    """
    if isinstance(data, GraphCollection) != (task in GRAPH_TASKS):
        kind = "a collection of graphs" if isinstance(data, GraphCollection) else "one graph"
        raise InputError(f"{data.meta.name!r} is {kind}, and --task is {task}; choose another task")
    conv = chosen.get("conv", recipe.model["conv"])
    _refuse_what_would_not_follow(conv, chosen)
    check_are_read(conv, chosen)
    schema = data_schema(data, conv)
    settings = {**recipe.model, **schema, **chosen}
    if settings.get("encoder", "none") != "typed":
        settings.pop("input_types", None)
    nodes = data.nodes if isinstance(data, GraphCollection) else data
    is_sparse = nodes.features is not None and nodes.features.storage == SPARSE
    has_head = settings.get("decoder", "none") == "none"
    if has_head and settings.get("jumping", "none") != "none" and settings.get("head") == "none":
        settings["head"] = "linear"
    _refuse_parts_of_other_tasks(task, settings)
    if settings.get("aggregator") == "weighted" and nodes.graph.edge_weight is None:
        raise TrainingError(
            f"{data.meta.name!r} has no edge weights, and the aggregator weighted reads them; "
            "choose mean, or ingest the edges with --weight"
        )
    config = ModelConfig(**{**settings, "d_out": task_for(task, data).num_outputs(data)})
    if is_sparse and not config.reads_sparse and "encoder" not in chosen and conv != "egnn":
        return replace(config, encoder="linear")
    return config


def _refuse_what_would_not_follow(conv: str, chosen: Mapping[str, Any]) -> None:
    """Refuse what is put between layers where the convolution leaves no room for it."""
    if conv not in UNFOLLOWED:
        return
    allowed = {"norm": ("layer",) if conv == "hgt" else ()}
    if chosen.get("virtual_node"):
        allowed["norm"] = (*allowed["norm"], "batch")
    for name in ("norm_first", "norm", "activation", "residual", "residual_map"):
        value = chosen.get(name)
        if value not in (None, False, "none", *allowed.get(name, ())):
            raise InputError(f"{name} is {value!r}, and {conv} takes none between its layers; "
                             "leave it out")  # fmt: skip


def _refuse_parts_of_other_tasks(task: str, settings: Mapping[str, Any]) -> None:
    for name in ("readout", "pooling", "decoder"):
        readers, kind = (PAIR_TASKS, "pairs") if name == "decoder" else (GRAPH_TASKS, "graphs")
        if task not in readers and settings.get(name, "none") != "none":
            raise InputError(f"{name} is {settings[name]!r}, which is for tasks on {kind}, and the "
                             f"task is {task}; leave it out")  # fmt: skip


def data_schema(data: Data, conv: str) -> dict[str, Any]:
    """Fields of `ModelConfig` that the data dictate, for this convolution.

    Raises:
        TrainingError: the data have no positions for a convolution that reads them, or no times.
    """
    nodes = data.nodes if isinstance(data, GraphCollection) else data
    graph, name = nodes.graph, data.meta.name
    schema: dict[str, Any] = {"d_in": 0 if nodes.features is None else nodes.features.dim}
    schema |= _codes(data) if isinstance(data, GraphCollection) else _typed(data)
    if conv == "egnn":
        if nodes.positions is None:
            raise TrainingError(
                f"{name!r} has no positions, and egnn reads them; choose another --model, or "
                "ingest positions with --positions"
            )
        schema |= {"d_position": 3, "d_in": schema["d_in"] + 3}
    if (conv in EDGE_FEATURE_CONVS or is_brought(conv)) and graph.edge_features is not None:
        schema["d_edge"] = graph.edge_features.shape[1]
        if isinstance(data, GraphCollection) and data.meta.edge_cardinalities and conv == "gine":
            schema["edge_cardinalities"] = data.meta.edge_cardinalities
    if conv in TYPED_CONVS or is_brought(conv):
        schema |= {
            "num_relations": len(graph.edge_types),
            "num_node_types": len(graph.node_types),
        }
    if conv == "pna":
        schema["mean_log_degree"] = float(max(np.log1p(graph.in_degrees()).mean(), 1e-3))
    if conv == "tgat":
        schema["time_scale"] = _time_scale(nodes)
    return schema


def _codes(data: GraphCollection) -> dict[str, Any]:
    """An encoder of codes, where the columns of a collection are codes.

    Raises:
        TrainingError: the nodes have no features.
    """
    if not data.meta.feature_dim:
        raise TrainingError(
            f"the nodes of {data.meta.name!r} have no features; ingest it with --degree-features "
            "or --constant-feature"
        )
    if data.meta.node_cardinalities is None:
        return {}
    return {"encoder": "categorical", "cardinalities": data.meta.node_cardinalities}


def _typed(data: Dataset) -> dict[str, Any]:
    """An encoder per node type, where types have columns of their own, or none.

    A node of a type without columns has an embedding that is learned.
    """
    if data.features is not None and data.meta.feature_widths is None:
        return {}
    widths = data.meta.feature_widths or {}
    types = tuple(
        InputType(name=t.name, start=t.start, end=t.end, d_in=widths.get(t.name, 0))
        for t in data.graph.node_types
    )
    return {"encoder": "typed", "input_types": types}


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
