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
from service.model_index import ModelIndex

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


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/graph"), ("POST", "/v1/jobs"), ("POST", "/v1/nodes/predict")]
)
def test_a_deadline_that_has_passed_is_504_everywhere(client: InProcess, method: str, path: str):
    for given in ("0", "000"):
        reply = client.request(
            method, path, headers={"x-request-timeout-ms": given}, json={"nodes": [105]}
        )
    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded"), reply.text


def test_a_name_that_no_model_has_costs_no_look_at_the_disk(client: InProcess, monkeypatch):
    def look(self: ModelIndex) -> None:
        raise AssertionError("the disk was read for a stranger's word")

    monkeypatch.setattr(ModelIndex, "look", look)
    for name, status in (("nobody", 404), ("toxic", 422)):
        reply = client.post("/v1/nodes/predict", json={"nodes": [105], "model": name})
        assert reply.status_code == status, reply.text
    assert client.post("/v1/links/predict", json={"pairs": [[105, 106]]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "got"),
    [({"mode": "foo"}, "foo"), ({"seed": -1}, -1), ({"nodes": [1.5]}, 1.5),
     ({"mode": "x" * 999}, "x" * 80), ({"more": [1]}, None), ({"model": 1e300}, None)],
)  # fmt: skip
def test_a_refusal_says_what_was_got_where_that_is_short(
    client: InProcess, body: dict, got: object
):
    reply = client.post("/v1/nodes/predict", json={"nodes": [105], **body})
    assert reply.status_code == 422
    [fault] = reply.json()["errors"]
    assert fault.get("got") == got
    assert got is None or repr(got) in reply.json()["detail"]


@pytest.mark.parametrize(
    ("setting", "mode", "what", "got"),
    [("max_hops", "exact", "hops of the model", 2),
     ("max_fanout_product", "sampled", "product of the model's fanouts", 12)],
)  # fmt: skip
def test_models_that_look_too_far_are_not_computed(
    tmp_path: Path, setting: str, mode: str, what: str, got: int
):
    world = make_world(tmp_path, num_edges=500)
    for limit, status in ((got, 200), (got - 1, 422)):
        with in_process(world.settings(**{setting: limit})) as client:
            reply = client.post("/v1/nodes/predict", json={"nodes": [105], "mode": mode})
        assert reply.status_code == status, reply.text
    found = reply.json()
    assert [found[name] for name in ("what", "limit", "got")] == [what, got - 1, got]
