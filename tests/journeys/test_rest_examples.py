"""The examples of docs/rest.md: there is one by curl for every endpoint, and all of them work."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from starlette.routing import Match

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import ROOT, World, add_model, make_world, running

from gnn import TrainConfig, build_model, save_model
from gnn.architecture import architecture_for
from gnn.recipes import recipe_for
from sampling import Dataset, Graph, GraphCollection
from service.app import create_app

TEXT = (ROOT / "docs" / "rest.md").read_text()
JSON = ["content-type: application/json", "accept: application/json"]


@dataclass
class Example:
    """One call of curl."""

    line: str
    method: str = "GET"
    url: str = ""
    body: str | None = None
    headers: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return re.sub(r"^(\$URL|http://[A-Z0-9.]+:8000)", "", self.url)


def examples() -> list[Example]:
    """Every call of curl in a block of commands, in the order of the document."""
    blocks = re.findall(r"^```\n(.*?)^```", TEXT, re.M | re.S)
    lines = [line for block in blocks for line in re.split(r"^(?=\S)", block, flags=re.M)]
    return [read(line) for line in lines if line.startswith("curl ")]


def read(line: str) -> Example:
    """What a command line asks for; no option is passed over."""
    example, method = Example(line), None
    words = iter(shlex.split(line, comments=True)[1:])
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            example.headers.append(next(words))
        elif word in ("-d", "--json"):
            example.body, example.method = next(words), "POST"
            example.headers += JSON if word == "--json" else []
        elif word == "-o":
            next(words)
        else:
            assert not word.startswith("-") and not example.url, line
            example.url = word
    example.method = method or example.method
    return example


EXAMPLES = examples()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A graph with the ids of the document, and models of its names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("world.AWKWARD", ["a17", "b3", "c9"])
        patch.setattr("world.DIM", 2)
        world = make_world(tmp_path_factory.mktemp("rest"), string_ids=True, num_edges=4000)
        for seed in range(4):
            add_model(world.models / "fraud", world.data, seed)
        add_model(world.models / "spare", world.data, 4)
        add_model(
            world.models / "links", world.data, 5, task="link-prediction", decoder="mlp",
            head="none", d_out=1,
        )  # fmt: skip
    add_molecules(world.models / "molecules")
    return world


def add_molecules(directory: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 2)).astype("f4")
    graph = Graph.from_edges([0, 1], [1, 2], num_nodes=3)
    parts = [Dataset.in_memory(graph, features=rows) for _ in range(4)]
    data = GraphCollection.from_graphs(parts, labels=np.arange(4) % 2, classes=["no", "yes"])
    task = "graph-classification"
    torch.manual_seed(6)
    model = build_model(architecture_for(task, data, recipe_for("gin", data, 2, task), {}))
    save_model(directory, model, data, TrainConfig(task=task), {"test": {}})


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    settings = world.settings(
        embeddings=world.embeddings, open_admin=True, jobs=world.graph.parent / "jobs"
    )
    with running(settings) as client:
        yield client


def test_every_endpoint_has_an_example(world: World):
    routes = create_app(world.settings()).routes
    shown = set()
    for example in EXAMPLES:
        path = httpx.URL(f"http://x{example.path.replace('$JOB', '0' * 32)}").path
        scope = {"type": "http", "path": path, "method": example.method}
        found = [route for route in routes if route.matches(scope)[0] is Match.FULL]
        assert found, example.line
        shown.add((example.method, found[0].path))
    there = {(method, r.path) for r in routes for method in r.methods if method != "HEAD"}
    assert there - shown == set(), "docs/rest.md has no example by curl"


def test_every_example_works(client: httpx.Client):
    job = ""
    for example in EXAMPLES:
        if example.path.endswith("/result?part=0"):
            wait_for(client, job)
        headers = dict(header.split(": ", 1) for header in example.headers)
        answer = client.request(
            example.method, example.path.replace("$JOB", job), content=example.body,
            headers=headers,
        )  # fmt: skip
        assert answer.status_code in (200, 202, 206), f"{example.line}\n{answer.text}"
        if answer.status_code == 202:
            job = answer.json()["id"]
    assert job


def wait_for(client: httpx.Client, job: str) -> None:
    ends = time.monotonic() + 60
    while client.get(f"/v1/jobs/{job}").json()["state"] != "done":
        assert time.monotonic() < ends
        time.sleep(0.05)
