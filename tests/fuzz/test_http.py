"""Bytes on a socket that no HTTP client would send, clients that dawdle, and clients that leave."""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from faults.processes import wait_for
from world import World, make_world, running

from service.keys import new_key

MANY = int(os.environ.get("GNN_FUZZ_CASES", "20000"))
TIMEOUTS = {"header_timeout_s": 2.0, "body_timeout_s": 2.0, "write_timeout_s": 2.0}
nightly = [pytest.mark.nightly, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("http"))


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    with running(world.settings(embeddings=world.embeddings, **TIMEOUTS)) as client:
        yield client


def connect(client: httpx.Client, **options: int) -> socket.socket:
    made = socket.socket()
    for name, value in options.items():
        made.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    made.settimeout(60)
    made.connect((client.base_url.host, client.base_url.port))
    return made


def answers(client: httpx.Client, sent: bytes) -> bytes:
    """All that comes back until the server has closed the connection."""
    parts = []
    with connect(client) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


TCP_REPAIR = 19
BODY = b'{"nodes": [105]}'
POST = b"POST /v1/nodes/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
GET = b"GET /health/live HTTP/1.1\r\nhost: x\r\n"
HIDDEN = b"GET /v1/graph HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "allowed"),
    [
        (POST + b"content-length: 16\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
        (POST + b"transfer-encoding: chunked\r\ncontent-length: 16\r\n\r\n0\r\n\r\n", {400}),
        (POST + b"content-length: 16\r\ncontent-length: 16\r\n\r\n" + BODY, {400}),
        (POST + b"content-length: 16, 16\r\n\r\n" + BODY, {400}),
        (POST + b"content-length: +16\r\n\r\n" + BODY, {400}),
        (POST + b"content-length: 0x10\r\n\r\n" + BODY, {400}),
        (POST + b"content-length: 99999999999999999999\r\n\r\n", {400, 413}),
        (POST + b"transfer-encoding: xchunked\r\n\r\n" + BODY, {400}),
        (POST + b"transfer-encoding: chunked, identity\r\n\r\n" + BODY, {400}),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", {400}),
        (POST + b"transfer-encoding: chunked\r\n\r\n-1\r\n", {400}),
        (POST + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", {400}),
        (GET + b"x: 1\r\n 2\r\n\r\n", {400}),
        (GET + b"x : 1\r\n\r\n", {400}),
        (GET + b"x\x00: 1\r\n\r\n", {400}),
        (GET + b"x: a\x00b\r\n\r\n", {400}),
        (GET + b"\r\n".join(b"x%d: 1" % i for i in range(10_000)) + b"\r\n\r\n", {431}),
        (b"GET /health/live\r\n\r\n", {200, 400}),
        (b"get /health/live HTTP/1.1\r\n\r\n", {400, 405}),
        (b"GET  /health/live HTTP/1.1\r\n\r\n", {200, 400, 404}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n", {400, 404, 405}),
    ],
)
def test_what_could_smuggle_a_request_is_refused_and_hides_none(client, sent: bytes, allowed):
    got = statuses(answers(client, sent + HIDDEN))
    assert got[:1], "no answer"
    assert set(got[:1]) <= allowed, got
    if got[0] == 400:
        assert len(got) == 1, "what stood behind was answered"
    assert client.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    "host", [b"", b"a b", b"x/y", b"\xff", b"x" * 5000, b"[::1", b"x:99999999"]
)
def test_a_strange_host_changes_nothing(client: httpx.Client, host: bytes):
    sent = b"GET /v1/graph HTTP/1.1\r\nhost: " + host + b"\r\nconnection: close\r\n\r\n"
    answer = answers(client, sent)
    assert statuses(answer)[0] in (200, 400)
    assert host == b"" or host not in answer


def test_a_hundred_requests_in_one_piece_are_answered_in_order(client: httpx.Client):
    one = b"GET /v1/graph/nodes/%d HTTP/1.1\r\nhost: x\r\n\r\n"
    sent = b"".join(one % (100 + i) for i in range(100)) + HIDDEN
    answer = answers(client, sent)
    assert statuses(answer) == [200] * 101
    places = [answer.index(b'"node":%d,' % (100 + i)) for i in range(100)]
    assert places == sorted(places)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_body_of_exactly_the_limit_is_read_and_a_byte_more_is_not(client, over: int):
    size = (8 << 20) + over
    body = BODY + b" " * (size - len(BODY))
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for part in (body[i : i + (1 << 18)] for i in range(0, size, 1 << 18))
    )
    head = POST + b"connection: close\r\n"
    whole = head + b"content-length: %d\r\n\r\n" % size + body
    pieces = head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    # who is still sending when refused may see the connection reset before the answer
    wanted = [[413], []] if over > 0 else [[200]]
    for sent in (whole, pieces):
        assert statuses(answers(client, sent)) in wanted
        assert client.get("/health/live").status_code == 200


def test_a_body_that_will_be_too_large_is_refused_before_it_is_sent(client: httpx.Client):
    with connect(client) as connection:
        began = time.monotonic()
        connection.sendall(POST + b"content-length: %d\r\n\r\n" % ((8 << 20) + 1))
        assert statuses(connection.recv(65536)) == [413]
        assert time.monotonic() - began < 1


def test_a_hundred_thousand_ids_are_refused_by_number(client: httpx.Client):
    response = client.post("/v1/nodes/predict", json={"nodes": list(range(100_000))})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "limit_exceeded")
    assert problem["limit"] == 10_000 < problem["got"]


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
URLS = [
    "/", "*", "//", "/%00", "/docs", "/metrics", "/health/ready", "/page/../main.js", "/v1/graph",
    "/v1/graph/nodes/105", "/v1/graph/nodes/%ff/neighbors?limit=-1", "/v1/models/..%2f..",
    "/v1/models/default/map/points", "/v1/nodes/predict", "/v1/links/predict?a=b",
    "/v1/jobs?limit=1e9", "/v1/jobs/%0d%0a/result", "/v1/aliases/x;y", "/v2/models/default/infer",
    "http://elsewhere.example/v1/graph",
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_address_is_answered(client: httpx.Client, method: str):
    for url in URLS:
        for body in (b"", BODY):
            head = f"{method} {url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            got = statuses(answers(client, head.encode() + body))
            assert got, (method, url)
            assert 200 <= got[0] < 500, (method, url, got)
    assert client.get("/health/live").status_code == 200


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=nightly)])
def test_a_thousand_wrong_keys_a_second_shut_nobody_out(world: World, seconds: int):
    secret, line = new_key("tests", ["read"])
    wrong = b"GET /v1/graph HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\n\r\n"
    settings = world.settings(api_keys=line, wrong_keys_per_minute=30)
    with running(settings) as client, connect(client) as connection:
        got = list[int]()
        for _ in range(10 * seconds):
            began = time.monotonic()
            connection.sendall(wrong * 100)
            got += answered(connection, 100)
            right = client.get("/v1/graph", headers={"x-api-key": secret})
            assert right.status_code == 200
            time.sleep(max(0.0, began + 0.1 - time.monotonic()))
        assert len(got) == 1000 * seconds
        assert set(got) == {401, 429}
        assert got.count(401) <= 30 + seconds


def answered(connection: socket.socket, count: int) -> list[int]:
    """The statuses of the next answers on a connection that stays open."""
    got = b""
    while got.count(b'"request_id"') < count:
        part = connection.recv(65536)
        assert part, "the connection was closed"
        got += part
    return statuses(got)


def fuzz(client: httpx.Client, cases: range) -> set[int]:
    """Send damaged requests; which statuses came. None may fail, hang, or stop the server."""
    samples = [
        POST + b"connection: close\r\ncontent-length: 16\r\n\r\n" + BODY,
        POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n10\r\n" + BODY
        + b"\r\n0\r\n\r\n",
        b"GET /v1/graph/nodes/105/neighbors?limit=3 HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"DELETE /v1/jobs/00000000000000000000000000000000 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/jobs?limit=5&state=done HTTP/1.1\r\nhost: x\r\nrange: bytes=0-5\r\n\r\n",
    ]  # fmt: skip
    pieces = [b"\r\n", b"\0", b":", b" ", b"\t", b"chunked", b"-1", b"9" * 30, b"%00", b"\xff",
              b"HTTP/1.1", b"content-length: 5\r\n", b"{", b"[", b'"']  # fmt: skip
    seen = set[int]()
    for number in cases:
        rng = np.random.default_rng(number)
        sent = bytearray(samples[rng.integers(len(samples))])
        for _ in range(rng.integers(1, 5)):
            place = int(rng.integers(len(sent) + 1))
            piece = pieces[rng.integers(len(pieces))]
            width = int(rng.integers(3)) * len(piece)
            sent[place : place + width] = piece
        with connect(client) as connection, suppress(ConnectionError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            got = b""
            while part := connection.recv(65536):
                got += part
            seen |= {status for status in statuses(got) if 100 <= status < 600}
            assert b"Traceback" not in got, sent
    assert client.get("/health/live").status_code == 200
    return seen


@pytest.mark.parametrize("count", [300, pytest.param(MANY, marks=nightly)])
def test_damaged_requests_are_refused_politely(client: httpx.Client, count: int):
    seen = fuzz(client, range(count))
    assert {200, 400} <= seen
    assert not seen & {500, 502}, seen


DAWDLERS = {
    "idle": (b"", b""),
    "header": (b"GET /health/live HTTP/1.1\r\n", b"x: y\r\n"),
    "body": (POST + b"content-length: 5000\r\n\r\n", b" "),
}


@pytest.mark.parametrize(("count", "readers"), [(20, 2), pytest.param(500, 500, marks=nightly)])
def test_slow_clients_of_every_kind_are_all_cut_off(client: httpx.Client, count: int, readers: int):
    before = handles(client)
    with ExitStack() as stack, selectors.DefaultSelector() as open_ones:
        for start, drip in DAWDLERS.values():
            for _ in range(count):
                connection = stack.enter_context(connect(client))
                connection.sendall(start)
                connection.setblocking(False)
                open_ones.register(connection, selectors.EVENT_READ, drip)
        slow_readers(client, stack, readers)
        ends = time.monotonic() + 120
        while open_ones.get_map():
            assert time.monotonic() < ends, f"{len(open_ones.get_map())} are still connected"
            time.sleep(0.1)
            drip_and_drop(open_ones)
            assert client.get("/v1/graph").status_code == 200
        wait_for(lambda: handles(client) <= before + 5, 60)


def slow_readers(client: httpx.Client, stack: ExitStack, count: int) -> None:
    """Clients that ask for megabytes and read nothing of them."""
    nodes = json.dumps({"nodes": list(range(100, 1600)) * 6, "include": ["embedding"]}).encode()
    ask = POST + b"content-length: %d\r\n\r\n%s" % (len(nodes), nodes)
    for _ in range(count):
        reader = stack.enter_context(connect(client, SO_RCVBUF=4096))
        reader.sendall(ask)


def drip_and_drop(open_ones: selectors.BaseSelector) -> None:
    """Send a little more on each connection, and forget those that were closed."""
    for key in list(open_ones.get_map().values()):
        connection = key.fileobj
        assert isinstance(connection, socket.socket)
        try:
            if key.data:
                connection.send(key.data)
            if connection.recv(65536) == b"":
                open_ones.unregister(connection)
        except BlockingIOError:
            continue
        except OSError:
            open_ones.unregister(connection)


VANISHED = {"unsent": b"", "header": POST, "body": POST + b"content-length: 5000\r\n\r\n{",
            "answer": GET + b"\r\n"}  # fmt: skip


@pytest.mark.parametrize("sent", VANISHED.values(), ids=list(VANISHED))
@pytest.mark.parametrize("silently", [False, True])
def test_peers_that_vanish_leave_nothing_behind(client: httpx.Client, sent: bytes, silently: bool):
    """A reset, or not even that: the server is not told that the other side is gone."""
    before = handles(client)
    for _ in range(20):
        connection = connect(client)
        connection.sendall(sent)
        if silently:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            except PermissionError:
                connection.close()
                missing = "without CAP_NET_ADMIN no socket can be dropped in silence"
                pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    wait_for(lambda: handles(client) <= before + 1, 30)
    assert client.get("/v1/graph").status_code == 200


def handles(client: httpx.Client) -> int:
    return psutil.Process(client.process.pid).num_fds()  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=nightly)])
def test_clients_that_leave_free_their_places(world: World, count: int):
    settings = world.settings(cache_bytes=0, max_batch_cost_edges=200)
    body = json.dumps({"nodes": list(range(100, 400)), "mode": "exact"}).encode()
    ask = POST + b"content-length: %d\r\n\r\n%s" % (len(body), body)
    with running(settings) as client:
        assert client.get("/health/live").status_code == 200
        before = handles(client)
        for _ in range(count):
            with connect(client) as connection:
                connection.sendall(ask)
        wait_for(lambda: client.get("/health/ready").json()["checks"]["queue"]["waiting"] == 0)
        wait_for(lambda: handles(client) <= before + 3)
        assert client.post("/v1/nodes/predict", json={"nodes": [105]}).status_code == 200
        assert 'status="500"' not in client.get("/metrics").text
