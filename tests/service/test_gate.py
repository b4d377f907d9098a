"""Refusal at the door: by how many are under way, and over a real connection."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from world import World, running

from service import gate as gates
from service.gate import ALWAYS, Gate

PREDICT = {"method": "POST", "path": "/v1/nodes/predict"}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gates, "time", clock)
    return clock


def answered_at(gate: Gate, clock: Clock, rate: float, count: int) -> None:
    for _ in range(count):
        gate.enter()
        clock.now += 1 / rate
        gate.leave()


def test_as_many_are_let_in_as_the_rate_can_answer_within_the_delay(clock: Clock):
    gate = Gate(0.02, ["/v1/nodes/predict"], lambda path: None)
    assert gate.limit == float("inf")
    answered_at(gate, clock, rate=5000.0, count=1000)
    assert gate.limit == pytest.approx(100, rel=0.02)
    for _ in range(100):
        assert gate.admits()
        gate.enter()
    gate.enter()
    assert not gate.admits()
    gate.leave()
    gate.leave()
    assert gate.admits()


def test_idle_time_does_not_make_the_service_look_slow(clock: Clock):
    gate = Gate(0.02, ["/v1/nodes/predict"], lambda path: None)
    for _ in range(50):
        answered_at(gate, clock, rate=5000.0, count=20)
        clock.now += 10.0
    assert gate.limit == pytest.approx(100, rel=0.02)


def test_some_are_let_in_however_slow_they_are(clock: Clock):
    gate = Gate(0.02, ["/v1/nodes/predict"], lambda path: None)
    answered_at(gate, clock, rate=1.0, count=10)
    assert gate.limit == ALWAYS


def test_only_the_posts_of_its_paths_are_guarded():
    gate = Gate(0.02, ["/v1/nodes/predict"], lambda path: None)
    assert gate.guards(PREDICT)
    assert not gate.guards({**PREDICT, "method": "GET"})
    assert not gate.guards({**PREDICT, "path": "/health/ready"})
    assert not Gate(0.0, ["/v1/nodes/predict"], lambda path: None).guards(PREDICT)


def test_a_service_that_is_full_answers_503_on_the_same_connection_and_goes_on(world: World):
    """A delay of nothing lets 16 in: 60 that come at once must lose some, and none hangs."""
    body = json.dumps({"nodes": [100, 101], "mode": "sampled"}).encode()
    request = (b"POST /v1/nodes/predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % len(body)) + body  # fmt: skip
    with running(world.settings(max_delay_ms=0.001, cache_bytes=0)) as client:
        port = client.base_url.port
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        seen, deadline = set[int](), time.monotonic() + 60
        while seen != {200, 503} and time.monotonic() < deadline:
            for connection in connections:
                connection.sendall(request)
            answers = [answer(connection) for connection in connections]
            seen |= {status for status, _, _ in answers}
            for status, headers, problem in answers:
                if status == 503:
                    assert headers[b"retry-after"] == b"1"
                    assert headers[b"x-request-id"].decode() == problem["request_id"]
                    assert (problem["code"], problem["status"]) == ("overloaded", 503)
                    assert problem["limit"] >= ALWAYS
        assert seen == {200, 503}
        for connection in connections:
            connection.close()
        assert client.get("/health/ready").status_code == 200
        lines = client.get("/metrics").text.splitlines()
        assert any('status="503"' in line and "gnn_requests_total" in line for line in lines)


def answer(connection: socket.socket) -> tuple[int, dict[bytes, bytes], dict]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(b": ") for line in lines)}
    while len(body) < int(headers[b"content-length"]):
        body += connection.recv(65536)
    return int(first.split()[1]), headers, json.loads(body)
