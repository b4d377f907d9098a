"""Versions are promoted, unloaded and rolled back under load: no answer is lost or mixed."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import World, add_model, make_world, running

from gnn import load_model
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from service.commands.key import add_line
from service.keys import new_key
from service.predictor import open_predictor
from service.routing import content_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient.http import InferenceServerClient

MANY = [pytest.mark.nightly, pytest.mark.timeout(3600)]
NODES = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("promoted"), num_edges=4000)
    for seed in (1, 2, 3):
        add_model(world.models / "fraud", world.data, seed)
    return world


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, str]]]:
    """A keys file, and the headers of an operator and of a client."""
    path, headers = tmp_path_factory.mktemp("keys") / "keys.txt", {}
    for name, scopes in (("operator", ["admin"]), ("client", ["predict"])):
        secret, line = new_key(name, scopes)
        add_line(path, line)
        headers[name] = {"authorization": f"Bearer {secret}"}
    return path, headers


@pytest.fixture(scope="module")
def client(world: World, keys: Any) -> Iterator[httpx.Client]:
    """Two workers."""
    settings = world.settings(workers=2, api_keys_file=keys[0], run_jobs=False)
    with running(settings) as client:
        client.headers.update(keys[1]["operator"])
        yield client


def truth(world: World, version: int) -> np.ndarray:
    """Probabilities of every node, from all neighbors."""
    saved = load_model(world.models / "fraud" / str(version))
    with torch.inference_mode():
        h = infer(saved.model, with_inputs(world.data, saved.model.config))
        return torch.softmax(saved.model.head(h), 1).numpy()


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def lead(client: httpx.Client, **route: Any) -> int:
    return int(ok(client.put("/v1/aliases/live", json={"model": "fraud", **route}))["revision"])


def metric(client: httpx.Client, name: str) -> float:
    rows = [row for row in client.get("/metrics").text.splitlines() if row.startswith(name)]
    return sum(float(row.split()[-1]) for row in rows)


def followed(client: httpx.Client, revision: int) -> None:
    """Wait until every worker follows."""
    wait_for(lambda: metric(client, "gnn_routing_revision") == revision)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Load(threading.Thread):
    """A client that asks on and on, and keeps what it got."""

    def __init__(self, url: httpx.URL, headers: dict[str, str], number: int, stop: Any) -> None:
        super().__init__()
        self.url, self.headers, self.number, self.stop = url, headers, number, stop
        self.answers: list[tuple[list[int], int, np.ndarray]] = []
        self.refused: list[str] = []

    def run(self) -> None:
        rng = np.random.default_rng(self.number)
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=60) as client:
            while not self.stop.is_set():
                nodes = rng.integers(100, 100 + NODES, 3).tolist()
                body = {"nodes": nodes, "model": "live", "mode": "exact"}
                response = client.post("/v1/nodes/predict", json=body)
                if response.status_code != 200:
                    self.refused.append(response.text)
                    return
                answer = response.json()
                rows = [list(e["probabilities"].values()) for e in answer["predictions"]]
                self.answers.append((nodes, answer["model_version"], np.array(rows)))


@pytest.mark.parametrize("promotions", [40, pytest.param(200, marks=MANY)])
def test_promotions_under_load_lose_and_mix_nothing(
    client: httpx.Client, world: World, keys: Any, promotions: int
):
    wanted = {version: truth(world, version) for version in (1, 2)}
    assert np.abs(wanted[1] - wanted[2]).max(1)[:NODES].min() > 1e-3, "they can be told apart"
    followed(client, lead(client, version=1))
    stop = threading.Event()
    loads = [Load(client.base_url, keys[1]["client"], number, stop) for number in range(3)]
    for load in loads:
        load.start()
    for promotion in range(promotions):
        here, there = (2, 1) if promotion % 2 == 0 else (1, 2)
        canary = {"version": 2, "share": 0.3} if promotion % 5 == 0 and here == 1 else None
        revision = lead(client, version=here, canary=canary)
        if canary is None and promotion % 4 == 0:
            followed(client, revision)
            url = f"/v1/models/fraud/versions/{there}"
            ok(client.post(f"{url}/unload"))
            ok(client.post(f"{url}/load"))
    stop.set()
    for load in loads:
        load.join(120)
    assert [text for load in loads for text in load.refused] == []
    answers = [answer for load in loads for answer in load.answers]
    assert {version for _, version, _ in answers} == {1, 2}
    assert len(answers) > promotions
    for nodes, version, rows in answers:
        assert np.abs(rows - wanted[version][np.array(nodes) - 100]).max() < 1e-5


def test_workers_agree_on_the_canary_and_so_does_whoever_starts_later(
    client: httpx.Client, world: World
):
    followed(client, lead(client, version=1, canary={"version": 3, "share": 0.4}))
    seen: dict[int, set[int]] = {node: set() for node in range(100, 130)}
    for _ in range(3):
        # from connections of their own, so that both workers are asked
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=60) as fresh:
            for node, versions in seen.items():
                body = {"nodes": [node], "model": "live"}
                answer = ok(fresh.post("/v1/nodes/predict", json=body))
                versions.add(answer["model_version"])
    again = open_predictor(world.graph, world.models, None, world.settings()).registry
    for node, versions in seen.items():
        assert versions == {again.choose("live", None, content_of([node])).model.version}
    assert set().union(*seen.values()) == {1, 3}


def test_the_stock_client_lists_loads_and_unloads(client: httpx.Client, keys: Any):
    url = str(client.base_url).removeprefix("http://").rstrip("/")
    triton, headers = InferenceServerClient(url), keys[1]["operator"]
    try:
        listed = triton.get_model_repository_index(headers=headers)
        assert {(e["name"], e["version"], e["state"]) for e in listed} == {
            ("default", "1", "READY"), *(("fraud", str(v), "READY") for v in (1, 2, 3)),
        }  # fmt: skip
        revision = int(ok(client.delete("/v1/aliases/live"))["revision"])
        triton.unload_model("fraud", headers=headers)
        followed(client, revision + 1)
        assert not triton.is_model_ready("fraud", headers=headers)
        triton.load_model("fraud", headers=headers)
        followed(client, revision + 2)
        assert triton.is_model_ready("fraud", headers=headers)
    finally:
        triton.close()


def test_keys_are_replaced_in_all_workers_while_they_serve(client: httpx.Client, keys: Any):
    def statuses(secret: str) -> set[int]:
        headers, url = {"x-api-key": secret}, f"{client.base_url}/v1/graph"
        return {httpx.get(url, headers=headers).status_code for _ in range(8)}

    path: Path = keys[0]
    before = path.read_text()
    (old, first), (new, second) = (new_key("me", ["read"]) for _ in range(2))
    assert statuses(old) == {401}
    path.write_text(f"{before}{first}\n")
    wait_for(lambda: statuses(old) == {200})
    path.write_text(f"{before}{first}\n{second}\n")
    wait_for(lambda: statuses(new) == {200})
    assert statuses(old) == {200}, "a name has two keys while one is handed out"
    path.write_text(f"{before}{second}\n")
    wait_for(lambda: statuses(old) == {401})
    assert statuses(new) == {200}
