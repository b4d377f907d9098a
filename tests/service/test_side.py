"""Work beside the predictions is bounded, refuses, and takes nothing from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from serving import Serving, serving
from world import World

from service import app, cost
from service.cost import are_soon_counted, exact_costs
from service.routes import neighborhood, planning

FEW, MANY = [105, 106], list(range(100, 500))


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Iterator[threading.Semaphore]:
    """A function that does not return while the context lives, but on the event loop; counts who
    is in it.
    """
    real, go, inside = getattr(owner, name), threading.Event(), threading.Semaphore(0)

    def hold(*given: Any) -> Any:
        if not threading.current_thread().name.startswith(("side", "planning")):
            return real(*given)
        inside.release()
        assert go.wait(60)
        return real(*given)

    monkeypatch.setattr(owner, name, hold)
    try:
        yield inside
    finally:
        go.set()


def wait_for(holds: Callable[[], Any]) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)


def ask(server: Serving, method: str, path: str, **given: Any) -> httpx.Response:
    with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
        return client.request(method, path, **given)


def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded"), answer.text
    assert int(answer.headers["retry-after"]) >= 1


def test_a_flood_of_neighborhoods_is_refused_and_large_predictions_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app, "SIDE_LIMIT", 6)
    path = "/v1/graph/nodes/105/neighborhood?mode=exact"
    with (
        serving(world.settings()) as server,
        ThreadPoolExecutor(6) as pool,
        held(monkeypatch, neighborhood, "neighborhood_of"),
    ):
        flood = [pool.submit(ask, server, "GET", path) for _ in range(6)]
        wait_for(lambda: server.resources.side.under_way == 6)
        for other in (path, "/v1/models/default/map"):
            answer = ask(server, "GET", other)
            refused(answer)
        assert 'gnn_refused_total{where="side"} 2.0' in server.client.get("/metrics").text
        large = ask(server, "POST", "/v1/nodes/predict", json={"nodes": MANY})
        assert large.status_code == 200
        assert server.client.get("/health/ready").status_code == 200
    assert {done.result().status_code for done in flood} == {200}


def test_large_predictions_that_wait_to_be_planned_are_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    body = {"nodes": MANY, "mode": "exact"}
    with (
        serving(world.settings(queue_limit=5)) as server,
        ThreadPoolExecutor(5) as pool,
        held(monkeypatch, planning, "_plan"),
    ):
        flood = [pool.submit(ask, server, "POST", "/v1/nodes/predict", json=body) for _ in range(5)]
        wait_for(lambda: server.resources.planning.under_way == 5)
        refused(ask(server, "POST", "/v1/nodes/predict", json=body))
        small = ask(server, "POST", "/v1/nodes/predict", json={"nodes": FEW})
        assert small.status_code == 200
        assert ask(server, "GET", "/v1/graph/nodes/105/neighborhood").status_code == 200
    assert {done.result().status_code for done in flood} == {200}


def test_what_is_given_up_keeps_its_place_only_while_it_is_at_work(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    path, late = "/v1/graph/nodes/105/neighborhood", {"x-request-timeout-ms": "50"}
    with serving(world.settings()) as server:
        with held(monkeypatch, neighborhood, "neighborhood_of"):
            for _ in range(10):
                assert ask(server, "GET", path, headers=late).status_code == 504
            wait_for(lambda: server.resources.side.under_way == app.SIDE_THREADS)
        wait_for(lambda: server.resources.side.under_way == 0)
        assert ask(server, "GET", path).status_code == 200


def test_a_dear_plan_is_made_beside_the_event_loop(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cost, "SOON", 2000)
    with serving(world.settings()) as server:
        predictor, where = server.resources.predictor, list[str]()
        plan = predictor.plan

        def noted(*given: Any) -> Any:
            where.append(threading.current_thread().name.partition("_")[0])
            return plan(*given)

        predictor.plan = noted  # type: ignore[method-assign]
        for node in (105, 100):  # a leaf, and the hub
            body = {"nodes": [node], "mode": "exact"}
            assert ask(server, "POST", "/v1/nodes/predict", json=body).status_code == 200
        body = {"nodes": [100], "mode": "sampled"}
        assert ask(server, "POST", "/v1/nodes/predict", json=body).status_code == 200
        [first, second, third] = where
        assert second == "planning"
        assert "planning" not in (first, third)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_what_is_soon_counted_is_few_walks(world: World, num_layers: int):
    graph, limit = world.data.graph, 10**9
    for nodes in (np.array([5]), np.array([0]), np.arange(1500)):
        hops = range(1, num_layers)
        walks = sum(int(exact_costs(graph, nodes, h, limit).sum()) + h * cost.HOP for h in hops)
        assert are_soon_counted(graph, nodes, num_layers, limit) == (walks <= cost.SOON)
    assert are_soon_counted(graph, np.array([0]), 2, 10), "one hop over the limit is not followed"
