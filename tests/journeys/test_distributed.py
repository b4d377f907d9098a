"""Training by two processes gives the model that one process trains."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn import load_model
from gnn.distributed import Ranks
from sampling import Dataset, Graph, GraphCollection, GraphStore

ROOT = Path(__file__).resolve().parent.parent.parent
OPTIONS = ["--fanouts", "4,3", "--epochs", "3", "--batch-size", "50", "--dropout", "0",
           "--threads", "1", "--json"]  # fmt: skip
TASKS = {
    "nodes": ["--task", "node-classification", "--model", "sage"],
    "nodes of rare classes": ["--task", "node-classification", "--model", "gcn",
                              "--class-weights", "balanced"],
    "links": ["--task", "link-prediction", "--model", "sage"],
    "links against all": ["--task", "link-prediction", "--model", "gcn", "--link-loss", "softmax"],
    "links in time": ["--task", "link-prediction", "--temporal", "--model", "sage",
                      "--layers", "2"],
    "rows by infomax": ["--task", "unsupervised", "--objective", "dgi", "--model", "gcn"],
}  # fmt: skip
IN_BLOCKS = {
    "rows by walks": ["--task", "unsupervised", "--model", "sage"],
    "rows by infomax": ["--task", "unsupervised", "--objective", "dgi", "--model", "sage"],
}
ENCODING_BLOCKS = """
import gnn.sessions.whole, service.cli
gnn.sessions.whole.EXACT_EDGES = 0
service.cli.main()
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    edges = rng.integers(0, 300, 2000), rng.integers(0, 150, 2000)  # walks end early at the others
    data = Dataset.in_memory(
        Graph.from_edges(*edges, num_nodes=300, edge_time=rng.integers(0, 10_000, 2000)),
        features=rng.normal(size=(300, 6)).astype(np.float32),
        labels=rng.choice(3, 300, p=[0.8, 0.15, 0.05]),
        splits=rng.choice([1, 1, 1, 2, 3], 300).astype(np.uint8),
    )
    GraphStore.write(tmp_path / "graph", data)
    return tmp_path / "graph"


def run(*command: str) -> tuple[dict, float]:
    """What was printed, and the loss of the last epoch as progress tells it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *_, loss = re.findall(r", loss ([0-9.]+),", done.stderr)
    return json.loads(done.stdout.splitlines()[-1]), float(loss)


def check_two_train_the_model_of_one(program: list[str], options: list[str], out: Path) -> None:
    options = [*options, *OPTIONS]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    alone, loss = run(*program, "train", *options, "--out", str(out / "alone"))
    both, shared = run(*launch, *program, "train", *options, "--out", str(out / "both"))
    assert shared == pytest.approx(loss, abs=2e-4)
    assert (alone["version"], both["version"]) == (1, 1)
    one, two = (load_model(out / name).model.state_dict() for name in ("alone", "both"))
    for name, weights in one.items():
        assert torch.allclose(weights, two[name], atol=2e-4), name


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_train_the_model_of_one(task: str, graph: Path, tmp_path: Path):
    check_two_train_the_model_of_one(["-m", "service.cli"], [str(graph), *TASKS[task]], tmp_path)


@pytest.mark.parametrize("task", IN_BLOCKS)
def test_so_they_do_where_batches_have_blocks_of_their_own(task: str, graph: Path, tmp_path: Path):
    program = tmp_path / "in_blocks.py"
    program.write_text(ENCODING_BLOCKS)
    check_two_train_the_model_of_one([str(program)], [str(graph), *IN_BLOCKS[task]], tmp_path)


def test_two_processes_train_the_model_of_one_on_graphs(tmp_path: Path):
    rng = np.random.default_rng(0)
    rings = [np.arange(n) for n in rng.integers(3, 12, 70)]
    graphs = [
        Dataset.in_memory(
            Graph.from_edges(ring, np.roll(ring, 1)),
            features=rng.normal(size=(len(ring), 4)).astype(np.float32),
        )
        for ring in rings
    ]
    labels, splits = rng.choice(3, 70, p=[0.7, 0.2, 0.1]), rng.choice([1, 1, 2, 3], 70)
    data = GraphCollection.from_graphs(graphs, labels=labels, splits=splits.astype(np.uint8))
    data.write(tmp_path / "rings")
    options = ["--task", "graph-classification", "--model", "gin", "--norm", "layer", "--layers",
               "2", "--class-weights", "balanced"]  # fmt: skip
    program = ["-m", "service.cli"]
    check_two_train_the_model_of_one(program, [str(tmp_path / "rings"), *options], tmp_path)


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
