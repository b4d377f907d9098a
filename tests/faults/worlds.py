"""A small world with a model of every kind that the service answers with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import World, add_model, make_world

from gnn import TrainConfig, build_model, save_model
from gnn.architecture import architecture_for
from gnn.recipes import recipe_for
from sampling import Dataset, Graph, GraphCollection

__all__ = ["FIRST_ID", "World", "every_model", "make_world"]

FIRST_ID = 100
"""Id of node 0 of every such world."""


def every_model(root: Path) -> World:
    """The small world with models of links and of whole graphs beside that of nodes."""
    world = make_world(root)
    add_model(
        world.models / "links", world.data, seed=5, task="link-prediction",
        decoder="mlp", head="none", d_out=1,
    )  # fmt: skip
    _add_graph_model(world.models / "shapes")
    return world


def _add_graph_model(directory: Path) -> None:
    rng, task = np.random.default_rng(0), "graph-classification"
    rows = rng.normal(size=(5, 3)).astype("f4")
    parts = [
        Dataset.in_memory(Graph.from_edges(*rng.integers(0, 5, (2, 8)), num_nodes=5), features=rows)
        for _ in range(6)
    ]
    data = GraphCollection.from_graphs(
        parts, labels=np.arange(6) % 2, classes=["a", "b"],
        splits=np.array([1, 1, 1, 1, 2, 3], np.uint8),
    )  # fmt: skip
    torch.manual_seed(0)
    model = build_model(architecture_for(task, data, recipe_for("gin", data, 2, task), {}))
    save_model(directory, model, data, TrainConfig(task=task), {})
