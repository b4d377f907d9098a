"""The service with a shared cache, through everything that can happen to a Redis under load."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from redisserver import RedisServer, redis_server

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import World, make_world, running

FAST = {"redis_retry_s": 0.2, "cache_bytes": 0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def embed(client: httpx.Client, nodes: list[int], seed: int = 0) -> np.ndarray:
    body = {"nodes": nodes, "mode": "sampled", "seed": seed}
    response = client.post("/v1/nodes/embed", json=body)
    assert response.status_code == 200, response.text
    return np.array(response.json()["embeddings"])


def state(client: httpx.Client) -> str:
    response = client.get("/health/ready")
    assert response.status_code == 200
    return str(response.json()["checks"]["redis"])


def wait_for(client: httpx.Client, wanted: str) -> None:
    deadline = time.monotonic() + 15
    while state(client) != wanted:
        assert time.monotonic() < deadline, f"redis is not {wanted}"
        time.sleep(0.05)


def test_no_fault_of_redis_reaches_a_client(world: World, redis: RedisServer):
    nodes = list(range(100, 160))
    with running(world.settings()) as alone:
        truth = {seed: embed(alone, nodes, seed) for seed in range(4)}
    settings = world.settings(redis_url=redis.url, **FAST)
    stop, asked = threading.Event(), []

    def load(client: httpx.Client, worker: int) -> float:
        slowest, turn = 0.0, worker
        while not stop.is_set():
            turn += 1
            started = time.monotonic()
            rows = embed(client, nodes[turn % 50 : turn % 50 + 10], turn % 4)
            slowest = max(slowest, time.monotonic() - started)
            wanted = truth[turn % 4][turn % 50 : turn % 50 + 10]
            assert np.abs(rows - wanted).max() < 1e-5
            asked.append(turn)
        return slowest

    with running(settings) as client, ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, client, worker) for worker in range(4)]
        try:
            attack(redis, client, asked)
        finally:
            stop.set()
        assert max(load.result() for load in loads) < 5
        assert max(float(line.split()[-1]) for line in outcomes(client, "hit")) > 0
        text = client.get("/metrics").text
    assert 'status="5' not in text
    assert 'status="4' not in text


def outcomes(client: httpx.Client, outcome: str) -> list[str]:
    name = f'gnn_redis_rows_total{{outcome="{outcome}"}}'
    return [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]


def answer_more(asked: list[int]) -> None:
    """Wait until clients have been answered some more."""
    enough, deadline = len(asked) + 8, time.monotonic() + 15
    while len(asked) < enough:
        assert time.monotonic() < deadline, "no client is answered"
        time.sleep(0.02)


def attack(redis: RedisServer, client: httpx.Client, asked: list[int]) -> None:
    """Every fault in turn, under load; after each, Redis is found again."""
    answer_more(asked)
    redis.signal(signal.SIGSTOP)
    wait_for(client, "degraded")
    answer_more(asked)
    redis.signal(signal.SIGCONT)
    wait_for(client, "ok")
    answer_more(asked)
    redis.command("FLUSHALL")
    redis.command("CLIENT", "PAUSE", "1000", "ALL")
    wait_for(client, "degraded")
    answer_more(asked)
    wait_for(client, "ok")
    answer_more(asked)
    redis.command("CONFIG", "SET", "maxmemory", "1")
    redis.command("FLUSHALL")
    wait_for(client, "degraded")
    answer_more(asked)
    redis.command("CONFIG", "SET", "maxmemory", "0")
    redis.command("FLUSHALL")
    wait_for(client, "ok")
    answer_more(asked)
    redis.kill()
    wait_for(client, "degraded")
    answer_more(asked)
    redis.start()
    wait_for(client, "ok")
    answer_more(asked)
    redis.command("CONFIG SET requirepass changed\r\nCLIENT KILL TYPE normal")
    wait_for(client, "degraded")
    answer_more(asked)
