"""What is served no more leaves memory: a closed server's graph, a model that was replaced."""

from __future__ import annotations

import asyncio
import gc
import shutil
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from inprocess import InProcess, in_process
from serving import serving
from world import World, add_model

from service.app import create_app

ASKED = ("/v1/nodes/predict", "/v1/nodes/embed")
MANY = list(range(100, 1600))


def becomes(holds: Callable[[], bool]) -> bool:
    """Whether it is so before long; threads may take a moment to put down what they had."""
    ends = time.monotonic() + 15
    while not (held := holds()) and time.monotonic() < ends:
        gc.collect()
        time.sleep(0.02)
    return held


def is_gone(reference: Callable[[], Any]) -> bool:
    return becomes(lambda: reference() is None)


def ask(client: httpx.Client | InProcess) -> None:
    """Use all that keeps something: threads, caches, the self-test."""
    for mode in ("exact", "sampled"):
        for path in ASKED:
            assert client.post(path, json={"nodes": MANY, "mode": mode}).status_code == 200
    for path in ("/health/ready", "/v2", "/metrics", "/v1/stats", "/v1/nodes/no/path"):
        assert client.get(path).status_code < 500
    assert client.get("/v1/graph/nodes/105/neighbors").status_code == 200


def test_a_closed_server_lets_graph_and_models_go_while_its_app_is_kept(world: World):
    with in_process(world.settings()) as client:
        ask(client)
        client.app.state.of_another = 7
        predictor = weakref.ref(client.resources.predictor)
        sampler = weakref.ref(predictor().registry.opened("default").sampled)
        app = client.app
    assert is_gone(predictor) and is_gone(sampler), app
    assert app.state.of_another == 7


def test_an_app_that_nobody_keeps_is_gone(world: World):
    with in_process(world.settings()) as client:
        ask(client)
        app = weakref.ref(client.app)
    del client
    assert is_gone(app)


def test_a_server_on_a_socket_lets_its_models_go(world: World):
    with serving(world.settings()) as server:
        ask(server.client)
        sampler = weakref.ref(server.resources.predictor.registry.opened("default").sampled)
    del server
    assert is_gone(sampler)


def test_a_server_that_ends_by_an_error_leaves_the_collector_as_it_was(world: World):
    async def main() -> None:
        app = create_app(world.settings(log_level="warning"))
        async with app.router.lifespan_context(app):
            assert gc.get_freeze_count()
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        asyncio.run(main())
    assert gc.get_freeze_count() == 0


def test_a_version_that_was_there_at_the_start_is_gone_once_unloaded(world: World, tmp_path: Path):
    models = shutil.copytree(world.models, tmp_path / "models")
    settings = world.settings(open_admin=True, models_poll_s=0.05)
    with serving(settings.model_copy(update={"models": models})) as server:
        ask(server.client)
        model = weakref.ref(server.resources.predictor.registry.opened("default"))
        add_model(models / "default", world.data, seed=2)
        assert becomes(lambda: server.client.get("/v1/models/default").json()["version"] == 2)
        answer = server.client.post("/v1/models/default/versions/1/unload")
        assert answer.status_code == 200, answer.text
        assert is_gone(model), "though nothing else is asked"
