"""The parts of `gnn bench serve`: the same answers from the peer, and a load that counts right."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from sampling import GraphStore
from service.bench.empty_service import create_empty_app
from service.bench.load import LoadJob, Phase, requests_of, run_load
from service.bench.plain_service import create_plain_app
from service.bench.serve import ServePlan, measure
from service.bench.served_world import ServedWorld, make_served_world
from service.predictor import open_predictor
from service.settings import Settings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ServedWorld:
    return make_served_world(tmp_path_factory.mktemp("bench"), 300, 3000, [-1, -1], 8, 1, 0)


def test_the_plain_service_gives_the_answers_of_ours(world: ServedWorld):
    [version] = world.model.iterdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DGL's
        app = create_plain_app(world.graph, version, world.fanouts, tuned=True)
        nodes = [5, 0, 299, 5]

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                body = {"nodes": nodes, "mode": "sampled"}
                return await client.post("/v1/nodes/predict", json=body)

        theirs = asyncio.run(ask()).json()
    settings = Settings(graph=world.graph, models=world.models, compute_threads=1)
    ours = open_predictor(world.graph, world.models, None, settings).predict(nodes, mode="exact")
    for entry, other in zip(ours.predictions, theirs["predictions"], strict=True):
        assert entry["label"] == other["label"]
        for name, value in entry["probabilities"].items():
            assert other["probabilities"][name] == pytest.approx(value, abs=1e-5)


def test_a_world_is_made_once(world: ServedWorld):
    root, before = world.graph.parent.parent, world.graph.stat().st_mtime_ns
    again = make_served_world(root, 300, 3000, [-1, -1], 8, 1, 0)
    assert again == world
    assert world.graph.stat().st_mtime_ns == before
    assert GraphStore.open(world.graph).meta.num_edges == 3000


def test_requests_are_http_and_repeat_with_the_seed():
    job = LoadJob(1, [], num_nodes=50, ids=3, body={"mode": "table"}, seed=4)
    request = requests_of(job)[0]
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/nodes/predict HTTP/1.1\r\n")
    assert f"content-length: {len(body)}".encode() in head
    found = json.loads(body)
    assert found["mode"] == "table"
    assert len(found["nodes"]) == 3
    assert requests_of(job)[0] == request


def test_a_zipf_load_asks_for_few_nodes_often():
    def distinct(zipf: float) -> int:
        job = LoadJob(1, [], num_nodes=100_000, zipf=zipf)
        return len({body.rpartition(b"\r\n")[2] for body in requests_of(job)})

    assert distinct(1.2) < distinct(0.9) < distinct(0.0)


@contextmanager
def serving(app: object) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def test_a_closed_and_an_open_load_are_answered_and_counted():
    with serving(create_empty_app(4)) as port:
        closed, even = run_load(LoadJob(port, [Phase(0.2), Phase(0.3, rate=100.0)], connections=3))
    assert closed["requests"] > 3
    assert 0 < even["requests"] < closed["requests"] + 100
    for report in (closed, even):
        assert report["failed"] == report["refused"] == 0
        assert 0 < report["ms"]["p50"] <= report["ms"]["p99"] <= report["ms"]["max"]


def test_what_is_no_answer_counts_as_failed_or_refused():
    async def app(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            return
        status = 503 if scope["path"] == "/full" else 404
        await send({"type": "http.response.start", "status": status,
                    "headers": [(b"content-length", b"0")]})  # fmt: skip
        await send({"type": "http.response.body", "body": b""})

    with serving(app) as port:
        [full] = run_load(LoadJob(port, [Phase(0.05)], 2, path="/full"))
        [gone] = run_load(LoadJob(port, [Phase(0.05)], 2, path="/gone"))
    assert full["refused"] > 0 == full["failed"]
    assert gone["failed"] > 0 == gone["refused"]
    assert full["ms"] == gone["ms"] == {}
    assert full["recovered_s"] > 0


@pytest.mark.nightly
def test_all_rows_are_measured(tmp_path: Path):
    plan = ServePlan(2000, 20_000, [5, 5], 50, 16, 4, 3.0, 1, keep=tmp_path)
    rows = measure(plan)["rows"]
    works = " ".join(row["work"] for row in rows)
    for words in ("sampled", "table", "warm cache", "even load", "3 times", "one worker more"):
        assert words in works
    assert all(np.isfinite(row["ours"]) for row in rows)
    assert {"plain", "plain tuned", "empty handler"} <= rows[0]["peers"].keys()
