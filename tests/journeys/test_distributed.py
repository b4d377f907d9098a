"""Training by two processes gives the model that one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn import load_model
from gnn.distributed import Ranks
from sampling import Dataset, Graph, GraphStore
from sampling.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent
OPTIONS = ["--fanouts", "4,3", "--epochs", "3", "--batch-size", "50", "--dropout", "0",
           "--threads", "1", "--json"]  # fmt: skip
TASKS = {
    "nodes": ["--task", "node-classification", "--model", "sage"],
    "links": ["--task", "link-prediction", "--model", "sage"],
    "links against all": ["--task", "link-prediction", "--model", "gcn", "--link-loss", "softmax"],
    "links in time": ["--task", "link-prediction", "--temporal", "--model", "sage",
                      "--layers", "2"],
}  # fmt: skip


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    edges = rng.integers(0, 300, (2, 2000))
    data = Dataset.in_memory(
        Graph.from_edges(*edges, num_nodes=300, edge_time=rng.integers(0, 10_000, 2000)),
        features=rng.normal(size=(300, 6)).astype(np.float32),
        labels=rng.integers(0, 3, 300),
        splits=rng.choice([1, 1, 1, 2, 3], 300).astype(np.uint8),
    )
    GraphStore.write(tmp_path / "graph", data)
    return tmp_path / "graph"


def run(*command: str) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_train_the_model_of_one(task: str, graph: Path, tmp_path: Path):
    options = [*TASKS[task], *OPTIONS]
    alone = run("service.cli", "train", str(graph), "--out", str(tmp_path / "alone"), *options)
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    both = run(
        *launch, "service.cli", "train", str(graph), "--out", str(tmp_path / "both"), *options
    )
    assert (alone["version"], both["version"]) == (1, 1)
    one, two = (load_model(tmp_path / name).model.state_dict() for name in ("alone", "both"))
    for name, weights in one.items():
        assert torch.allclose(weights, two[name], atol=2e-4), name


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 17])
def test_shares_of_a_batch_cover_it_once(size, count):
    ranks = [Ranks(rank, size) for rank in range(size)]
    entries = np.arange(count)
    weights = np.zeros(count)
    for rank in ranks:
        mine = entries[rank.part(count)]
        weights[mine] += rank.share(count) / len(mine)
    assert np.allclose(weights, 1 / count)


def test_a_task_whose_batches_are_not_shared_is_refused():
    with pytest.raises(InputError, match="torchrun"):
        Ranks(0, 2).check("unsupervised")
    Ranks(0, 1).check("unsupervised")
    Ranks(0, 2).check("link-prediction")
