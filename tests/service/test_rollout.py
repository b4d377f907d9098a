"""An operator changes what answers: aliases, canaries, shadows, loaded versions; over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from inprocess import InProcess, in_process
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from world import World, add_model, make_world

from gnn import load_model
from gnn.layerwise import infer
from service import watch
from service.shadow import Answered, ShadowMetrics, Shadows

SOME = list(range(100, 160))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("rollout"), num_edges=4000)
    for seed in (1, 2, 3):
        add_model(world.models / "fraud", world.data, seed)
    add_model(
        world.models / "links", world.data, seed=5, task="link-prediction",
        decoder="mlp", head="none", d_out=1,
    )  # fmt: skip
    shutil.copytree(world.models / "links" / "1", world.models / "links" / "2")
    return world


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    shutil.copytree(built.models, tmp_path / "models")
    return World(built.graph, tmp_path / "models", built.embeddings, built.data)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.01)


@pytest.fixture
def client(world: World) -> Iterator[InProcess]:
    with in_process(world.settings(open_admin=True)) as client:
        yield client


def answer(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def put(client: InProcess, alias: str, **route: Any) -> Any:
    return answer(client.request("PUT", f"/v1/aliases/{alias}", json=route))


def version_of(client: InProcess, node: int = 105, **body: Any) -> int:
    given = {"nodes": [node], "model": "fraud", **body}
    return int(answer(client.post("/v1/nodes/predict", json=given))["model_version"])


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), response.text
    return problem


def wait_for(client: InProcess, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        client.run(asyncio.sleep(0.01))


def metric(client: InProcess, metric_name: str, /, **labels: str) -> float:
    rows = [row for row in client.get("/metrics").text.splitlines() if row.startswith(metric_name)]
    wanted = [f'{k}="{v}"' for k, v in labels.items()]
    return sum(float(row.split()[-1]) for row in rows if all(w in row for w in wanted))


# --- aliases and canaries ---------------------------------------------------------------------


def test_promotion_from_a_canary_to_all_and_back(client: InProcess):
    put(client, "live", model="fraud", version=2)
    assert {version_of(client, n, model="live") for n in SOME} == {2}
    set_now = put(client, "live", model="fraud", version=2, canary={"version": 3, "share": 0.3})
    assert set_now["aliases"][0] == {
        "alias": "live", "model": "fraud", "version": 2, "source": "run_time",
        "canary": {"version": 3, "share": 0.3}, "shadow": None,
    }  # fmt: skip
    few = {n: version_of(client, n, model="live") for n in SOME}
    assert set(few.values()) == {2, 3}
    assert {n: version_of(client, n, model="live") for n in SOME} == few, "always the same way"
    put(client, "live", model="fraud", version=2, canary={"version": 3, "share": 0.7})
    more = {n: version_of(client, n, model="live") for n in SOME}
    assert {n for n in SOME if few[n] == 3} < {n for n in SOME if more[n] == 3}
    put(client, "live", model="fraud", version=3)
    assert {version_of(client, n, model="live") for n in SOME} == {3}
    put(client, "live", model="fraud", version=2)
    assert {version_of(client, n, model="live") for n in SOME} == {2}
    assert metric(client, "gnn_canary_requests_total", arm="canary", version="3") > 0
    assert metric(client, "gnn_canary_requests_total", outcome="failed") == 0


def test_a_canarys_answers_are_those_of_its_version_to_the_bit(client: InProcess):
    put(client, "live", model="fraud", version=1, canary={"version": 3, "share": 0.5})
    for node in SOME[:20]:
        body = {"nodes": [node], "mode": "exact"}
        got = answer(client.post("/v1/nodes/predict", json={**body, "model": "live"}))
        plain = {**body, "model": "fraud", "version": got["model_version"]}
        wanted = answer(client.post("/v1/nodes/predict", json=plain))
        for entry in (*got["predictions"], *wanted["predictions"]):
            del entry["source"]
        assert got["predictions"] == wanted["predictions"]


def test_embeddings_jobs_and_named_versions_never_meet_a_canary(client: InProcess):
    put(client, "live", model="fraud", version=1, canary={"version": 3, "share": 1.0})
    assert version_of(client, model="live") == 3
    assert version_of(client, model="live", version=2) == 2
    assert version_of(client, model="live", include=["embedding", "label"]) == 1
    embedded = answer(client.post("/v1/nodes/embed", json={"nodes": [105], "model": "live"}))
    assert embedded["model_version"] == 1
    job = client.post("/v1/jobs", json={"kind": "predict", "model": "live", "nodes": [105]})
    assert (job.json()["model"], job.json()["model_version"]) == ("fraud", 1)


def test_every_face_of_a_request_goes_the_same_way(client: InProcess):
    put(client, "live", model="fraud", version=1, canary={"version": 3, "share": 0.5})
    for node in SOME[:12]:
        tensor = {"name": "nodes", "shape": [1], "datatype": "INT64", "data": [node]}
        infer_url = "/v2/models/live/infer"
        inferred = answer(client.post(infer_url, content=json.dumps({"inputs": [tensor]})))
        assert inferred["model_version"] == str(version_of(client, node, model="live"))


def test_links_have_canaries_and_shadows_too(client: InProcess):
    pairs = [[100 + i, 101 + i] for i in range(20)]
    put(client, "links", model="links", version=1, canary={"version": 2, "share": 0.5})
    url = "/v1/links/predict"
    bodies = [{"pairs": [pair], "model": "links"} for pair in pairs]
    versions = [answer(client.post(url, json=body))["model_version"] for body in bodies]
    assert set(versions) == {1, 2}
    put(client, "links", model="links", version=1, shadow={"version": 2, "share": 1.0})
    assert answer(client.post(url, json={"pairs": pairs, "model": "links"}))["model_version"] == 1
    wait_for(client, lambda: metric(client, "gnn_shadow_rows_total", model="links") == 20)
    assert metric(client, "gnn_shadow_labels_total", agree="yes") == 20, "a copy agrees"
    assert metric(client, "gnn_shadow_difference_total") < 1e-5


# --- shadows ----------------------------------------------------------------------------------


def probabilities(world: World, version: int) -> np.ndarray:
    """What the model says of every node, from all neighbors."""
    saved = load_model(world.models / "fraud" / str(version))
    with torch.inference_mode():
        return torch.softmax(saved.model.head(infer(saved.model, world.data)), 1).numpy()


def test_a_shadow_is_compared_and_changes_no_answer(client: InProcess, world: World):
    before = answer(client.post("/v1/nodes/predict", json={"nodes": SOME, "model": "fraud"}))
    put(client, "fraud", model="fraud", version=3, shadow={"version": 1, "share": 1.0})
    kept = client.resources.predictor.cache.stats().entries
    body = {"nodes": [*SOME, 7], "model": "fraud", "on_unknown": "report", "mode": "exact"}
    after = answer(client.post("/v1/nodes/predict", json=body))
    assert [e["label"] for e in after["predictions"][:-1]] == [
        e["label"] for e in before["predictions"]
    ]
    wait_for(client, lambda: metric(client, "gnn_shadow_requests_total", outcome="compared") == 1)
    given, got = (probabilities(world, version)[np.array(SOME) - 100] for version in (3, 1))
    assert metric(client, "gnn_shadow_rows_total", version="3", shadow="1") == len(SOME)
    agree = int((given.argmax(1) == got.argmax(1)).sum())
    assert metric(client, "gnn_shadow_labels_total", agree="yes") == agree
    assert metric(client, "gnn_shadow_labels_total", agree="no") == len(SOME) - agree
    difference = float(np.abs(given - got).mean(1).sum())
    assert metric(client, "gnn_shadow_difference_total") == pytest.approx(difference, rel=1e-4)
    assert metric(client, "gnn_shadow_seconds_count", by="shadow") == 1
    assert client.resources.predictor.cache.stats().entries == kept, "a shadow takes no room"


def compared(given: list[list[float]], compute: Callable[[], Any], **changes: Any) -> Answered:
    fields = {"kind": "classes", "seconds": 0.1, **changes}
    return Answered("m", 1, 2, given=np.array(given, np.float32), compute=compute, **fields)


def run_shadows(
    offered: list[Answered], *, limit: int = 64, is_busy: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    metrics = ShadowMetrics(CollectorRegistry())

    async def main() -> None:
        shadows = Shadows(limit, metrics, is_busy)
        for answered in offered:
            shadows.offer(answered)
        task = asyncio.create_task(shadows.run())
        deadline = time.monotonic() + 60
        while sum(counts(metrics).values()) < len(offered):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        shadows.close()

    asyncio.run(main())
    return counts(metrics)


def counts(metrics: ShadowMetrics) -> dict[str, float]:
    samples = [s for family in metrics.requests.collect() for s in family.samples]
    return {s.labels["outcome"]: s.value for s in samples if s.name.endswith("_total")}


def fails() -> Any:
    raise RuntimeError("no")


def test_what_finds_the_queue_full_is_dropped_and_what_fails_is_counted():
    row = np.array([[0.5, 0.5]], np.float32)
    good, bad = compared([[0.5, 0.5]], lambda: row), compared([[0.5, 0.5]], fails)
    wide = compared([[0.5, 0.5]], lambda: np.zeros((1, 3), np.float32))
    nan = compared([[0.5, 0.5]], lambda: row * np.nan)
    assert run_shadows([good, bad, wide, nan]) == {"compared": 1, "failed": 3}
    assert run_shadows([good] * 5, limit=2) == {"compared": 2, "dropped": 3}
    large = compared([[0.0, 1.0]] * 60_000, lambda: np.zeros((60_000, 2), np.float32))
    assert run_shadows([large, large]) == {"compared": 1, "dropped": 1}


def test_nothing_is_computed_while_requests_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("service.shadow.MAX_AGE_S", 0.0)
    assert run_shadows([compared([[1.0]], fails)] * 3, is_busy=lambda: True) == {"dropped": 3}


def test_a_shadow_that_fails_changes_no_answer(client: InProcess):
    put(client, "fraud", model="fraud", version=3, shadow={"version": 1, "share": 1.0})
    client.resources.shadow_predictor.finished = fails  # type: ignore[method-assign]
    assert version_of(client) == 3
    wait_for(client, lambda: metric(client, "gnn_shadow_requests_total", outcome="failed") == 1)
    assert version_of(client) == 3


# --- loading and unloading --------------------------------------------------------------------


def test_versions_are_unloaded_and_loaded_again(client: InProcess):
    url = "/v1/models/fraud/versions"
    assert answer(client.post(f"{url}/3/unload"))["unloaded"] == {"fraud": [3]}
    assert version_of(client) == 2
    refused(
        client.post("/v1/nodes/predict", json={"nodes": [105], "model": "fraud", "version": 3}),
        409, "unloaded",
    )  # fmt: skip
    listed = {m["name"]: m for m in answer(client.get("/v1/models"))["models"]}
    assert (listed["fraud"]["unloaded"], listed["fraud"]["version"]) == ([3], 2)
    for version in (2, 1):
        answer(client.post(f"{url}/{version}/unload"))
    assert metric(client, "gnn_model_info", name="fraud") == 0
    refused(
        client.post("/v1/nodes/predict", json={"nodes": [105], "model": "fraud"}), 409, "unloaded"
    )
    assert answer(client.post(f"{url}/2/load"))["loaded"] == {"fraud": [2]}
    assert version_of(client) == 2
    assert metric(client, "gnn_model_info", name="fraud", version="2") == 1
    refused(client.post(f"{url}/9/load"), 404, "unknown_version")
    refused(client.post(f"{url}/9/unload"), 404, "unknown_version")
    refused(client.post("/v1/models/nope/versions/1/unload"), 404, "unknown_model")


def test_what_a_name_leads_to_is_not_unloaded(client: InProcess):
    put(
        client, "live", model="fraud", version=1,
        canary={"version": 2, "share": 0.1}, shadow={"version": 3, "share": 0.1},
    )  # fmt: skip
    for version in (1, 2, 3):
        problem = refused(client.post(f"/v1/models/fraud/versions/{version}/unload"), 409, "in_use")
        assert problem["aliases"] == ["live"]
    refused(client.post("/v1/models/default/versions/1/unload"), 409, "in_use")
    answer(client.request("DELETE", "/v1/aliases/live"))
    refused(client.request("DELETE", "/v1/aliases/live"), 404, "unknown_alias")
    answer(client.post("/v1/models/fraud/versions/1/unload"))


@pytest.mark.parametrize(
    ("alias", "route", "status", "code"),
    [
        ("live", {"model": "nope"}, 404, "unknown_model"),
        ("live", {"model": "fraud", "version": 9}, 404, "unknown_version"),
        ("live", {"model": "fraud", "shadow": {"version": 9, "share": 1}}, 404, "unknown_version"),
        ("live", {"model": "default", "version": True}, 422, "invalid_request"),
        ("live", {"model": "fraud", "shadow": {"version": 2, "share": 0}}, 422, "invalid_request"),
        ("live", {"model": "fraud", "canary": {"version": 2}}, 422, "invalid_request"),
        ("live", {"model": "../fraud"}, 422, "invalid_request"),
        ("live", {}, 422, "invalid_request"),
        ("live", {"model": "fraud", "version": 2, "canary": {"version": 2, "share": 0.1}}, 422,
         "invalid_request"),
        ("fraud", {"model": "links"}, 422, "invalid_request"),
        ("default", {"model": "fraud"}, 422, "invalid_request"),
        ("Live", {"model": "fraud"}, 422, "invalid_request"),
        ("%0Alive", {"model": "fraud"}, 422, "invalid_request"),
        ("live%0A", {"model": "fraud"}, 422, "invalid_request"),
        ("x" * 65, {"model": "fraud"}, 422, "invalid_request"),
    ],
)  # fmt: skip
def test_a_route_that_leads_nowhere_changes_nothing(client, world, alias, route, status, code):
    refused(client.request("PUT", f"/v1/aliases/{alias}", json=route), status, code)
    assert answer(client.get("/v1/aliases"))["revision"] == 0
    assert not (world.models / "routing.json").exists()


def test_a_version_that_cannot_answer_is_never_promoted(client: InProcess, world: World):
    add_model(world.models / "fraud", world.data, 9, d_in=3)
    route = {"model": "fraud", "version": 4}
    refused(client.request("PUT", "/v1/aliases/live", json=route), 409, "model_mismatch")
    (world.models / "fraud" / "2" / "weights.safetensors").write_bytes(b"")
    route = {"model": "fraud", "version": 2}
    problem = refused(client.request("PUT", "/v1/aliases/live", json=route), 500, "store")
    assert str(world.models) not in json.dumps(problem)
    refused(client.post("/v1/models/fraud/versions/2/load"), 500, "store")
    assert answer(client.get("/v1/aliases"))["aliases"] == []


def test_a_change_that_cannot_be_kept_is_not_made(client: InProcess, world: World):
    route = {"model": "fraud", "version": 1}
    (world.models / ".routing.json.lock").mkdir()
    with capture_logs() as logged:
        response = client.request("PUT", "/v1/aliases/live", json=route)
    refused(response, 503, "routing_unavailable")
    assert "Is a directory" in str(logged[0]["exc_info"]), "the log has the reason"
    (world.models / ".routing.json.lock").rmdir()
    (world.models / "routing.json").mkdir()
    refused(client.request("PUT", "/v1/aliases/live", json=route), 500, "store")
    assert str(world.models) not in response.text
    refused(
        client.post("/v1/nodes/predict", json={"nodes": [105], "model": "live"}),
        404, "unknown_model",
    )  # fmt: skip


# --- other workers, restarts ------------------------------------------------------------------


def test_other_workers_and_a_restart_follow(client: InProcess, world: World):
    with in_process(world.settings(open_admin=True, models_poll_s=0)) as other:
        revision = put(client, "live", model="fraud", version=1)["revision"]
        answer(client.post("/v1/models/fraud/versions/3/unload"))
        wait_for(other, lambda: metric(other, "gnn_routing_revision") > revision)
        assert version_of(other, model="live") == 1
        assert version_of(other) == 2
        assert answer(other.get("/v1/aliases")) == answer(client.get("/v1/aliases"))
    with in_process(world.settings(open_admin=True)) as again:
        assert version_of(again, model="live") == 1
        assert version_of(again) == 2


def test_a_broken_file_changes_nothing_and_is_said(client: InProcess, world: World):
    put(client, "live", model="fraud", version=1)
    file = world.models / "routing.json"
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    wait_for(client, lambda: metric(client, "gnn_routing_unusable") == 1)
    assert version_of(client, model="live") == 1
    refused(client.request("PUT", "/v1/aliases/b", json={"model": "fraud"}), 500, "store")
    file.write_bytes(content.replace(b'"version": 1', b'"version": 2'))
    wait_for(client, lambda: metric(client, "gnn_routing_unusable") == 0)
    assert version_of(client, model="live") == 2
    file.unlink()
    wait_for(client, lambda: metric(client, "gnn_routing_revision") == 0)


def test_what_was_set_goes_before_the_settings_until_it_is_deleted(world: World):
    settings = world.settings(open_admin=True, aliases="live=fraud@1")
    with in_process(settings) as client:
        put(client, "live", model="fraud", version=2)
        assert version_of(client, model="live") == 2
        left = answer(client.request("DELETE", "/v1/aliases/live"))
        assert left["aliases"][0]["source"] == "settings"
        assert version_of(client, model="live") == 1


def test_a_request_under_way_is_finished_by_the_version_it_began_with(client: InProcess):
    async def main() -> tuple[httpx.Response, list[httpx.Response]]:
        body = {"nodes": list(range(100, 1600)), "model": "fraud", "mode": "sampled", "seed": 5}
        slow = asyncio.create_task(client.client.post("/v1/nodes/predict", json=body))
        while not client.resources.batcher.depth and not slow.done():
            await asyncio.sleep(0)
        answers = [await client.client.post(f"/v1/models/fraud/versions/{v}/unload")
                   for v in (3, 2, 1)]  # fmt: skip
        return await slow, answers

    slow, unloaded = client.run(main())
    assert {response.status_code for response in unloaded} == {200}
    assert answer(slow)["model_version"] == 3


# --- the extension of the protocol ------------------------------------------------------------


def test_the_repository_extension_lists_loads_and_unloads(client: InProcess, world: World):
    add_model(world.models / "fraud", world.data, 9, d_in=3)
    os.utime(world.models)

    def index(**body: Any) -> list[dict[str, str]]:
        return answer(client.post("/v2/repository/index", content=json.dumps(body)))

    client.run(asyncio.to_thread(client.resources.rollout.refresh))
    fraud = [entry for entry in index() if entry["name"] == "fraud"]
    assert [entry["state"] for entry in fraud] == ["READY"] * 3 + ["UNAVAILABLE"]
    assert {entry["name"] for entry in index(ready=True)} == {"default", "fraud", "links"}
    shutil.rmtree(world.models / "fraud" / "4")
    client.run(asyncio.to_thread(client.resources.rollout.refresh))
    assert answer(client.post("/v2/repository/models/fraud/unload", content=b"{}")) == {}
    assert not [entry for entry in index(ready=True) if entry["name"] == "fraud"]
    assert client.get("/v2/models/fraud/ready").status_code == 409
    assert answer(client.post("/v2/repository/models/fraud/load")) == {}
    assert client.get("/v2/models/fraud/ready").status_code == 200
    for url, body, status in (
        ("models/default/unload", b"{}", 409),
        ("models/nope/load", b"{}", 404),
        ("models/fraud/load", b'{"parameters": {"config": "{}"}}', 400),
        ("models/fraud/load", b"[", 400),
        ("index", b"\xff", 400),
        ("index", b'{"ready": 1}', 400),
    ):
        response = client.post(f"/v2/repository/{url}", content=body)
        assert (response.status_code, response.json().keys()) == (status, {"error"})
