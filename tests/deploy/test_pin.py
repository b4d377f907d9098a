"""`make pin`: digests of a registry and the hash of an index become what builds are made from."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
WHEEL_SHA = "ab" * 32


class Registry(BaseHTTPRequestHandler):
    """One that wants a token, and an index of wheels beside it."""

    def do_HEAD(self) -> None:
        address = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        path = self.path.split("/")
        scope = f"repository:{'/'.join(path[2:-2])}:pull"
        if self.headers.get("authorization") != f"Bearer for-{scope}":
            self.send_response(401)
            challenge = f'Bearer realm="{address}/token",service="s",scope="{scope}"'
            self.send_header("www-authenticate", challenge)
        else:
            self.send_response(200)
            self.send_header("docker-content-digest", digest(self.path))
        self.end_headers()

    def do_GET(self) -> None:
        if self.path.startswith("/token?service=s&scope="):
            body = json.dumps({"token": "for-" + self.path.split("scope=")[1]})
        else:
            machine, torch = os.uname().machine, version()
            body = "".join(
                f'<a href="torch-{torch}%2Bcpu-{python}-manylinux_2_28_{cpu}.whl#sha256={sha}">'
                for python, cpu, sha in [
                    ("cp310-cp310", machine, "00" * 32), ("cp311-cp311", "other", "11" * 32),
                    ("cp311-cp311", machine, WHEEL_SHA),
                ]
            )  # fmt: skip
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


def digest(path: str) -> str:
    return "sha256:" + hashlib.sha256(path.encode()).hexdigest()


def version() -> str:
    found = re.search(r"^ARG TORCH=torch==(\S+)$", (ROOT / "docker/Dockerfile").read_text(), re.M)
    assert found
    return found[1]


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pin(out: Path, url: str) -> subprocess.CompletedProcess[str]:
    given = {"REGISTRY": url, "TORCH_INDEX": f"{url}/whl", "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, "-I", ROOT / "scripts/pin.py", out], env=os.environ | given,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_image_gets_the_digest_of_its_tag_and_torch_its_hash(url: str, tmp_path: Path):
    done = pin(tmp_path / "pins.env", url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "pins.env").read_text().splitlines()[1:]
    pins = dict(line.split("=", 1) for line in lines)
    assert pins.keys() == {
        "BASE", "REDIS_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE", "TORCH_SHA256",
    }  # fmt: skip
    assert pins["BASE"] == (
        "docker.io/library/python:3.11-slim-bookworm@"
        + digest("/v2/library/python/manifests/3.11-slim-bookworm")
    )
    assert pins["TORCH_SHA256"] == WHEEL_SHA


def test_without_a_registry_nothing_is_written(tmp_path: Path):
    done = pin(tmp_path / "pins.env", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("nothing was pinned: ")
    assert not (tmp_path / "pins.env").exists()


@pytest.mark.parametrize("given", [{}, {"BASE": "mine"}, {"TORCH_INDEX": "http://i"}])
def test_a_build_takes_what_was_pinned_unless_it_is_told_otherwise(
    tmp_path: Path, given: dict[str, str]
):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "docker").mkdir()
    (tmp_path / "scripts/image.sh").write_bytes((ROOT / "scripts/image.sh").read_bytes())
    (tmp_path / "pyproject.toml").write_text('version = "1"\n')
    (tmp_path / "docker/pins.env").write_text(
        f"# made\nBASE=b@sha256:1\nTORCH_SHA256={WHEEL_SHA}\n"
    )
    engine = tmp_path / "docker-engine/docker"
    engine.parent.mkdir()
    engine.write_text('#!/bin/sh\n[ "$1" != build ] || echo "$@"\n')
    engine.chmod(0o755)
    environment = {"PATH": f"{engine.parent}:{os.environ['PATH']}", **given}
    done = subprocess.run(
        ["bash", tmp_path / "scripts/image.sh"], env=environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert f"BASE={given.get('BASE', 'b@sha256:1')}" in done.stdout
    assert (f"TORCH_SHA256={WHEEL_SHA}" in done.stdout) == ("TORCH_INDEX" not in given)
