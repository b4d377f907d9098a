"""The image's check of health, for a real worker: idle, at work, stopped, and going on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import DIM, ROOT, World, add_model, running

from gnn import embed, load_model
from sampling import Dataset, Graph, GraphStore

HEALTH = ROOT / "docker/health.py"
NODES = 100_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A graph that takes a worker a while, row by row."""
    root, rng = tmp_path_factory.mktemp("health"), np.random.default_rng(0)
    graph = Graph.from_edges(*rng.integers(0, NODES, (2, NODES)), num_nodes=NODES)
    rows = rng.standard_normal((NODES, DIM)).astype(np.float32)
    data = Dataset.in_memory(graph, features=rows, labels=rng.integers(0, 3, NODES))
    GraphStore.write(root / "graph", data)
    data = GraphStore.open(root / "graph")
    add_model(root / "models" / "default", data, seed=1)
    for _ in embed(load_model(root / "models" / "default"), data, root / "embeddings"):
        pass
    return World(root / "graph", root / "models", root / "embeddings", data)


@pytest.fixture
def worker(world: World, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    given = {
        "GNN_GRAPH": world.graph, "GNN_MODELS": world.models, "GNN_JOBS": tmp_path / "jobs",
        "GNN_WORKER_HEARTBEAT": tmp_path / "alive", "GNN_JOB_TILE_ROWS": 1,
    }  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GNN_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "worker"], cwd=ROOT, stderr=subprocess.DEVNULL,
        env=environment | {name: str(value) for name, value in given.items()},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_healthy(file: Path) -> bool:
    environment = {"PATH": os.environ["PATH"], "GNN_PORT": "1", "GNN_WORKER_HEARTBEAT": str(file)}
    done = subprocess.run([sys.executable, "-I", "-S", HEALTH], env=environment, check=False)
    return done.returncode == 0


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def age(file: Path) -> None:
    """Make it look as if nobody had touched it for a minute."""
    os.utime(file, (time.time() - 60,) * 2)


def test_a_worker_is_healthy_while_it_turns(worker: subprocess.Popen[bytes], tmp_path: Path):
    alive = tmp_path / "alive"
    assert not is_healthy(alive)  # it is starting
    wait_until(lambda: is_healthy(alive))
    worker.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    age(alive)
    assert not is_healthy(alive)
    worker.send_signal(signal.SIGCONT)
    wait_until(lambda: is_healthy(alive))


def test_a_long_job_is_no_illness(
    worker: subprocess.Popen[bytes], world: World, tmp_path: Path
):  # fmt: skip
    alive = tmp_path / "alive"
    with running(world.settings(jobs=tmp_path / "jobs", run_jobs=False)) as client:
        made = client.post("/v1/jobs", json={"kind": "embed"}).json()

        def state() -> str:
            return str(client.get(f"/v1/jobs/{made['id']}").json()["state"])

        wait_until(lambda: state() == "running")
        age(alive)
        wait_until(lambda: is_healthy(alive))
        assert state() == "running"  # so that the job and not the wait for one touched it


def test_a_worker_that_cannot_touch_its_file_does_not_start(world: World, tmp_path: Path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GNN_")}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "worker", "--graph", world.graph, "--models",
         world.models, "--jobs", tmp_path / "jobs"],
        env=environment | {"GNN_WORKER_HEARTBEAT": str(tmp_path / "none/alive")},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "none/alive" in done.stderr
