"""How a server opens and closes its door: addresses, keys, settings files, sockets, the way out."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import ROOT, World, make_world, running

from sampling.errors import InputError
from service.commands.serve import read_settings
from service.server import run_server
from service.sockets import unix_socket


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("doors"))


def gnn(*words: object, **environment: str) -> subprocess.Popen[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("GNN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", *map(str, words)],
        env=plain | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@contextmanager
def serving(*words: object, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `gnn serve` says, and its process."""
    process = gnn("serve", *words, **environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on "), (line, process.stderr.read())
        yield line.split()[-1], process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_an_open_address_without_keys_is_refused(world: World, host: str):
    with pytest.raises(InputError, match="no API keys are set"):
        run_server(world.settings(host=host, log_level="warning"))


def test_keys_that_cannot_be_used_stop_the_start(world: World, tmp_path: Path):
    (tmp_path / "keys.txt").write_text("# none yet\n")
    with pytest.raises(InputError, match="holds no key"):
        run_server(world.settings(api_keys_file=tmp_path / "keys.txt", log_level="warning"))


def test_a_file_of_settings_and_keys_of_the_command_line(world: World, tmp_path: Path):
    keys = tmp_path / "keys.txt"
    made = gnn("key", "me", "--scopes", "read", "--file", keys, "--json")
    secret = json.loads(made.communicate(timeout=60)[0])["key"]
    file = tmp_path / "serve.toml"
    file.write_text(
        f'graph = "{world.graph}"\nmodels = "/not/there"\nport = 0\nhost = "0.0.0.0"\n'
        f'api_keys_file = "{keys}"\nmax_neighbors = 3\nmax_ids_per_request = 7\n'
        "drain_delay_s = 0\n"
    )
    environment = {"GNN_MAX_NEIGHBORS": "4", "GNN_LOG_LEVEL": "warning"}
    with serving("--config", file, "--models", world.models, **environment) as (address, _):
        url = address.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/graph").status_code == 401
        headers = {"authorization": f"Bearer {secret}"}
        assert httpx.get(f"{url}/v1/graph", headers=headers).status_code == 200
        asked = httpx.get(f"{url}/v1/graph/nodes/100/neighbors?limit=5", headers=headers).json()
        assert asked["limit"] == 4, "the environment wins over the file"
        document = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]
        assert document["PredictRequest"]["properties"]["nodes"]["maxItems"] == 7
        denied = httpx.post(f"{url}/v1/nodes/predict", headers=headers, json={"nodes": [105]})
        assert denied.status_code == 403


def test_what_is_no_settings_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "serve.toml"
    for text, sentence in (
        ("port: 8000", "is not TOML"),
        ("prot = 8000", "'prot' is no setting"),
        ('graph = "g"\nmodels = "m"\nport = 70000', "setting port"),
        ('graph = "g"\nmodels = "m"\nredis_url = "http://:secret@x"', "setting redis"),
        ('graph = "g"', "no models was given"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=sentence) as refused:
            read_settings({}, file)
        assert "secret" not in str(refused.value)


def ask(path: Path, name: str = "/v1/graph") -> int:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        return client.get(f"http://gnn{name}").status_code


def test_a_unix_socket_answers_its_group_and_is_gone_afterwards(world: World, tmp_path: Path):
    path = tmp_path / "gnn.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    given = ("--graph", world.graph, "--models", world.models, "--workers", 2)
    with serving(*given, "--uds", path, "--log-level", "warning") as (address, _):
        assert address == f"unix:{path}"
        assert ask(path) == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(InputError, match="listens on"), unix_socket(path):
            pass
        assert ask(path) == 200
    assert not path.exists()


def test_a_path_that_cannot_be_a_socket_is_refused(world: World, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (file, tmp_path, tmp_path / "no" / "where", tmp_path / ("x" * 120)):
        with pytest.raises(InputError), unix_socket(path):
            pass
    assert file.read_text() == "mine"


@pytest.mark.parametrize("workers", [1, 2])
def test_after_sigterm_it_is_not_ready_still_answers_and_then_leaves(world: World, workers: int):
    settings = world.settings(drain_delay_s=1.0, workers=workers)
    with running(settings) as client:
        process = client.process  # type: ignore[attr-defined]
        assert client.get("/health/ready").status_code == 200
        process.send_signal(signal.SIGTERM)
        began, statuses = time.monotonic(), set()
        while time.monotonic() - began < 0.9 + 0.5 * (workers > 1):
            try:
                with httpx.Client(base_url=client.base_url) as fresh:
                    statuses.add(fresh.get("/health/ready").status_code)
                    assert fresh.get("/v1/graph").status_code == 200
            except httpx.ConnectError:
                assert time.monotonic() - began > 0.9
            time.sleep(0.02)
        assert 503 in statuses
        assert process.wait(timeout=20) == 0


def test_workers_leave_with_a_killed_main_process(world: World):
    words = "--graph", world.graph, "--models", world.models, "--port", 0, "--workers", 2
    with gnn("serve", *words) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            assert httpx.get(url + "/health/live").status_code == 200
            workers = psutil.Process(process.pid).children(recursive=True)
            assert len(workers) >= 2
        finally:
            process.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + "/health/live")


def test_a_request_that_outlasts_the_deadline_does_not_hold_the_server(world: World):
    slow = world.settings(
        max_batch_cost_edges=1, cache_bytes=0, drain_timeout_s=1, request_timeout_ms=60_000
    )
    with running(slow) as client:
        body = {"nodes": list(range(100, 1600)) * 6, "mode": "sampled"}

        def post() -> None:
            with suppress(httpx.HTTPError):
                client.post("/v1/nodes/predict", json=body)

        waiting = threading.Thread(target=post)
        waiting.start()
        time.sleep(0.3)
        began = time.monotonic()
        process = client.process  # type: ignore[attr-defined]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - began < 10
        waiting.join(timeout=10)
