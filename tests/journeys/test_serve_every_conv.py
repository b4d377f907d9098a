"""Every convolution as it is served: computed, cached, from the table, by a job: the same rows."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from conv_checks import randomized, some_world
from world import running

from gnn import TrainConfig, build_model, save_model
from gnn.architecture import architecture_for
from gnn.convs import CONVS
from gnn.recipes import recipe_for
from sampling import Dataset, GraphStore
from service.settings import Settings

TASK, NUM_NODES, BOUND = "node-classification", 40, 1e-5
IDS = list(range(NUM_NODES))
SMALL = {"d_hidden": 8, "num_layers": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with all that a convolution can read, and an untrained model of each."""
    root = tmp_path_factory.mktemp("every")
    rng = np.random.default_rng(0)
    made = some_world(
        NUM_NODES, 200, d_edge=3, num_relations=3, num_types=2, times=True, weights=True
    )
    data = Dataset.in_memory(
        made.graph(),
        features=rng.normal(size=(NUM_NODES, 5)).astype(np.float32),
        positions=rng.normal(size=(NUM_NODES, 3)).astype(np.float32),
        labels=rng.integers(0, 3, NUM_NODES),
        classes=["a", "b", "c"],
    )
    GraphStore.write(root / "graph", data)
    data = GraphStore.open(root / "graph")
    for seed, conv in enumerate(sorted(CONVS)):
        torch.manual_seed(seed)
        model = build_model(architecture_for(TASK, data, recipe_for(conv, data, 3, TASK), SMALL))
        save_model(root / "models" / conv, randomized(model, seed), data,
                   TrainConfig(task=TASK, fanouts=(3, 2)), {"test": {}})  # fmt: skip
    return root


@pytest.fixture(scope="module")
def jobs() -> dict[str, str]:
    """The id of the job of every model; the second server finds those of the first."""
    return {}


@pytest.fixture(scope="module", params=[1, 4])
def client(
    root: Path, jobs: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[httpx.Client]:
    """A server of so many workers, beside jobs that have published a table for every model."""
    settings = Settings(
        graph=root / "graph", models=root / "models", default_model="sage",
        workers=request.param, jobs=root / "jobs", cache_bytes=1 << 24,
    )  # fmt: skip
    with running(settings) as client:
        client.computed = {conv: ask(client, conv, "exact") for conv in CONVS}
        for conv in CONVS.keys() - jobs.keys():
            jobs[conv] = submit(client, conv)
        wait_for(lambda: {state(client, name) for name in jobs.values()} == {"done"})
        wait_for(lambda: all(has_table(client, conv) for conv in CONVS))
        yield client


def ask(client: httpx.Client, conv: str, mode: str) -> httpx.Response:
    body = {"nodes": IDS, "model": conv, "mode": mode, "include": ["probabilities", "embedding"]}
    return client.post("/v1/nodes/predict", json=body)


def submit(client: httpx.Client, conv: str) -> str:
    response = client.post("/v1/jobs", json={"model": conv, "publish": True})
    assert response.status_code == 202, response.text
    return response.json()["id"]


def state(client: httpx.Client, name: str) -> str:
    found = client.get(f"/v1/jobs/{name}").json()
    assert found["state"] != "failed", found
    return found["state"]


def has_table(client: httpx.Client, conv: str) -> bool:
    return client.get(f"/v1/models/{conv}").json()["has_fresh_table"]


def wait_for(holds: Any) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)


def rows(response: httpx.Response, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and probabilities of an answer that came from where it should."""
    assert response.status_code == 200, response.text
    entries = response.json()["predictions"]
    assert {entry["source"] for entry in entries} == {source}
    embeddings = np.array([entry["embedding"] for entry in entries])
    return embeddings, np.array([list(entry["probabilities"].values()) for entry in entries])


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_computed_cached_stored_and_by_a_job_are_the_same(
    client: httpx.Client, jobs: dict[str, str], conv: str
):
    wanted, outputs = rows(client.computed[conv], "computed")
    assert np.abs(wanted - wanted[0]).max() > 0.01, "rows that are all the same show nothing"
    table = answered(client, conv, "table", "table")
    for embeddings, probabilities in (answered(client, conv, "exact", "cache"), table):
        assert np.abs(embeddings - wanted).max() < BOUND
        assert np.abs(probabilities - outputs).max() < BOUND
    content = client.get(f"/v1/jobs/{jobs[conv]}/result").content
    stored = pq.read_table(io.BytesIO(content))
    assert stored["id"].to_pylist() == IDS
    assert np.abs(np.array(stored["embedding"].to_pylist()) - wanted).max() < BOUND


def answered(
    client: httpx.Client, conv: str, mode: str, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """What one of the workers answers, once it has the table or the rows in its own cache."""
    found = list[tuple[np.ndarray, np.ndarray]]()

    def has_come() -> bool:
        response = ask(client, conv, mode)
        if response.status_code == 409:
            return False
        if {e["source"] for e in response.json()["predictions"]} == {source}:
            found.append(rows(response, source))
        return bool(found)

    wait_for(has_come)
    return found[0]
