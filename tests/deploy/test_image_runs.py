"""The image is built and the stack of docker-compose.yml runs, as a person would do it.

That takes a quarter of an hour, so it is for the night.

Needs a container engine: one that `docker` reaches, or Debian and root for scripts/engine.sh. Where
no image registry can be reached, bases are made of Debian's packages, which stand in for Python's,
Redis' and Prometheus' own images.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "gnn-service:tested"
SERVICES = ("demo", "service", "worker", "redis", "prometheus")
STAND_INS = {
    "REDIS_IMAGE": """FROM gnn-base:debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server \
 && mkdir -p /data && chown 999:999 /data
VOLUME /data
""",
    "PROMETHEUS_IMAGE": """FROM gnn-base:debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus \
 && mkdir -p /prometheus && chown 65534:65534 /prometheus
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
""",
}


def run(*command: str, environment: dict[str, str], **given: Any) -> str:
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, **given
    )
    assert done.returncode == 0, (
        f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


@pytest.fixture(scope="module")
def engine() -> Iterator[dict[str, str]]:
    """The environment in which `docker` reaches an engine."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GNN_"}
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        yield environment
        return
    said = run("scripts/engine.sh", "start", environment=environment)
    search = environment["PATH"]
    for name, value in re.findall(r"(\w+)=(\S+)", said):
        environment[name] = value.replace("$PATH", search)
    yield environment
    run("scripts/engine.sh", "stop", environment=environment)


@pytest.fixture(scope="module")
def images(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment for docker compose, once the images are there."""
    pulls = ["docker", "pull", "--quiet", "docker.io/library/python:3.11-slim-bookworm"]
    has_registry = (
        subprocess.run(pulls, env=engine, capture_output=True, check=False).returncode == 0
    )
    given = engine | {"IMAGE": IMAGE}
    if not has_registry:
        wheels = tmp_path_factory.mktemp("wheels")
        torch = re.search(r"torch==\S+", (ROOT / "Makefile").read_text())
        assert torch
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels),
            torch[0], environment=given)  # fmt: skip
        given |= {"BASE": "debian", "TORCH_WHEELS": str(wheels)}
    if bundle := os.environ.get("SSL_CERT_FILE"):
        given["CA_BUNDLE"] = bundle
    run("make", "image", environment=given)
    if not has_registry:
        for name, dockerfile in STAND_INS.items():
            given[name] = f"gnn-stand-in:{name.lower()}"
            run("docker", "build", "--network", "host", "--tag", given[name], "-",
                environment=given, input=dockerfile)  # fmt: skip
    return given | {"GNN_IMAGE": IMAGE}


@dataclass(frozen=True)
class Stack:
    """What runs: how to reach it, and docker compose for it."""

    environment: dict[str, str]
    url: str
    prometheus: str

    def compose(self, *words: str) -> str:
        return run("docker", "compose", *words, environment=self.environment)

    def up(self) -> None:
        self.compose("up", "--detach", "--wait", *SERVICES)

    def inside(self, service: str, script: str) -> str:
        return self.compose("exec", "-T", service, "sh", "-c", script)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30)


@pytest.fixture(scope="module")
def stack(images: dict[str, str]) -> Iterator[Stack]:
    ports = [free_port(), free_port()]
    given = images | {
        "COMPOSE_PROJECT_NAME": f"gnn-test-{os.getpid()}",
        "GNN_PUBLISHED_PORT": str(ports[0]),
        "PROMETHEUS_PUBLISHED_PORT": str(ports[1]),
    }
    stack = Stack(given, *(f"http://127.0.0.1:{port}" for port in ports))
    try:
        stack.up()
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_so: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


# --- what runs ---------------------------------------------------------------------------------


def test_an_empty_volume_answers_with_predictions_of_the_demo(stack: Stack):
    response = stack.post("/v1/nodes/predict", nodes=[0, 17])
    assert response.status_code == 200, response.text
    found = response.json()["predictions"]
    assert [entry["node"] for entry in found] == [0, 17]
    assert [entry["label"] for entry in found] == [0, 7]  # what the images show


def test_the_console_is_part_of_the_image(stack: Stack):
    page = stack.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


def test_starting_it_again_changes_nothing(stack: Stack):
    before = stack.get("/v1/graph").json()["fingerprint"]
    stack.up()
    assert stack.get("/v1/graph").json()["fingerprint"] == before
    assert stack.get("/health/ready").json()["checks"]["models"] == {"digits": 1}


@pytest.mark.parametrize("service", ["service", "worker"])
def test_a_container_is_nobody_and_may_write_nothing(stack: Stack, service: str):
    assert stack.inside(service, "id -u").strip() == "10001"
    for path in ("/", "/opt/gnn", "/data/graphs", "/data/models"):
        refused = stack.inside(service, f"touch {path}/x 2>&1 || true")
        assert "Read-only file system" in refused
    stack.inside(service, "touch /tmp/x /data/jobs/x && rm /tmp/x /data/jobs/x")
    if service == "service":  # keeps aliases that are set at run time
        stack.inside(service, "touch /data/routing/x && rm /data/routing/x")
    assert int(stack.inside(service, "grep CapEff /proc/self/status").split()[1], 16) == 0
    assert "NoNewPrivs:\t1" in stack.inside(service, "cat /proc/self/status")


def test_the_image_holds_no_compiler_and_no_certificates_of_the_build(stack: Stack):
    for program in ("cc", "gcc", "g++", "c++", "make"):
        assert stack.inside("service", f"command -v {program} || true") == ""
    assert stack.inside("service", "ls /run/secrets 2>/dev/null || true") == ""
    assert "PIP_CERT" not in stack.inside("service", "env")


def test_a_job_goes_through_the_worker_and_its_table_is_served(stack: Stack):
    made = stack.post("/v1/jobs", kind="embed", publish=True)
    assert made.status_code == 202, made.text
    job = made.json()["id"]
    wait_until(lambda: stack.get(f"/v1/jobs/{job}").json()["state"] not in ("queued", "running"))
    assert stack.get(f"/v1/jobs/{job}").json()["state"] == "done"
    wait_until(lambda: f'table="{job}"' in stack.get("/metrics").text)
    answer = stack.post("/v1/nodes/predict", nodes=[17]).json()["predictions"][0]
    assert (answer["source"], answer["label"]) == ("table", 7)


def test_prometheus_scrapes_and_every_query_of_ours_is_one(stack: Stack):
    def query(expr: str) -> list[dict[str, Any]]:
        response = httpx.get(f"{stack.prometheus}/api/v1/query", params={"query": expr})
        assert response.status_code == 200, (expr, response.text)
        found: list[dict[str, Any]] = response.json()["data"]["result"]
        return found

    wait_until(lambda: any(r["value"][1] == "1" for r in query('up{job="gnn"}')))
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/gnn-service.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$job", "gnn").replace("$instance", ".*")
            query(expr.replace("$__rate_interval", "1m"))
    groups = httpx.get(f"{stack.prometheus}/api/v1/rules").json()["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}


def test_a_dead_redis_costs_no_prediction_and_comes_back(stack: Stack):
    stack.compose("kill", "--signal", "KILL", "redis")
    assert stack.post("/v1/nodes/predict", nodes=[17], mode="exact").status_code == 200
    assert stack.get("/health/ready").status_code == 200
    stack.compose("up", "--detach", "--wait", "redis")
    wait_until(lambda: stack.get("/v1/jobs").status_code == 200)
    assert stack.get("/v1/jobs").json()["jobs"] != []  # the append-only file kept them


# --- one service at a time is killed, restarted and paused: up again within half a minute --------

HEALTHY_S = 30
BROKEN = ("service", "worker", "redis", "prometheus")


def kill(stack: Stack, name: str) -> None:
    stack.compose("kill", "--signal", "KILL", name)


def restart(stack: Stack, name: str) -> None:
    stack.compose("restart", "--timeout", "40", name)


def pause(stack: Stack, name: str) -> None:
    """For so long that checks of health notice."""
    stack.compose("pause", name)
    time.sleep(15)
    stack.compose("unpause", name)


def is_up(stack: Stack) -> bool:
    """Whether all are healthy; compose does not wait for what is still ill from before."""
    try:
        stack.up()
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("fault", [kill, restart, pause], ids=lambda fault: str(fault.__name__))
@pytest.mark.parametrize("name", BROKEN)
def test_a_service_that_fails_is_healthy_within_half_a_minute(
    stack: Stack, name: str, fault: Callable[[Stack, str], None]
):
    fault(stack, name)
    wait_until(lambda: is_up(stack), HEALTHY_S)
    assert stack.post("/v1/nodes/predict", nodes=[17]).json()["predictions"][0]["label"] == 7
    wait_until(lambda: stack.get("/v1/jobs").status_code == 200, HEALTHY_S)
    made = stack.post("/v1/jobs", kind="predict", nodes=[17])
    assert made.status_code == 202, made.text
    job = f"/v1/jobs/{made.json()['id']}"
    wait_until(lambda: stack.get(job).json()["state"] == "done", HEALTHY_S)


@pytest.mark.parametrize("name", ["worker", "redis", "prometheus"])
def test_a_pause_of_anything_else_costs_no_prediction(stack: Stack, name: str):
    stack.compose("pause", name)
    try:
        for _ in range(5):
            answer = stack.post("/v1/nodes/predict", nodes=[17], mode="exact")
            assert answer.status_code == 200, answer.text
            time.sleep(0.5)
    finally:
        stack.compose("unpause", name)
    wait_until(lambda: is_up(stack), HEALTHY_S)


def test_what_it_is_asked_before_a_release_is_answered(stack: Stack):
    said = run("scripts/image-test.sh", IMAGE, environment=stack.environment)
    assert "answers are right" in said


def test_a_stop_is_a_clean_end(stack: Stack):
    stack.compose("stop", "service")
    container = stack.compose("ps", "--all", "--quiet", "service").strip()
    state = json.loads(run("docker", "inspect", container, environment=stack.environment))[0]
    assert state["State"]["ExitCode"] == 0
    stack.up()
    assert stack.post("/v1/nodes/predict", nodes=[0]).status_code == 200


def test_without_keys_the_image_refuses_to_be_open(stack: Stack):
    done = subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--network", "none", IMAGE,
         "serve", "--graph", "/data/graphs/none"],
        env=stack.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "API keys" in done.stderr


def test_the_bill_of_materials_names_what_runs(stack: Stack, tmp_path: Path):
    path = tmp_path / "sbom.json"
    run("scripts/sbom.sh", IMAGE, str(path), environment=stack.environment)
    names = {one["name"] for one in json.loads(path.read_text())["components"]}
    assert {"gnn-service", "torch", "numpy", "fastapi", "redis", "libc6"} <= names
    assert not names & {"pytest", "dgl", "gcc-12", "g++"}
