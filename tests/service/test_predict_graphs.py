"""`gnn evaluate`, `gnn predict` and `gnn plan` on collections of graphs, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gnn import build_model, evaluate, save_model
from gnn.architecture import architecture_for
from gnn.graph_evaluate import graph_logits
from gnn.recipes import recipe_for
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph, GraphCollection
from service.cli import app

TASK = "graph-classification"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    root, parts = tmp_path_factory.mktemp("collection"), []
    for number in range(10):
        rng = np.random.default_rng(number)
        edges = rng.integers(0, 5, (2, 8))
        rows = rng.normal(size=(5, 3)).astype("f4")
        parts.append(Dataset.in_memory(Graph.from_edges(*edges, num_nodes=5), features=rows))
    splits = np.array([1, 1, 1, 1, 2, 2, 3, 3, 3, 3], np.uint8)
    data = GraphCollection.from_graphs(
        parts, labels=np.arange(10) % 2, classes=["a", "b"], splits=splits
    )
    data.write(root / "graphs")
    torch.manual_seed(0)
    model = build_model(architecture_for(TASK, data, recipe_for("gin", data, 2, TASK), {}))
    save_model(root / "models" / "shapes", model, data, TrainConfig(task=TASK), {})
    return root, data, model


def run(*arguments: object) -> dict:
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "--json")])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_a_collection_is_evaluated_as_in_python(made):
    root, data, model = made
    found = run("evaluate", root / "graphs", root / "models" / "shapes", "--split", "test")
    assert found["metrics"]["test"] == pytest.approx(evaluate(model, data, task=TASK))


def test_graphs_are_predicted_by_their_ids(made):
    root, data, model = made
    answer = run("predict", root / "graphs", root / "models" / "shapes", "--nodes", "7,2",
                 "--include", "label,probabilities,embedding")  # fmt: skip
    expected = torch.softmax(graph_logits(model, data, np.array([7, 2])), dim=1)
    for entry, key, row in zip(answer["predictions"], (7, 2), expected.tolist(), strict=True):
        assert entry["graph"] == key
        assert list(entry["probabilities"].values()) == pytest.approx(row, abs=1e-5)
        assert len(entry["embedding"]) == model.d_embedding


@pytest.mark.parametrize(
    "command", [("embed", "--out", "rows"), ("plan",)], ids=lambda command: command[0]
)
def test_what_needs_one_graph_says_so(made, command, tmp_path: Path):
    root, _, _ = made
    name, *options = command
    model = [str(root / "models" / "shapes")] if name == "embed" else []
    options = [str(tmp_path / o) if o == "rows" else o for o in options]
    result = CliRunner().invoke(app, [name, str(root / "graphs"), *model, *options])
    assert result.exit_code != 0
    assert "collection of graphs" in f"{result.output}{result.exception}"


def test_a_graph_that_is_not_there_is_named(made):
    root, _, _ = made
    arguments = ["predict", str(root / "graphs"), str(root / "models" / "shapes"), "--nodes", "99"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert "99" in f"{result.output}{result.exception}"
