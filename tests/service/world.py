"""A small graph with models on disk, and a server process over them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from gnn import ModelConfig, TrainConfig, build_model, embed, load_model, save_model
from sampling import Dataset, Graph, GraphStore, NodeIds
from sampling.graph.ids import encode_strings
from service.settings import Settings

NUM_NODES, DIM, CLASSES = 1500, 8, ["fraud", "ok", "unsure"]
AWKWARD = ["n0", "n1", "n1\n", "line\nfeed", "\n", "n1/neighbors\n"]
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class World:
    """Directories of a graph, its models and an embedding table of the default model."""

    graph: Path
    models: Path
    embeddings: Path
    data: Dataset

    def settings(self, **changes: Any) -> Settings:
        return Settings(graph=self.graph, models=self.models, **changes)


def make_world(root: Path, *, string_ids: bool = False, num_edges: int = 9000) -> World:
    """A random graph with one hub; node i has id i + 100, or "n<i>" from 6 on."""
    data = random_data(string_ids, num_edges)
    GraphStore.write(root / "graph", data)
    data = GraphStore.open(root / "graph")
    models = root / "models"
    add_model(models / "default", data, seed=1)
    for _ in embed(load_model(models / "default"), data, root / "embeddings"):
        pass
    return World(root / "graph", models, root / "embeddings", data)


def add_model(
    directory: Path,
    data: Dataset,
    seed: int,
    *,
    task: str = "node-classification",
    fanouts: tuple[int, ...] = (4, 3),
    **changes: Any,
) -> Path:
    """Save an untrained model as the next version of `directory`."""
    torch.manual_seed(seed)
    d_out = len(CLASSES) if task == "node-classification" else 1
    config = {"d_in": DIM, "d_hidden": 16, "d_out": d_out, "num_layers": len(fanouts)}
    model = build_model(ModelConfig(**{**config, "head": "linear", **changes}))
    train_config = TrainConfig(task=task, fanouts=fanouts)
    return save_model(directory, model, data, train_config, {"test": {"accuracy": 0.5}})


def random_data(string_ids: bool, num_edges: int) -> Dataset:
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, NUM_NODES, (2, num_edges))
    dst[: num_edges // 5] = 0
    dst[dst == 1] = 2
    graph = Graph.from_edges(src, dst, num_nodes=NUM_NODES)
    ids = NodeIds.range(NUM_NODES, 100)
    if string_ids:
        names = [f"n{i}" for i in range(NUM_NODES)]
        ids = NodeIds.from_strings(*encode_strings([*AWKWARD, *names[len(AWKWARD) :]]))
    return Dataset.in_memory(
        graph,
        features=rng.standard_normal((NUM_NODES, DIM)).astype(np.float32),
        labels=rng.integers(-1, len(CLASSES), NUM_NODES),
        classes=list(CLASSES),
        ids=ids,
        name="world",
    )


@contextmanager
def running(settings: Settings) -> Iterator[httpx.Client]:
    """A server process on a free port; stopped with SIGTERM, which it must obey cleanly."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GNN_")}
    given = settings.model_copy(update={"port": 0}).environment()
    command = "from service.server import run_server; from service.settings import Settings; "
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", command + "run_server(Settings())"],
        env=environment | given,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on "), line
        with httpx.Client(base_url=line.split()[-1], timeout=30) as client:
            client.process = process  # type: ignore[attr-defined]
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
