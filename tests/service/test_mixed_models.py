"""Models of nodes and of whole graphs side by side in one directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from inprocess import InProcess, in_process
from world import add_model, make_world

from gnn import TrainConfig, build_model, save_model
from gnn.architecture import architecture_for
from gnn.recipes import recipe_for
from sampling.graph.collection import GraphCollection

TASK = "graph-classification"
FIXTURE = Path(__file__).parents[1] / "fixtures" / "v0.1" / "graphs"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    world = make_world(tmp_path_factory.mktemp("mixed"), num_edges=1000)
    data = GraphCollection.open(FIXTURE)
    torch.manual_seed(0)
    model = build_model(architecture_for(TASK, data, recipe_for("gin", data, 2, TASK), {}))
    save_model(world.models / "toxic", model, data, TrainConfig(task=TASK), {"test": {}})
    add_model(world.models / "links", world.data, 3, task="link-prediction", decoder="mlp",
              head="none", d_out=1)  # fmt: skip
    with in_process(world.settings()) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "task"),
    [("default", "node-classification"), ("toxic", TASK), ("links", "link-prediction")],
)
def test_every_model_is_found_by_its_own_name(client: InProcess, name: str, task: str):
    found = client.get(f"/v1/models/{name}").json()
    assert (found["name"], found["task"]) == (name, task)


@pytest.mark.parametrize(
    ("path", "body"),
    [("nodes/predict", {"nodes": [105], "model": "toxic"}),
     ("nodes/embed", {"nodes": [105], "model": "toxic"}),
     ("graphs/predict", {"graphs": [{"node_features": [[0.0]]}], "model": "links"}),
     ("nodes/predict", {"nodes": [105], "model": "links"})],
)  # fmt: skip
def test_a_model_of_another_task_is_there_and_says_so(client: InProcess, path: str, body: dict):
    reply = client.post(f"/v1/{path}", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "wrong_task"), reply.text
    assert reply.json()["model"] == body["model"]
