"""What the image is made from: the Dockerfile, its scripts, the lock files and the compose file."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tomllib
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKER = ROOT / "docker"
LOCKS = ("constraints.txt", "docker/requirements.txt", "docker/load-requirements.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHOSEN_BY_USERS = {"torch", "dgl"}


def test_the_linter_of_dockerfiles_has_nothing_to_say():
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", DOCKER / "Dockerfile"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_builds_with_old_engines():
    text = (DOCKER / "Dockerfile").read_text()
    assert not re.search(r"^# *syntax=", text, re.MULTILINE)
    assert "<<" not in text


def test_the_build_sees_every_file_that_it_copies():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
               if line.startswith("!")}  # fmt: skip
    text = (DOCKER / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
              for word in line.split()[:-1] if not word.startswith("--")]  # fmt: skip
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert path.split("/")[0] in allowed, path


# --- the check of health ----------------------------------------------------------------------


def health(**environment: str) -> int:
    return subprocess.run(
        [sys.executable, "-I", "-S", DOCKER / "health.py"],
        env=os.environ | environment, check=False,
    ).returncode  # fmt: skip


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_health_is_what_the_server_answers(status: int, code: int):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 500)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert health(GNN_PORT=str(server.server_port)) == code
        thread.join()


def test_nobody_home_is_not_healthy(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        assert health(GNN_PORT=str(taken.getsockname()[1])) == 1
    assert health(GNN_UDS=str(tmp_path / "none.sock")) == 1


# --- lock files -------------------------------------------------------------------------------


@cache
def locked(name: str) -> dict[str, list[Requirement]]:
    """The pins of a lock file; a name has several where they depend on the Python."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        text = line.split("--hash")[0].strip()
        if text and not text.startswith("#"):
            requirement = Requirement(text)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def wanted(*groups: str) -> list[Requirement]:
    """What pyproject.toml asks for: `""` is the package, then extras and dependency groups."""
    extras, own = PROJECT["project"]["optional-dependencies"], PROJECT["dependency-groups"]
    lines = []
    for group in groups:
        lines += PROJECT["project"]["dependencies"] if not group else extras.get(group, [])
        lines += [line for line in own.get(group, []) if isinstance(line, str)]
    return [Requirement(line) for line in lines]


def version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("requirement", wanted(
    "", *PROJECT["project"]["optional-dependencies"], *PROJECT["dependency-groups"]), ids=str,
)  # fmt: skip
def test_the_constraints_keep_what_the_project_asks_for(requirement: Requirement):
    name = canonicalize_name(requirement.name)
    if name == "torch":
        assert name not in locked("constraints.txt")
        return
    pins = locked("constraints.txt").get(name, [])
    assert pins, "run `make lock`"
    assert all(version(pin) in requirement.specifier for pin in pins), "run `make lock`"


def test_the_image_installs_what_serving_needs_with_the_versions_that_are_tested():
    image, tested = locked("docker/requirements.txt"), locked("constraints.txt")
    needed = {canonicalize_name(r.name) for r in wanted("", "redis", "similar")} - CHOSEN_BY_USERS
    assert needed <= image.keys()
    assert not image.keys() & CHOSEN_BY_USERS
    for name, pins in image.items():
        if name in tested:
            assert {version(p) for p in pins} == {version(p) for p in tested[name]}, name


@pytest.mark.parametrize("name", ["docker/requirements.txt", "docker/load-requirements.txt"])
def test_every_package_of_an_image_has_hashes(name: str):
    entries = (ROOT / name).read_text().replace("\\\n", " ").splitlines()[1:]
    assert entries
    assert [
        e for e in entries if e.strip() and not re.search(r"--hash=sha256:[0-9a-f]{64}", e)
    ] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_says_nothing_of_where_it_was_made(name: str):
    assert not re.search(r"https?:|file:|index-url|find-links|@ ", (ROOT / name).read_text())


def test_the_dockerfile_takes_the_torch_that_is_tested():
    given = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert given
    asked = re.findall(r"^ARG TORCH=(\S+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert asked
    assert set(asked) == {given[1]}


# --- docker-compose.yml -----------------------------------------------------------------------

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
every_service = pytest.mark.parametrize("name", sorted(COMPOSE["services"]))


@every_service
def test_every_container_is_confined(name: str):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert "pids_limit" in service
    assert "privileged" not in service
    assert "healthcheck" in service or name in ("service", "green", "worker", "load")


@every_service
def test_nothing_listens_beyond_loopback(name: str):
    for port in COMPOSE["services"][name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@every_service
def test_settings_are_ones_that_the_service_has(name: str):
    known = {f"GNN_{field.upper()}" for field in Settings.model_fields}
    given = COMPOSE["services"][name].get("environment", {})
    assert {key for key in given if key.startswith("GNN_")} <= known


def test_what_needs_no_way_out_has_none():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("worker", "redis", "load"):
        assert COMPOSE["services"][name]["networks"] == ["inside"]
    for name in ("demo", "gnn"):
        assert COMPOSE["services"][name]["network_mode"] == "none"


def test_the_redis_never_gives_up_a_job():
    command = COMPOSE["services"]["redis"]["command"][0]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy volatile-lru" in command
    assert "--requirepass" not in command  # where a list of processes would show it


def test_what_is_mounted_from_the_tree_is_there():
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and name != "load":
                assert (ROOT / source).exists(), source
            elif not source.startswith("./"):
                assert source in COMPOSE["volumes"], source
