"""Readiness is a test prediction: it fails where none is computed, and passes under any load."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from inprocess import in_process
from serving import Serving, serving
from test_graph_models import add, collection, settings_of
from world import World, add_model

from gnn import SavedModel, build_model, save_model
from gnn.architecture import architecture_for
from gnn.recipes import recipe_for
from gnn.train_config import TrainConfig
from service.errors import NonFiniteError
from service.settings import Settings

READY = ("/health/ready", "/v2/health/ready")


@pytest.fixture
def two(world: World, tmp_path: Path) -> Settings:
    """Two models of nodes."""
    for name, seed in (("default", 1), ("other", 2)):
        add_model(tmp_path / "models" / name, world.data, seed)
    return Settings(graph=world.graph, models=tmp_path / "models", verify_graph=False)


def wait_for(holds: Callable[[], Any], seconds: float = 15.0) -> Any:
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)
    return found


def statuses(client: httpx.Client) -> list[int]:
    return [client.get(path).status_code for path in READY]


def checks(client: httpx.Client) -> dict[str, Any]:
    return client.get("/health/ready").json().get("checks", {})


@contextmanager
def spoiled(saved: SavedModel) -> Iterator[None]:
    """The weights as nothing that was checked at the start could have left them."""
    kept = {name: value.clone() for name, value in saved.model.state_dict().items()}
    with torch.no_grad():
        for weight in saved.model.parameters():
            weight.fill_(float("nan"))
    try:
        yield
    finally:
        saved.model.load_state_dict(kept)


def saved_of(server: Serving, name: str) -> SavedModel:
    return server.resources.predictor.registry.opened(name).saved


def test_it_is_ready_until_the_last_model_answers_no_more(two: Settings):
    with serving(two) as server:
        client = server.client
        assert checks(client)["self_test"] == "passed"
        with spoiled(saved_of(server, "other")):
            found = wait_for(lambda: (c := checks(client))["self_test"] == "failed" and c)
            assert found["failed"] == {"other": "The model's answer is not finite"}
            with spoiled(saved_of(server, "default")):
                wait_for(lambda: statuses(client) == [503, 503])
                problem = client.get("/health/ready").json()
                assert (problem["code"], problem["failed"].keys()) == (
                    "not_ready",
                    {"default", "other"},
                )
                assert "no model answers a test prediction" in problem["detail"]
                assert "no model answers" in client.get("/v2/health/ready").json()["error"]
                assert client.get("/health/live").status_code == 200
        wait_for(lambda: statuses(client) == [200, 200] and checks(client)["failed"] == {})


def test_a_stuck_compute_thread_is_not_ready_and_says_so(two: Settings):
    with serving(two) as server:
        client, go = server.client, threading.Event()
        server.resources.batcher._thread.submit(go.wait, 60)
        try:
            wait_for(lambda: statuses(client) == [503, 503])
            began = time.monotonic()
            assert "stuck" in client.get("/health/ready").json()["detail"]
            assert time.monotonic() - began < 0.5, "who asks later waits no more"
            assert client.get("/health/live").status_code == 200
        finally:
            go.set()
        wait_for(lambda: statuses(client) == [200, 200])


def test_a_full_queue_is_ready_and_the_answer_is_quick(two: Settings):
    full = two.model_copy(update={"max_batch_cost_edges": 1, "queue_limit": 4, "cache_bytes": 0})
    stop = threading.Event()
    with serving(full) as server, ThreadPoolExecutor(12) as pool:
        url, refused = str(server.client.base_url), list[int]()

        def flood() -> None:
            body = {"nodes": list(range(100, 600)), "mode": "sampled"}
            with httpx.Client(base_url=url, timeout=30) as client:
                while not stop.is_set():
                    refused.append(client.post("/v1/nodes/predict", json=body).status_code)

        floods = [pool.submit(flood) for _ in range(12)]
        try:
            wait_for(lambda: 503 in refused)
            times = list[float]()
            for _ in range(30):
                began = time.monotonic()
                assert statuses(server.client) == [200, 200]
                times.append((time.monotonic() - began) / 2)
                time.sleep(0.1)
            assert sorted(times)[len(times) // 2] < 0.25
        finally:
            stop.set()
        for done in floods:
            done.result()


def test_tests_are_no_more_than_one_a_second(two: Settings):
    with serving(two) as server:
        asked, batcher = list[float](), server.resources.batcher
        real = batcher.compute

        def counted(key: Any, nodes: Any) -> Any:
            asked.append(time.monotonic())
            return real(key, nodes)

        batcher.compute = counted  # type: ignore[method-assign]
        ends = time.monotonic() + 2.5
        while time.monotonic() < ends:
            assert statuses(server.client) == [200, 200]
        assert 1 <= len(asked) <= 3


def test_strangers_learn_nothing_but_whether_it_is_ready(two: Settings):
    digest = hashlib.sha256(b"secret").hexdigest()
    with serving(two.model_copy(update={"api_keys": f"reader:read:{digest}"})) as server:
        client, key = server.client, {"x-api-key": "secret"}
        assert client.get("/health/ready").json()["checks"] == {}
        with (
            spoiled(saved_of(server, "other")),
            spoiled(saved_of(server, "default")),
        ):
            wait_for(lambda: statuses(client) == [503, 503])
            assert "failed" not in client.get("/health/ready").json()
            assert client.get("/health/ready", headers=key).json()["failed"].keys() == {
                "default",
                "other",
            }


def test_models_of_whole_graphs_are_tested_too(tmp_path: Path):
    collection().write(tmp_path / "collection")
    add(tmp_path / "models", "toxic", 1)
    with serving(settings_of(tmp_path)) as server:
        assert statuses(server.client) == [200, 200]
        models = server.resources.graphs.predictor.models
        with spoiled(models.opened("toxic")):
            wait_for(lambda: statuses(server.client) == [503, 503])
        wait_for(lambda: statuses(server.client) == [200, 200])
        shutil.rmtree(tmp_path / "models" / "toxic")
        wait_for(lambda: "no model is loaded" in server.client.get("/health/ready").text)


def test_a_model_of_whole_graphs_that_cannot_answer_is_no_start(tmp_path: Path):
    task, data = "graph-classification", collection()
    data.write(tmp_path / "collection")
    recipe = recipe_for("gin", data, 2, task)
    model = build_model(architecture_for(task, data, recipe, {"d_hidden": 8}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(1e38)
    save_model(tmp_path / "models" / "toxic", model, data, TrainConfig(task=task), {"test": {}})
    with pytest.raises(NonFiniteError), in_process(settings_of(tmp_path)):
        pass
