"""The short way answers as the long one does, over connections of every kind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from inprocess import in_process
from world import World, running


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    with running(world.settings(max_body_bytes=50_000)) as client:
        yield client


def request(body: Any, *lines: str, version: str = "1.1") -> bytes:
    payload = json.dumps(body).encode()
    head = [f"POST /v1/nodes/predict HTTP/{version}", "Host: t", "Content-Type: application/json",
            f"Content-Length: {len(payload)}", *lines]  # fmt: skip
    return "\r\n".join(head).encode() + b"\r\n\r\n" + payload


def exchange(client: httpx.Client, sent: bytes) -> bytes:
    """All that the server says until it closes, or until nothing more is expected."""
    with socket.create_connection((client.base_url.host, client.base_url.port), 30) as connection:
        connection.sendall(sent)
        data = b""
        while part := connection.recv(65536):
            data += part
    return data


def answers(data: bytes) -> list[tuple[int, dict[str, str], Any]]:
    """Every answer on a connection: status, headers, body."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        found.append((int(first.split()[1]), headers, json.loads(data[:length])))
        data = data[length:]
    return found


def test_pipelined_requests_are_answered_in_their_order(client: httpx.Client):
    nodes = [list(range(100, 1500)), [101], [7], [102]]
    sent = b"".join(request({"nodes": some, "mode": "sampled"}) for some in nodes[:3])
    sent += request({"nodes": nodes[3]}, "Connection: close")
    found = answers(exchange(client, sent))
    assert [status for status, _, _ in found] == [200, 200, 422, 200]
    for (status, _, body), some in zip(found, nodes, strict=True):
        if status == 200:
            assert [entry["node"] for entry in body["predictions"]] == some


def test_a_connection_is_closed_where_the_client_wants_it(client: httpx.Client):
    [(status, headers, _)] = answers(
        exchange(client, request({"nodes": [105]}, "Connection: close"))
    )
    assert (status, headers["connection"]) == (200, "close")
    [(status, _, _)] = answers(exchange(client, request({"nodes": [105]}, version="1.0")))
    assert status == 200


def test_a_client_that_waits_for_100_gets_it(client: httpx.Client):
    data = exchange(client, request({"nodes": [105]}, "Expect: 100-continue", "Connection: close"))
    first, _, rest = data.partition(b"\r\n\r\n")
    assert first == b"HTTP/1.1 100 Continue"
    assert answers(rest)[0][0] == 200


def test_a_connection_lives_on_after_a_refusal(client: httpx.Client):
    for body, status in (({"nodes": [1]}, 422), ({"nodes": [105]}, 200), ({"x": 1}, 422)):
        assert client.post("/v1/nodes/predict", json=body).status_code == status
    long = json.dumps({"nodes": [105] * 20_000}).encode()
    headers = {"content-type": "application/json"}
    assert client.post("/v1/nodes/predict", content=long, headers=headers).status_code == 413
    assert client.post("/v1/nodes/predict", content=b"[", headers=headers).status_code == 400
    assert client.get("/v1/nodes/predict").status_code == 405


def test_answers_carry_the_headers_of_all_others(client: httpx.Client):
    short = client.post("/v1/nodes/predict", json={"nodes": [105]}, headers={"x-request-id": "me"})
    usual = client.get("/v1/graph", headers={"x-request-id": "me"})
    assert short.headers.keys() == usual.headers.keys()
    changing = {"content-length", "server-timing", "date"}
    for name in short.headers.keys() - changing:
        assert short.headers[name] == usual.headers[name]


CASES = [
    ({"nodes": [105, 106], "mode": "exact"}, {}),
    ({"nodes": [105], "include": ["embedding"]}, {}),
    ({"nodes": [1]}, {}),
    ({"nodes": [105], "mode": "table"}, {}),
    ({"nodes": [105], "model": "none"}, {}),
    ({"nodes": []}, {}),
    ({"nodes": [105]}, {"content-encoding": "gzip"}),
    ({"nodes": [105]}, {"x-request-timeout-ms": "x"}),
    ({"nodes": [105]}, {"x-request-timeout-ms": "0"}),
]


def test_both_ways_answer_alike(world: World):
    """With origins that may call there is no short way."""
    settings = world.settings(cache_bytes=0, hidden_cache_bytes=0)
    origins = settings.model_copy(update={"cors_origins": "https://page.example"})
    with in_process(settings) as short:
        assert short.app.lanes
        ours = [send(short, *case) for case in CASES]
    with in_process(origins) as usual:
        assert not usual.app.lanes
        assert [send(usual, *case) for case in CASES] == ours
    assert {status for status, _, _ in ours} == {200, 404, 409, 415, 422, 504}


def send(service: Any, body: Any, headers: dict[str, str]) -> tuple[int, str, Any]:
    headers = {"x-request-id": "me", **headers}
    answer = service.post("/v1/nodes/predict", json=body, headers=headers)
    return answer.status_code, answer.headers["content-type"], answer.json()
