"""Models of whole graphs come, go, are aliased and shared out as all models are."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inprocess import InProcess, in_process
from prometheus_client import CollectorRegistry
from serving import serving, stages_of

from gnn import build_model, save_model
from gnn.architecture import architecture_for
from gnn.recipes import recipe_for
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph, GraphCollection
from service import watch
from service.errors import NotReadyError, OverloadedError
from service.graph_predictor import GraphModels, GraphPredictor
from service.graph_schemas import GraphsRequest
from service.model_index import ModelIndex
from service.routes.graphs import GraphQueue
from service.routing import Routing
from service.routing_metrics import RoutingMetrics
from service.settings import Settings
from service.shadow import ShadowMetrics, Shadows

SENT = {"node_features": [[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], "edges": [[0, 1]]}


def collection(task: str = "graph-classification") -> GraphCollection:
    rng = np.random.default_rng(0)
    graph = Graph.from_edges([0, 1], [1, 2], num_nodes=3)
    parts = [
        Dataset.in_memory(graph, features=rng.normal(size=(3, 3)).astype("f4")) for _ in range(4)
    ]
    if task == "graph-regression":
        return GraphCollection.from_graphs(parts, labels=np.arange(4, dtype=np.float32))
    return GraphCollection.from_graphs(parts, labels=np.arange(4) % 2, classes=["inert", "toxic"])


def add(models: Path, name: str, seed: int, task: str = "graph-classification") -> Path:
    """Save an untrained model as the next version of a name."""
    torch.manual_seed(seed)
    data = collection(task)
    recipe = recipe_for("gin", data, 2, task)
    model = build_model(architecture_for(task, data, recipe, {"d_hidden": 8}))
    return save_model(models / name, model, data, TrainConfig(task=task), {"test": {}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    collection().write(tmp_path / "collection")
    add(tmp_path / "models", "toxic", 1)
    return tmp_path


def settings_of(root: Path, **changes: Any) -> Settings:
    return Settings(
        graph=root / "collection",
        models=root / "models",
        run_jobs=False,
        **{"models_poll_s": 0.02, "open_admin": True, **changes},
    )


@pytest.fixture
def client(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    monkeypatch.setattr(watch, "LOOK_S", 0.01)
    with in_process(settings_of(root)) as client:
        yield client


def models_of(settings: Settings) -> GraphModels:
    return GraphModels(settings, ModelIndex(settings.models), Routing())


def ask(client: InProcess, **fields: Any) -> Any:
    return client.post("/v1/graphs/predict", json={"graphs": [SENT], **fields})


def version_of(client: InProcess, **fields: Any) -> int:
    response = ask(client, **fields)
    assert response.status_code == 200, response.text
    return int(response.json()["model_version"])


def wait_for(client: InProcess, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        client.run(asyncio.sleep(0.01))


def test_models_of_graphs_come_and_go_without_a_restart(client: InProcess, root: Path):
    assert (version_of(client), version_of(client, model="toxic")) == (1, 1)
    add(root / "models", "toxic", 2)
    wait_for(client, lambda: version_of(client) == 2)
    assert version_of(client, version=1) == 1
    add(root / "models", "weight", 3, "graph-regression")
    wait_for(client, lambda: ask(client, model="weight").status_code == 200)
    assert version_of(client) == 2, "default stays what it was"
    listed = {m["name"]: m for m in client.get("/v1/models").json()["models"]}
    assert listed.keys() == {"toxic", "weight"}
    assert (listed["toxic"]["is_default"], listed["weight"]["is_default"]) == (True, False)
    shutil.rmtree(root / "models" / "weight")
    shutil.rmtree(root / "models" / "toxic" / "2")
    wait_for(client, lambda: ask(client, model="weight").status_code == 404)
    wait_for(client, lambda: version_of(client) == 1)
    # a look while the folder is being emptied finds the name without a version
    wait_for(client, lambda: client.get("/v1/models/weight").json()["code"] == "unknown_model")
    assert client.get("/v1/models/weight").status_code == 404


def test_a_model_of_graphs_that_is_asked_about_nodes_is_named_as_such(client: InProcess):
    reply = client.post("/v1/nodes/predict", json={"nodes": [0], "model": "toxic"})
    assert (reply.status_code, reply.json()["code"]) == (422, "wrong_task")
    assert "asks for nodes or links" in reply.json()["detail"]


def test_a_damaged_version_is_passed_over(client: InProcess, root: Path):
    path = add(root / "models", "toxic", 2)
    (path / "weights.safetensors").write_bytes(b"")
    models = client.resources.graphs.predictor.models
    wait_for(client, lambda: models.why_refused("toxic", 2) is not None)
    assert version_of(client) == 1


def test_models_of_graphs_have_aliases_canaries_and_shadows(client: InProcess, root: Path):
    add(root / "models", "toxic", 2)
    wait_for(client, lambda: version_of(client) == 2)
    route = {"model": "toxic", "version": 1, "canary": {"version": 2, "share": 0.5}}
    assert client.request("PUT", "/v1/aliases/live", json=route).status_code == 200
    graphs = [{"node_features": [[float(i), 0.0, 0.0]]} for i in range(30)]
    versions = [version_of(client, model="live", graphs=[graph]) for graph in graphs]
    assert set(versions) == {1, 2}
    assert versions == [version_of(client, model="live", graphs=[graph]) for graph in graphs]
    assert version_of(client, model="live", graphs=graphs, include=["embedding"]) == 1
    assert client.get("/v1/models/live").json()["name"] == "toxic"
    route = {"model": "toxic", "version": 1, "shadow": {"version": 2, "share": 1.0}}
    assert client.request("PUT", "/v1/aliases/live", json=route).status_code == 200
    assert version_of(client, model="live", graphs=graphs) == 1
    compared = 'gnn_shadow_rows_total{model="live",shadow="2",version="1"} 30.0'
    wait_for(client, lambda: compared in client.get("/metrics").text)
    assert client.post("/v1/models/toxic/versions/2/unload").status_code == 409
    assert client.request("DELETE", "/v1/aliases/live").status_code == 200
    assert client.post("/v1/models/toxic/versions/1/unload").status_code == 200
    assert ask(client, version=1).json()["code"] == "unloaded"


def test_a_look_reads_no_manifest_that_did_not_change(root: Path, monkeypatch):
    models = models_of(settings_of(root))
    reads = []
    monkeypatch.setattr("service.model_index.model_info", reads.append)
    for _ in range(3):
        models.refresh(lambda model: None)
    assert reads == []


# --- the queue --------------------------------------------------------------------------------


class Slow(GraphPredictor):
    """Answers when it is told to."""

    def __init__(self, models: GraphModels, settings: Settings) -> None:
        super().__init__(models, settings)
        self.go, self.at_work, self.most, self.answered = threading.Event(), 0, 0, 0

    def outputs(self, saved: Any, graphs: Any, seconds: Any = None) -> Any:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        assert self.go.wait(60)
        self.at_work -= 1
        self.answered += 1
        return super().outputs(saved, graphs, seconds)


def queue_of(root: Path, limit: int) -> tuple[GraphQueue, Slow]:
    settings, registry = settings_of(root), CollectorRegistry()
    slow = Slow(models_of(settings), settings)
    shadows = Shadows(1, ShadowMetrics(registry), lambda: False)
    return GraphQueue(slow, limit, shadows, RoutingMetrics(registry)), slow


def test_work_that_nobody_waits_for_does_not_pile_up(root: Path):
    queue, slow = queue_of(root, limit=5)
    body = GraphsRequest.model_validate({"graphs": [SENT]})

    async def give_up() -> None:
        task = asyncio.create_task(queue.answer(body))
        while not slow.at_work:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def main() -> None:
        for _ in range(20):
            await give_up()
        assert (slow.most, slow.at_work) == (1, 1), "one thread, whatever was given up"
        assert queue.waiting == 1, "what is at work holds its turn, the rest has left"
        waiting = [asyncio.create_task(queue.answer(body)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await queue.answer(body)
        slow.go.set()
        answers = await asyncio.gather(*waiting)
        assert {answer["model_version"] for answer in answers} == {1}
        while queue.waiting:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(queue.close)
        with pytest.raises(NotReadyError):
            await queue.answer(body)

    asyncio.run(main())
    assert (slow.most, slow.answered) == (1, 5)


def test_a_deadline_that_passes_while_a_thread_works_is_504(client: InProcess):
    real, go = client.resources.graphs.predictor.outputs, threading.Event()

    def slow(saved: Any, graphs: Any, seconds: Any) -> Any:
        assert go.wait(60)
        return real(saved, graphs, seconds)

    client.resources.graphs.predictor.outputs = slow  # type: ignore[method-assign]
    headers = {"x-request-timeout-ms": "50"}
    for _ in range(3):
        late = client.post("/v1/graphs/predict", json={"graphs": [SENT]}, headers=headers)
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    go.set()
    wait_for(client, lambda: client.resources.graphs.waiting == 0)
    assert version_of(client) == 1


def test_the_protocol_and_its_index_agree_on_what_answers(root: Path):
    with serving(settings_of(root)) as server:
        client = server.client
        [entry] = client.post("/v2/repository/index").json()
        assert (entry["name"], entry["state"]) == ("toxic", "UNAVAILABLE")
        assert "/v1/graphs/predict" in entry["reason"]
        assert client.post("/v2/repository/index", json={"ready": True}).json() == []
        assert client.get("/v2/models/toxic/ready").status_code == 400
        assert client.post("/v1/graphs/predict", json={"graphs": [SENT]}).status_code == 200


def test_server_timing_and_metrics_have_the_stages_of_whole_graphs(root: Path):
    with serving(settings_of(root)) as server:
        large = {
            "node_features": [[1.0, 2.0, 3.0]] * 5000,
            "edges": [[i, i + 1] for i in range(4999)],
        }
        answer = server.client.post("/v1/graphs/predict", json={"graphs": [large]})
        stages = stages_of(answer)
        assert list(stages) == ["queue", "sample", "gather", "compute"]
        assert min(stages["queue"], stages["gather"], stages["compute"]) > 0
        assert stages["sample"] == 0
        assert sum(stages.values()) <= answer.elapsed.total_seconds() * 1e3
        for stage in ("queue", "gather", "compute"):
            counted = f'gnn_stage_seconds_count{{stage="{stage}"}} 1.0'
            assert counted in server.client.get("/metrics").text
