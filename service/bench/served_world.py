"""What the services of `gnn bench serve` serve: a graph, a model and its table, on disk.

An R-MAT graph with rows of normal numbers and GraphSAGE with fresh weights: how fast an answer
comes does not depend on what the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gnn import ModelConfig, TrainConfig, build_model, embed, load_model, save_model
from sampling import Dataset, GraphStore
from service.bench.problem import random_rows, rmat_graph
from service.console import note

__all__ = ["ServedWorld", "make_served_world"]

NUM_CLASSES = 16


@dataclass(frozen=True, slots=True)
class ServedWorld:
    """Directories, and what is in them."""

    graph: Path
    models: Path
    embeddings: Path
    num_nodes: int
    num_edges: int
    fanouts: list[int]
    num_classes: int = NUM_CLASSES

    @property
    def model(self) -> Path:
        """The one model."""
        return self.models / "default"


def make_served_world(
    root: Path,
    num_nodes: int,
    num_edges: int,
    fanouts: list[int],
    width: int,
    num_threads: int,
    seed: int,
) -> ServedWorld:
    """Write all three; what is there already from the same arguments is taken as it is."""
    given = "-".join(map(str, [num_nodes, num_edges, *fanouts, width, seed]))
    folder = root / f"serve-{given}"
    world = ServedWorld(folder / "graph", folder / "models", folder / "embeddings",
                        num_nodes, num_edges, fanouts)  # fmt: skip
    torch.set_num_threads(num_threads)
    if not world.graph.exists():
        _write_graph(world, width, num_threads, seed)
    data = GraphStore.open(world.graph)
    if not world.model.exists():
        _write_model(world, data, width, seed)
    if not world.embeddings.exists():
        note("embedding every node")
        reports = embed(load_model(world.model), data, world.embeddings, predictions=True,
                        resume=True, num_threads=num_threads)  # fmt: skip
        for _ in reports:
            pass
    return world


def _write_graph(world: ServedWorld, width: int, num_threads: int, seed: int) -> None:
    note(f"making an R-MAT graph of {world.num_nodes:,} nodes and {world.num_edges:,} edges")
    graph = rmat_graph(world.num_nodes, world.num_edges, seed, num_threads)
    rows = random_rows(world.num_nodes, width, seed, np.float32)
    labels = np.arange(world.num_nodes) % world.num_classes
    classes = [f"class {i}" for i in range(world.num_classes)]
    data = Dataset.in_memory(graph, features=rows, labels=labels, classes=classes, name="bench")
    GraphStore.write(world.graph, data)


def _write_model(world: ServedWorld, data: Dataset, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    config = ModelConfig(conv="sage", d_in=width, d_hidden=width, d_out=world.num_classes,
                         num_layers=len(world.fanouts), head="linear")  # fmt: skip
    train_config = TrainConfig(fanouts=tuple(world.fanouts))
    save_model(world.model, build_model(config), data, train_config, {"test": {"accuracy": 0.0}})
