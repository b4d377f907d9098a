"""Batch jobs as a client sees them: real servers, real runners, real kills."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from service.commands.worker import worker as run_worker
from service.errors import JobStoreError

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from redisserver import redis_server
from world import CLASSES, ROOT, World, make_world, running

EVERY = list(range(100, 1600))
WIDE = 12_000
SLOW = {"job_tile_rows": 1, "job_lease_s": 3.0}
"""Thousands of tiles, with a look at the row of the job between them."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A graph that takes a while, a row at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("world.NUM_NODES", WIDE)
        return make_world(tmp_path_factory.mktemp("wide"), num_edges=4 * WIDE)


@pytest.fixture(scope="module")
def client(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    jobs = tmp_path_factory.mktemp("jobs") / "deep" / "jobs"
    with running(world.settings(jobs=jobs, job_part_bytes=64 * 1024)) as client:
        yield client


def submit(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/jobs", json={"kind": "embed", **body})
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


def get(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    response = client.get(f"/v1/jobs/{job['id']}")
    assert response.status_code == 200, response.text
    return response.json()


def wait_for(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)
    return found


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    after = wait_for(lambda: (j := get(client, job))["state"] not in ("queued", "running") and j)
    assert after["started"] is None or after["created"] <= after["started"] <= after["finished"]
    return after


def done(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    after = ended(client, job)
    assert after["state"] == "done", after
    return after


def download(client: httpx.Client, job: dict[str, Any], **options: Any) -> httpx.Response:
    return client.get(f"/v1/jobs/{job['id']}/result", **options)


def content(client: httpx.Client, job: dict[str, Any]) -> bytes:
    """All parts, one after the other."""
    parts = done(client, job)["result"]["parts"]
    return b"".join(download(client, job, params={"part": p["part"]}).content for p in parts)


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    return problem


def runners(client: httpx.Client) -> list[psutil.Process]:
    """The processes that run jobs of a server."""
    server = psutil.Process(client.process.pid)  # type: ignore[attr-defined]
    alive = [p for p in server.children() if p.status() != psutil.STATUS_ZOMBIE]
    return [p for p in alive if "service.jobs.process" in p.cmdline()]


def progress_seen(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job once rows are finished."""
    return wait_for(
        lambda: (j := get(client, job))["progress"] and j["progress"]["rows_done"] and j,
        seconds=150,
    )


# --- the journey -------------------------------------------------------------------------------


def test_a_job_is_sent_followed_and_read_and_equals_rest(client: httpx.Client):
    job = submit(client, include=["label", "probabilities", "embedding"])
    assert (job["state"], job["num_nodes"], job["model_version"]) == ("queued", 1500, 1)
    after = done(client, job)
    assert len(after["result"]["parts"]) > 1
    tables = []
    for part in after["result"]["parts"]:
        response = download(client, job, params={"part": part["part"]})
        assert response.headers["content-type"] == "application/vnd.apache.parquet"
        assert hashlib.sha256(response.content).hexdigest() == part["sha256"]
        tables += pq.read_table(io.BytesIO(response.content)).to_pylist()
    body = {"nodes": EVERY, "mode": "exact", "include": ["label", "probabilities", "embedding"]}
    wanted = client.post("/v1/nodes/predict", json=body).json()["predictions"]
    assert [row["id"] for row in tables] == EVERY
    for name in ("embedding", "score"):
        got = np.array([row[name] for row in tables])
        assert np.abs(got - [entry[name] for entry in wanted]).max() < 1e-5
    got = np.array([row["probabilities"] for row in tables])
    rest = [[entry["probabilities"][name] for name in CLASSES] for entry in wanted]
    assert np.abs(got - rest).max() < 1e-5
    assert client.get("/v1/jobs").json()["jobs"][0] == after
    refused(download(client, job), 422, "invalid_request")
    refused(download(client, job, params={"part": 99}), 422, "invalid_request")


def test_some_nodes_and_every_node_agree(client: httpx.Client):
    nodes = [1599, 105, 105, 300]
    some, every = submit(client, kind="predict", nodes=nodes), submit(client, kind="predict")
    rows = pq.read_table(io.BytesIO(content(client, some)))
    assert rows["id"].to_pylist() == nodes
    parts = done(client, every)["result"]["parts"]
    whole = [
        row
        for part in parts
        for row in pq.read_table(
            io.BytesIO(download(client, every, params={"part": part["part"]}).content)
        ).to_pylist()
    ]
    by_id = {row["id"]: row for row in whole}
    for row in rows.to_pylist():
        assert row["label"] == by_id[row["id"]]["label"]
        assert row["probabilities"] == pytest.approx(by_id[row["id"]]["probabilities"], abs=1e-5)


def test_a_broken_download_goes_on(client: httpx.Client):
    job = submit(client, format="npy")
    done(client, job)
    whole = download(client, job)
    size, etag = len(whole.content), whole.headers["etag"]
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == size
    assert np.load(io.BytesIO(whole.content)).shape == (1500, 16)
    got = b""
    while len(got) < size:
        wanted = {"range": f"bytes={len(got)}-{len(got) + 40_000}", "if-range": etag}
        piece = download(client, job, headers=wanted)
        assert piece.status_code == 206
        stop = min(len(got) + 40_001, size)
        assert piece.headers["content-range"] == f"bytes {len(got)}-{stop - 1}/{size}"
        got += piece.content
    assert got == whole.content
    rest = download(client, job, headers={"range": f"bytes={size - 10}-"})
    assert rest.content == whole.content[-10:]
    assert download(client, job, headers={"range": "bytes=-7"}).content == whole.content[-7:]
    head = client.head(f"/v1/jobs/{job['id']}/result")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == size
    assert download(client, job, headers={"if-none-match": f'"x", {etag}'}).status_code == 304
    changed = download(client, job, headers={"range": "bytes=0-3", "if-range": '"other"'})
    assert (changed.status_code, len(changed.content)) == (200, size)


@pytest.mark.parametrize("wanted", ["bytes=96128-", "bytes=999999-1000000", "bytes=-0"])
def test_a_range_behind_the_end_is_416(client: httpx.Client, wanted: str):
    [job] = [j for j in client.get("/v1/jobs").json()["jobs"] if j["format"] == "npy"][:1]
    problem = refused(
        download(client, job, headers={"range": wanted}), 416, "range_not_satisfiable"
    )
    assert problem["size_bytes"] == 96_128


def test_a_job_that_says_nothing_else_embeds(client: httpx.Client):
    response = client.post("/v1/jobs", json={"nodes": [105]})
    assert (response.status_code, response.json()["kind"]) == (202, "embed")
    wait_for(lambda: get(client, response.json())["state"] == "done")


@pytest.mark.parametrize("wanted", ["bytes=5-2", "lines=1-2", "bytes=0-1,4-5", "bytes=x-", "nope"])
def test_a_range_that_is_none_gets_the_whole_file(client: httpx.Client, wanted: str):
    [job] = [j for j in client.get("/v1/jobs").json()["jobs"] if j["format"] == "npy"][:1]
    response = download(client, job, headers={"range": wanted})
    assert (response.status_code, len(response.content)) == (200, 96_128)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "embed", "nodes": [105, 7]}, 422, "unknown_node"),
        ({"kind": "embed", "nodes": ["105"]}, 422, "unknown_node"),
        ({"kind": "embed", "nodes": []}, 422, "invalid_request"),
        ({"kind": "embed", "nodes": [1.5]}, 422, "invalid_request"),
        ({"kind": "train"}, 422, "invalid_request"),
        ({"kind": "embed", "model": "nope"}, 404, "unknown_model"),
        ({"kind": "embed", "model": "../models"}, 404, "unknown_model"),
        ({"kind": "embed", "version": 7}, 404, "unknown_version"),
        ({"kind": "embed", "include": []}, 422, "invalid_request"),
        ({"kind": "embed", "include": ["loss"]}, 422, "invalid_request"),
        ({"kind": "embed", "nodes": [105], "format": "npy"}, 422, "invalid_request"),
        ({"kind": "predict", "format": "npy"}, 422, "invalid_request"),
        ({"kind": "embed", "nodes": [105], "publish": True}, 422, "invalid_request"),
        ({"kind": "predict", "publish": True}, 422, "invalid_request"),
        ({"kind": "embed", "more": 1}, 422, "invalid_request"),
        ({"kind": "embed", "out": "/etc/passwd"}, 422, "invalid_request"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_no_job(
    client: httpx.Client, body: dict[str, Any], status: int, code: str
):
    before = client.get("/v1/jobs").json()
    refused(client.post("/v1/jobs", json=body), status, code)
    assert client.get("/v1/jobs").json() == before


@pytest.mark.parametrize("name", ["x", "0" * 32, "..%2f..%2fetc%2fpasswd", "a%0a", "A" * 400])
def test_a_job_that_is_not_there_is_404(client: httpx.Client, name: str):
    for response in (
        client.get(f"/v1/jobs/{name}"),
        client.delete(f"/v1/jobs/{name}"),
        client.get(f"/v1/jobs/{name}/result"),
    ):
        refused(response, 404, "job_not_found")


def test_jobs_are_counted_and_tables_have_an_age(client: httpx.Client):
    done(client, submit(client, nodes=[105, 106]))
    text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(values['gnn_jobs{state="done"}']) >= 1
    assert float(values['gnn_jobs{state="running"}']) == 0
    assert float(values['gnn_job_rows_total{kind="embed"}']) >= 2
    assert float(values['gnn_job_seconds_count{kind="embed",state="done"}']) >= 1
    assert float(values['gnn_job_seconds_sum{kind="embed",state="done"}']) > 0


def test_every_metric_of_jobs_and_every_reason_to_fail_is_documented(client: httpx.Client):
    text = (ROOT / "docs/rest.md").read_text()
    kinds = [line.split() for line in client.get("/metrics").text.splitlines() if "# TYPE" in line]
    for _, _, name, _ in kinds:
        if name.startswith(("gnn_job", "gnn_table")):
            assert f"| `{name}" in text, name
    for code in ("no_space", "no_memory", "job_lost", "graph_changed", "model_mismatch"):
        assert f"`{code}`" in text


def test_a_published_table_has_an_index_and_a_map(world: World, tmp_path: Path):
    settings = world.settings(
        embeddings=world.embeddings, jobs=tmp_path / "jobs", similar_exact_rows=len(EVERY)
    )
    body = {"node": 105, "k": 5}
    with running(settings) as client:
        exact = client.post("/v1/nodes/similar", json=body).json()
        assert exact["source"] == "exact"
        done(client, submit(client, publish=True))

        def indexed() -> Any:
            found = client.post("/v1/nodes/similar", json=body).json()
            return found["source"] == "index" and found

        found = wait_for(indexed, 10.0)
        near, nearest = ([n["score"] for n in f["neighbors"]] for f in (found, exact))
        assert near == pytest.approx(nearest, abs=1e-3)
        assert client.get("/v1/models/default/map").json()["stored"]
    # the index alone answers where the table is too large for any other search
    with running(settings.model_copy(update={"similar_exact_rows": len(EVERY) - 1})) as client:
        assert client.post("/v1/nodes/similar", json=body).json()["source"] == "index"


# --- canceling, killing, publishing -----------------------------------------------------------


def test_a_job_is_canceled_killed_stopped_and_still_finished_alike(wide: World, tmp_path: Path):
    settings = wide.settings(jobs=tmp_path / "jobs", max_queued_jobs=2, **SLOW)
    with running(settings) as client:
        cancel_and_refuse(client, tmp_path / "jobs")
        digest = kill_and_finish(client)
        interrupted = submit(client)
        progress_seen(client, interrupted)
        [runner] = runners(client)
    assert not runner.is_running(), "the server left its runner behind"
    with pytest.raises(AssertionError), running(settings) as client:
        after = done(client, interrupted)
        assert after["attempts"] == 1
        assert after["result"]["sha256"] == digest, "killed and stopped end in other bytes"
        assert len(content(client, interrupted)) == after["result"]["size_bytes"]
        progress_seen(client, submit(client))
        [runner] = runners(client)
        client.process.kill()  # type: ignore[attr-defined]
        wait_for(lambda: not runner.is_running() or runner.status() == psutil.STATUS_ZOMBIE)
        left = True
    assert left, "an assertion above failed, not the one about how the server ended"
    with worker(wide, tmp_path / "jobs", "--until-idle") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, json.loads(out)["jobs"]) == (0, 1), err


def cancel_and_refuse(client: httpx.Client, jobs: Path) -> None:
    """Cancel the job that runs and those that wait; a queue that is full refuses more."""
    runs = submit(client)
    assert wait_for(lambda: get(client, runs)["state"] == "running", seconds=150)
    waits = [submit(client), submit(client)]
    refused(download(client, runs), 409, "job_not_done")
    full = client.post("/v1/jobs", json={"kind": "embed"})
    assert refused(full, 429, "too_many_jobs")["limit"] == 2
    assert int(full.headers["retry-after"]) > 0
    assert client.delete(f"/v1/jobs/{runs['id']}").json()["cancel_requested"]
    for job in waits:
        assert client.delete(f"/v1/jobs/{job['id']}").json()["state"] in ("canceled", "running")
    for job in (runs, *waits):
        assert ended(client, job)["state"] == "canceled"
        assert refused(download(client, job), 409, "job_not_done")["state"] == "canceled"
        assert not (jobs / job["id"]).exists()
    assert client.get("/v1/jobs", params={"state": "done"}).json() == {"jobs": []}


def kill_and_finish(client: httpx.Client) -> str:
    """Kill the runner at work; another goes on where it was. Returns the digest of the result."""
    job = submit(client)
    seen = progress_seen(client, job)["progress"]
    [runner] = runners(client)
    runner.kill()
    assert client.post("/v1/nodes/predict", json={"nodes": [105]}).status_code == 200
    assert get(client, job)["state"] == "running"
    wait_for(lambda: get(client, job)["attempts"] == 2)
    first = wait_for(lambda: (p := get(client, job)["progress"]) and p["stage"] != "open" and p)
    assert (first["stage"], first["rows_done"]) >= (seen["stage"], seen["rows_done"])
    digest: str = done(client, job)["result"]["sha256"]
    return digest


def test_a_published_table_reaches_both_workers_and_drops_nothing(world: World, tmp_path: Path):
    settings = world.settings(jobs=tmp_path / "jobs", workers=2, cache_bytes=0)
    with running(settings) as client:
        stop, failures, sources = threading.Event(), [], []

        def ask() -> None:
            body = {"nodes": [105, 900, 1400], "include": ["embedding"]}
            while not stop.is_set():
                with httpx.Client(base_url=client.base_url, timeout=30) as fresh:
                    response = fresh.post("/v1/nodes/predict", json=body)
                if response.status_code != 200:
                    failures.append(response.text)
                    return
                rows = response.json()["predictions"]
                sources.append({entry["source"] for entry in rows})
                time.sleep(0.03)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        job = submit(client, publish=True)
        done(client, job)
        ends = time.monotonic() + 60
        # connections go to either worker by chance, so that twenty in a row have met both
        while not failures and not all(found == {"table"} for found in sources[-20:]):
            assert time.monotonic() < ends, sources[-20:]
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert sources[0] == {"computed"}
        for _ in range(6):
            with httpx.Client(base_url=client.base_url) as fresh:
                assert fresh.get("/health/ready").json()["checks"]["table"] == "fresh"
                assert f'table="{job["id"]}"' in fresh.get("/metrics").text


# --- gnn worker --------------------------------------------------------------------------------


@contextmanager
def worker(
    world: World, jobs: Path, *options: str, file_bytes: int = 0, **settings: Any
) -> Iterator[subprocess.Popen[str]]:
    """`gnn worker` in a process of its own, with files of limited size where that is asked."""
    given = {f"GNN_{name.upper()}": str(value) for name, value in settings.items()}
    command = ["worker", "--graph", world.graph, "--models", world.models, "--jobs", jobs, *options]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "service.cli", *map(str, command), "--json"],
        env={k: v for k, v in os.environ.items() if not k.startswith("GNN_")} | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    if file_bytes:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_workers_share_jobs_through_a_redis_and_one_has_no_space(world: World, tmp_path: Path):
    jobs = tmp_path / "jobs"
    with ExitStack() as stack:
        redis = stack.enter_context(ExitStack())
        url = redis.enter_context(redis_server(tmp_path)).url
        client = stack.enter_context(running(world.settings(jobs=jobs, redis_url=url)))
        sent = [submit(client, nodes=EVERY[i : i + 50]) for i in range(0, 300, 50)]
        time.sleep(0.7)
        assert {get(client, job)["state"] for job in sent} == {"queued"}
        assert runners(client) == []
        for job in sent:
            client.delete(f"/v1/jobs/{job['id']}")
        fail_for_want_of_space(client, world, jobs, url)
        sent = [submit(client, nodes=EVERY[i : i + 50]) for i in range(0, 300, 50)]
        beats = [tmp_path / "one", tmp_path / "two"]
        with (
            worker(world, jobs, "--redis", url, worker_heartbeat=beats[0]) as one,
            worker(world, jobs, "--redis", url, worker_heartbeat=beats[1]) as two,
        ):
            after = [done(client, job) for job in sent]
            wait_for(lambda: all(beat.exists() for beat in beats))  # from then on they hear signals
            results = []
            for process in (one, two):
                process.send_signal(signal.SIGTERM)
                out, _ = process.communicate(timeout=30)
                assert process.returncode == 0
                results.append(json.loads(out.splitlines()[-1])["jobs"])
        assert sum(results) == 6
        assert {job["attempts"] for job in after} == {1}
        assert not (jobs / "jobs.sqlite").exists()
        assert [len(content(client, job)) for job in sent]
        assert 'gnn_jobs{state="done"} 6.0' in client.get("/metrics").text
        redis.close()
        only_jobs_are_lost(client)
        assert len(list(jobs.iterdir())) == 6


def fail_for_want_of_space(client: httpx.Client, world: World, jobs: Path, url: str) -> None:
    """A worker that can write no large file fails the job by name, and cleans up."""
    job = submit(client)
    with worker(world, jobs, "--redis", url, "--until-idle", file_bytes=80_000) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["jobs"]) == (0, 1), err
    after = ended(client, job)
    assert (after["state"], after["error"]["code"]) == ("failed", "no_space")
    assert str(jobs) not in after["error"]["detail"]
    assert not (jobs / job["id"]).exists()
    assert client.post("/v1/nodes/predict", json={"nodes": [105]}).status_code == 200


def only_jobs_are_lost(client: httpx.Client) -> None:
    """Without its Redis a server refuses jobs, says no word of it, and does all the rest."""
    for response in (
        client.post("/v1/jobs", json={"kind": "embed", "nodes": [105]}),
        client.get("/v1/jobs"),
        client.get(f"/v1/jobs/{'0' * 32}"),
    ):
        problem = refused(response, 503, "jobs_unavailable")
        assert "redis" not in json.dumps(problem).lower()
        assert response.headers["retry-after"]
    assert client.post("/v1/nodes/predict", json={"nodes": [105]}).status_code == 200
    assert client.get("/health/ready").status_code == 200
    assert "gnn_requests_total" in client.get("/metrics").text


def test_a_worker_that_reaches_no_redis_says_so(world: World, tmp_path: Path):
    with pytest.raises(JobStoreError, match="Redis"):
        run_worker("redis://127.0.0.1:1/0", world.graph, world.models, tmp_path)
    assert not list(tmp_path.iterdir())
