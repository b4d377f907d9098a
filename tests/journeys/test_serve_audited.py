"""A server that is watched from inside: what it opens, unpickles and connects to.

A hook of the interpreter (PEP 578), put in by `sitecustomize`, writes every such event of the
serving process to a file. Canaries are payloads that would create a file if anyone unpickled them.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from redis import Redis
from redisserver import RedisServer, redis_server

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from fuzz.victims import sign_model
from world import ROOT, World, add_model, make_world, running

HOOK = """
import os, sys
_events = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
def _note(event, args):
    if event in ("open", "pickle.find_class", "socket.connect"):
        told = args[1:] if event == "socket.connect" else args[:1]
        os.write(_events, (event + " " + " ".join(map(str, told)) + "\\n").encode(errors="replace"))
sys.addaudithook(_note)
"""
TRICKS = [
    "../../secret", "..%2f..%2fsecret", "%252e%252e/secret", "..\\..\\secret", "....//secret",
    "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "C:\\secret", "\u2025/secret",
    "..\u2215..\u2215secret", "secret\0.png", "default/../../secret", "link", "x" * 3000, "CON",
    ".", "..", "~", "~root/.ssh/id_rsa", "http://192.0.2.1/model", "default\n/../secret",
]  # fmt: skip
INSTALLED = (sys.prefix, sys.base_prefix, str(ROOT), "/usr/lib", "/usr/share/zoneinfo")
SYSTEM = ("/proc/", "/sys/", "/dev/null", "/dev/shm/", "/dev/urandom")


class Canary:
    """What creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the events of every Python that is started from now on are written."""
    log, site = tmp_path / "events.txt", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HOOK.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{ROOT}")
    return log


def payload(canary: Path) -> bytes:
    """The bytes; that they would work is tried."""
    content = pickle.dumps(Canary(canary))
    pickle.loads(content)
    assert canary.is_file()
    canary.unlink()
    return content


def object_array(content: bytes) -> bytes:
    """A `.npy` of objects: a header and a pickle."""
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def asked(client: httpx.Client) -> None:
    """Normal requests, and tricks wherever a name may stand."""
    for node in (105, 106):
        for mode in ("auto", "exact", "sampled"):
            body = {"nodes": [node], "mode": mode}
            assert client.post("/v1/nodes/predict", json=body).status_code == 200
    job = client.post("/v1/jobs", json={"nodes": [105]}).json()["id"]
    for trick in TRICKS:
        name = quote(trick, safe="").replace(".", "%2E")
        for path in ("v1/models", "v1/graph/nodes", "v1/jobs", "page", "v2/models"):
            for end in ("", "/result", "/map", "/versions/1"):
                status = client.get(f"/{path}/{name}{end}").status_code
                assert status in (400, 404, 422, 431), (path, trick)
        route = {"model": trick[:64], "version": 1}
        answers = [
            client.put(f"/v1/aliases/{name}", json=route),
            client.put("/v1/aliases/x", json=route),
            client.post("/v1/nodes/predict", json={"nodes": [105], "model": trick}),
            client.post("/v1/jobs", json={"kind": "embed", "model": trick}),
            client.post(f"/v2/repository/models/{name}/load", json={}),
        ]
        assert {a.status_code for a in answers} <= {400, 404, 422, 431}, trick
    assert client.get(f"/v1/jobs/{job}/result").status_code == 409, "a worker runs it, not this"


def test_requests_open_connect_and_unpickle_nothing_else(
    tmp_path: Path, log: Path, redis: RedisServer
):
    world, canary = make_world(tmp_path / "data", num_edges=2000), tmp_path / "canary"
    content = payload(canary)
    (tmp_path / "secret").write_text("secret")
    (world.models / "link").symlink_to(tmp_path)
    settings = world.settings(
        redis_url=redis.url, cache_bytes=0, open_admin=True, models_poll_s=0.2,
        jobs=tmp_path / "data" / "jobs", embeddings=world.embeddings,
    )  # fmt: skip
    with running(settings) as client:
        client.post("/v1/nodes/predict", json={"nodes": [105, 106, 107], "mode": "exact"})
        begins = len(log.read_text())
        poison(world, redis, content)
        asked(client)
        body = {"nodes": [105, 106, 107], "mode": "exact"}
        answer = client.post("/v1/nodes/predict", json=body).json()
        assert answer["model_version"] == 1
        events = log.read_text()[begins:].splitlines()
    assert not canary.exists()
    assert any(event.startswith("open ") for event in events), "the hook sees something"
    assert strange(events, tmp_path / "data", redis.port) == []


def poison(world: World, redis: RedisServer, content: bytes) -> None:
    """Payloads in the place of everything that is read while serving."""
    with Redis(port=redis.port) as store:
        ends = time.monotonic() + 10
        while not (keys := list(store.scan_iter())):
            assert time.monotonic() < ends
            time.sleep(0.05)
        for key in keys:
            store.set(key, content)
    path = add_model(world.models / "default", world.data, seed=9)
    (path / "weights.safetensors").write_bytes(content)
    (path / "weights.pt").write_bytes(content)
    sign_model(path)
    (world.models / "default" / "evil.npy").write_bytes(object_array(content))


def strange(events: list[str], data: Path, port: int) -> list[str]:
    """Events that no request should cause."""
    allowed = (str(data), *INSTALLED, *SYSTEM)
    found = []
    for event in events:
        kind, _, told = event.partition(" ")
        is_ours = told.isdigit() or os.path.normpath(told).startswith(allowed)  # or a descriptor
        is_redis = told == f"('127.0.0.1', {port})"
        if not {"open": is_ours, "socket.connect": is_redis}.get(kind, False):
            found.append(event)
    return found


def test_an_array_of_objects_in_a_graph_is_refused_and_not_unpickled(tmp_path: Path, log: Path):
    world, canary = make_world(tmp_path / "data", num_edges=500), tmp_path / "canary"
    graph = tmp_path / "data" / "other"
    shutil.copytree(world.graph, graph)
    for path in graph.glob("*.npy"):
        size = path.stat().st_size  # as long as the manifest says
        path.write_bytes(object_array(payload(canary)).ljust(size, b"\0"))
    command = [sys.executable, "-m", "service.cli", "serve", "--graph", str(graph), "--models",
               str(world.models), "--port", "0"]  # fmt: skip
    for verify in ("true", "false"):
        given = {**os.environ, "GNN_VERIFY_GRAPH": verify}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=given)
        assert done.returncode == 2, done.stderr
        assert ".npy" in done.stderr
        assert "Traceback" not in done.stderr
    assert not canary.exists()
    assert "pickle.find_class posix" not in log.read_text()
