"""Backup and restore, and the change from one server to another, as docs/operations.md has them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import ROOT, World, add_model, make_world, running

NODES = list(range(100, 140))


def asked(client: httpx.Client, model: str = "default") -> list[dict[str, Any]]:
    response = client.post("/v1/nodes/predict", json={"nodes": NODES, "model": model})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found


def ended(client: httpx.Client, **body: Any) -> dict[str, Any]:
    """A job that was sent, once it is done."""
    job: dict[str, Any] = client.post("/v1/jobs", json=body).json()
    deadline = time.monotonic() + 60
    while job["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    assert job["state"] == "done", job
    return job


def documented(start: str) -> str:
    """A command of the runbook's section on backups, from its first words on."""
    text = (ROOT / "docs/operations.md").read_text().split("## Backup and restore")[1]
    [line] = [line for line in text.split("## ")[0].splitlines() if line.startswith(start)]
    return line


def test_a_copy_made_while_it_serves_answers_the_same_elsewhere(tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    world = make_world(here)
    add_model(world.models / "default", world.data, seed=2)
    settings = world.settings(jobs=here / "jobs", open_admin=True)
    with running(settings) as client:
        job = ended(client, kind="embed", publish=True)
        rows = ended(client, kind="predict", nodes=NODES)
        content = client.get(f"/v1/jobs/{rows['id']}/result").content
        old = {"model": "default", "version": 1, "canary": None, "shadow": None}
        assert client.put("/v1/aliases/before", json=old).status_code == 200
        expected = asked(client), asked(client, "before")
        assert expected[0] != expected[1]
        # rows of jobs before their files
        copied = documented("python3 -c").replace("JOBS", str(here / "jobs"))
        subprocess.run(copied.replace("FILE", str(tmp_path / "rows")), shell=True, check=True)
        packed = ["tar", "-C", here, "-cf", tmp_path / "backup.tar", "graph", "models", "jobs"]
        subprocess.run(packed, check=True)
    shutil.rmtree(here)
    there.mkdir()
    subprocess.run(["tar", "-C", there, "-xf", tmp_path / "backup.tar"], check=True)
    for stale in (there / "jobs").glob("jobs.sqlite*"):
        stale.unlink()
    shutil.move(tmp_path / "rows", there / "jobs/jobs.sqlite")
    verified = [sys.executable, "-m", "service.cli", "verify", there / "graph"]
    assert subprocess.run(verified, cwd=ROOT, capture_output=True, check=False).returncode == 0
    restored = World(there / "graph", there / "models", there / "none", world.data)
    with running(restored.settings(jobs=there / "jobs", open_admin=True)) as client:
        assert f'table="{job["id"]}"' in client.get("/metrics").text
        assert (asked(client), asked(client, "before")) == expected
        listed = {one["id"]: one["state"] for one in client.get("/v1/jobs").json()["jobs"]}
        assert listed == {job["id"]: "done", rows["id"]: "done"}
        assert client.get(f"/v1/jobs/{rows['id']}/result").content == content
        assert ended(client, kind="predict", nodes=NODES)["result"]["rows"] == len(NODES)


class Asking(threading.Thread):
    """Asks without a pause; where one server refuses the connection, the other, as a proxy does."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__(daemon=True)
        self.urls, self.stopped = urls, threading.Event()
        self.statuses: list[int] = []
        self.versions: list[int] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            for url in list(self.urls):
                try:
                    answer = httpx.post(
                        f"{url}/v1/nodes/predict", json={"nodes": [105]}, timeout=30
                    )
                except httpx.ConnectError:
                    continue
                self.statuses.append(answer.status_code)
                self.versions.append(answer.json().get("model_version", 0))
                break
            else:
                self.statuses.append(0)

    def wait_for(self, version: int) -> None:
        deadline = time.monotonic() + 30
        while not self.versions or self.versions[-1] != version:
            assert time.monotonic() < deadline, self.versions[-5:]
            time.sleep(0.05)


def test_another_server_takes_over_and_gives_back_without_a_request_lost(tmp_path: Path):
    """Blue with the old models, green with the new; then blue again, which is the way back."""
    old = make_world(tmp_path / "old")
    new = World(old.graph, tmp_path / "new/models", old.embeddings, old.data)
    shutil.copytree(old.models, new.models)
    add_model(new.models / "default", new.data, seed=2)
    shared = {"jobs": tmp_path / "jobs", "drain_delay_s": 0.5}
    with ExitStack() as all_of_it:
        blue = ExitStack()
        address = str(blue.enter_context(running(old.settings(**shared))).base_url).rstrip("/")
        asking = Asking([address])
        asking.start()
        all_of_it.callback(asking.stopped.set)
        asking.wait_for(1)
        with running(new.settings(**shared)) as green:
            asking.urls.append(str(green.base_url).rstrip("/"))
            blue.close()
            asking.wait_for(2)
            with running(old.settings(**shared)) as again:
                asking.urls.insert(0, str(again.base_url).rstrip("/"))
                asking.wait_for(1)
                asking.urls[:] = [str(again.base_url).rstrip("/")]
                asking.stopped.set()
                asking.join(30)
    assert set(asking.statuses) == {200}
    assert len(asking.statuses) > 20
