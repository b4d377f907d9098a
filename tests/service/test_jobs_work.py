"""Jobs from row to files, in this process: equal to the REST answers, whatever happens between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from world import CLASSES, World, add_model, make_world

from gnn import EmbeddingTable, embed, load_model
from service.errors import (
    JobExpiredError,
    JobNotDoneError,
    JobNotFoundError,
    LimitError,
    ModelNotFoundError,
    NoSpaceError,
    RequestError,
    TooManyJobsError,
    UnknownNodeError,
    VersionNotFoundError,
    WrongTaskError,
)
from service.jobs import retention
from service.jobs.door import JobDoor
from service.jobs.folder import JobFolder
from service.jobs.job import Job
from service.jobs.process import open_queue
from service.jobs.published import (
    PublishedTables,
    publish_table,
    remove_unlinked,
    unlink_gone,
)
from service.jobs.request import JobRequest
from service.jobs.runner import Runner
from service.jobs.work import work_on
from service.predictor import open_predictor
from service.routing import RoutingState
from service.routing_file import RoutingFile
from service.settings import Settings

EVERY = list(range(100, 1600))


def settings_of(world: World, directory: Path, **changes: Any) -> Settings:
    return world.settings(jobs=directory / "jobs", verify_graph=False, **changes)


def door_of(settings: Settings) -> JobDoor:
    predictor = open_predictor(settings.graph, settings.models, None, settings)
    return JobDoor(open_queue(settings), predictor, settings)


def run_all(door: JobDoor, settings: Settings | None = None) -> int:
    graph = door.predictor.data.meta.fingerprint
    runner = Runner(door.queue, settings or door.settings, graph)
    return runner.run(threading.Event(), idle_s=0.0)


def request(**fields: Any) -> JobRequest:
    return JobRequest.model_validate_json(json.dumps({"kind": "embed", **fields}))


def finished(door: JobDoor, **fields: Any) -> Job:
    job = door.submit(request(**fields))
    run_all(door)
    after = door.queue.get(job.id)
    assert after.state == "done", after.error
    return after


def tables(door: JobDoor, job: Job) -> pa.Table:
    """All parts of a result, checked against what the row says of them."""
    parts, whole = [], hashlib.sha256()
    for number, about in enumerate(job.result.parts):
        path, _ = door.part(job.id, number)
        content = path.read_bytes()
        assert len(content) == about.size_bytes
        assert hashlib.sha256(content).hexdigest() == about.sha256
        whole.update(content)
        parts.append(pq.read_table(path))
        assert parts[-1].num_rows == about.rows
        parts[-1].validate(full=True)
    assert whole.hexdigest() == job.result.sha256
    table = pa.concat_tables(parts)
    assert table.num_rows == job.result.rows == job.spec.num_nodes
    return table


def exact(door: JobDoor, ids: Sequence[Any]) -> list[dict[str, Any]]:
    include = ["label", "probabilities", "embedding"]
    return door.predictor.predict(ids, mode="exact", include=include).predictions


def assert_rows_are_those_of_rest(table: pa.Table, wanted: list[dict[str, Any]]) -> None:
    assert table["id"].to_pylist() == [entry["node"] for entry in wanted]
    if "embedding" in table.column_names:
        rows = np.array(table["embedding"].to_pylist())
        assert np.abs(rows - [entry["embedding"] for entry in wanted]).max() < 1e-5
    if "label" in table.column_names:
        scores = np.array([entry["score"] for entry in wanted])
        assert np.abs(np.array(table["score"]) - scores).max() < 1e-5
        same = [a == b["label"] for a, b in zip(table["label"].to_pylist(), wanted, strict=True)]
        assert np.mean(same) > 0.99  # two equal probabilities may change places
    if "probabilities" in table.column_names:
        classes = json.loads(table.schema.metadata[b"classes"])
        assert classes == CLASSES
        rows = np.array(table["probabilities"].to_pylist())
        others = [[entry["probabilities"][name] for name in classes] for entry in wanted]
        assert np.abs(rows - others).max() < 1e-5


@pytest.fixture
def door(world: World, tmp_path: Path) -> JobDoor:
    return door_of(settings_of(world, tmp_path, job_part_bytes=64 * 1024))


SOME = [105, 100, 1599, 105, 777]
MOST = [*EVERY[::-1], *EVERY[:200]]


@pytest.mark.parametrize(
    ("kind", "nodes", "include"),
    [
        ("embed", None, None),
        ("predict", None, None),
        ("embed", None, ["probabilities", "embedding", "label"]),
        ("embed", SOME, None),
        ("predict", SOME, ["label", "embedding"]),
        ("predict", MOST, None),
    ],
)
def test_a_result_equals_the_exact_answers(door: JobDoor, kind: str, nodes: Any, include: Any):
    job = finished(door, kind=kind, nodes=nodes, include=include)
    table = tables(door, job)
    assert_rows_are_those_of_rest(table, exact(door, nodes or EVERY))
    wanted = {"embed": ["embedding"], "predict": ["label", "score", "probabilities"]}[kind]
    names = {"label": ["label", "score"]}
    if include is not None:
        wanted = [column for name in include for column in names.get(name, [name])]
    assert sorted(table.column_names) == sorted(["id", *wanted])
    assert table.schema.metadata[b"graph_fingerprint"].decode() == job.spec.graph
    assert [path.name for path in JobFolder(door.settings.jobs_directory, job.id).path.iterdir()] \
        == ["result"]  # fmt: skip


def test_string_ids_come_back_as_they_were(string_world: World, tmp_path: Path):
    door = door_of(settings_of(string_world, tmp_path))
    nodes = ["n1\n", "n7", "\n", "n7"]
    job = finished(door, kind="predict", nodes=nodes, include=["embedding", "label"])
    assert_rows_are_those_of_rest(tables(door, job), exact(door, nodes))
    whole = tables(door, finished(door))
    assert whole["id"].to_pylist()[:7] == ["n0", "n1", "n1\n", "line\nfeed", "\n",
                                           "n1/neighbors\n", "n6"]  # fmt: skip


def test_a_regression_answers_with_values(world: World, tmp_path: Path):
    models = tmp_path / "models"
    add_model(models / "default", world.data, 3, task="node-regression")
    settings = Settings(graph=world.graph, models=models, jobs=tmp_path / "jobs")
    door = door_of(settings)
    job = finished(door, kind="predict", nodes=SOME)
    table = tables(door, job)
    wanted = [entry["value"] for entry in door.predictor.predict(SOME, mode="exact").predictions]
    assert table.column_names == ["id", "value"]
    assert np.abs(np.array(table["value"]) - wanted).max() < 1e-5


def test_the_bare_table_is_npy(door: JobDoor, world: World):
    job = finished(door, format="npy")
    path, part = door.part(job.id, None)
    table = EmbeddingTable.open(world.embeddings)
    assert (np.load(path) == table.embeddings).all()
    assert (part.name, part.rows) == ("embeddings.npy", 1500)


def test_a_small_result_is_one_file_and_a_large_one_several(door: JobDoor):
    small, large = finished(door, nodes=SOME), finished(door)
    assert len(small.result.parts) == 1
    assert len(large.result.parts) == 3
    with pytest.raises(RequestError, match="3"):
        door.part(large.id, None)
    with pytest.raises(RequestError):
        door.part(large.id, 3)
    assert door.part(large.id, 2)[1].rows == large.result.parts[2].rows


@pytest.mark.parametrize("nodes", [None, SOME * 30])
def test_a_job_cut_anywhere_ends_in_the_same_bytes(
    world: World, tmp_path: Path, nodes: list[int] | None
):
    settings = settings_of(world, tmp_path, job_tile_rows=100, job_part_bytes=64 * 1024)
    door = door_of(settings)
    whole = finished(door, kind="predict", nodes=nodes, include=["embedding", "label"])
    cut = door.submit(request(nodes=nodes, include=["embedding", "label"]))
    folder = JobFolder(settings.jobs_directory, cut.id)
    steps = 0
    for stop_after in (1, 2, 3, 1, 5):
        work = work_on(cut.spec, folder, lambda: door.predictor)
        for _, _progress in zip(range(stop_after), work, strict=False):
            steps += 1
        work.close()
    run_all(door)
    assert steps > 4
    assert door.queue.get(cut.id).result == whole.result


def test_a_run_begun_under_other_settings_starts_over(world: World, tmp_path: Path):
    door = door_of(settings_of(world, tmp_path, job_tile_rows=100))
    job = door.submit(request())
    work = work_on(
        job.spec, JobFolder(door.settings.jobs_directory, job.id), lambda: door.predictor
    )
    for _ in range(4):
        next(work)
    work.close()
    run_all(door, door.settings.model_copy(update={"job_tile_rows": 333}))
    after = door.queue.get(job.id)
    assert_rows_are_those_of_rest(tables(door, after), exact(door, EVERY))


def test_a_runner_told_to_stop_gives_the_job_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    door = door_of(settings_of(world, tmp_path, job_tile_rows=1, job_max_attempts=1))
    job = door.submit(request())
    stop = threading.Event()
    claim = door.queue.claim

    def claims(graph: str) -> Any:
        stop.set()
        return claim(graph)

    monkeypatch.setattr(door.queue, "claim", claims)
    Runner(door.queue, door.settings, job.spec.graph).run(stop)
    monkeypatch.undo()
    back = door.queue.get(job.id)
    assert (back.state, back.attempts) == ("queued", 0)
    run_all(door, door.settings.model_copy(update={"job_tile_rows": 1}))
    assert door.queue.get(job.id).state == "done"


def wait_for(holds: Any, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)


def test_of_two_runners_one_has_the_job(world: World, tmp_path: Path):
    door = door_of(settings_of(world, tmp_path))
    jobs = [door.submit(request(nodes=SOME)) for _ in range(6)]
    graph = jobs[0].spec.graph
    runners = [Runner(open_queue(door.settings), door.settings, graph) for _ in range(2)]
    ended: list[int] = []
    threads = [
        threading.Thread(target=lambda r=runner: ended.append(r.run(threading.Event(), 0.0)))
        for runner in runners
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ended) == 6
    assert [door.queue.get(job.id).attempts for job in jobs] == [1] * 6


def test_a_job_at_work_elsewhere_is_not_touched_though_its_lease_expired(
    world: World, tmp_path: Path
):
    door = door_of(settings_of(world, tmp_path, job_max_attempts=1))
    job = door.submit(request())
    frozen = work_on(
        job.spec, JobFolder(door.settings.jobs_directory, job.id), lambda: door.predictor
    )
    next(frozen)
    runner = Runner(door.queue, door.settings, job.spec.graph)
    assert runner._run_next(threading.Event()) is False
    assert door.queue.get(job.id).state == "queued"
    frozen.close()
    assert runner._run_next(threading.Event()) is True
    assert door.queue.get(job.id).state == "done"


def test_a_model_that_changed_and_a_graph_that_changed_fail_the_job(tmp_path: Path):
    world = make_world(tmp_path / "a")
    door = door_of(settings_of(world, tmp_path))
    first, second = door.submit(request()), door.submit(request(version=1))
    weights = next(world.models.rglob("weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-8] + bytes(8))
    run_all(door)
    assert door.queue.get(first.id).error.code == "store"
    assert str(world.models) not in door.queue.get(first.id).error.detail
    third = door.submit(request())
    other = make_world(tmp_path / "b", num_edges=8000)
    run_all(door, door.settings.model_copy(update={"graph": other.graph, "models": other.models}))
    assert door.queue.get(third.id).error.code == "graph_changed"
    assert door.queue.get(second.id).state == "failed"


# --- the door ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"nodes": [105, 7]}, UnknownNodeError),
        ({"nodes": ["105"]}, UnknownNodeError),
        ({"model": "nope"}, ModelNotFoundError),
        ({"model": "../models"}, ModelNotFoundError),
        ({"version": 9}, VersionNotFoundError),
        ({"nodes": [105] * 51}, LimitError),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_door(world, tmp_path, fields, error):
    door = door_of(settings_of(world, tmp_path, max_job_ids=50))
    with pytest.raises(error):
        door.submit(request(**fields))
    assert door.listed(10, None) == []
    assert not door.settings.jobs_directory.exists()


def test_a_result_larger_than_is_kept_is_refused(world: World, tmp_path: Path):
    door = door_of(settings_of(world, tmp_path, job_results_bytes=1 << 20))
    door.submit(request())
    with pytest.raises(LimitError) as caught:
        door.submit(request(nodes=[105] * 20_000))
    assert caught.value.got == 20_000 * 16 * 4


def test_a_full_queue_is_refused_and_leaves_nothing(world: World, tmp_path: Path):
    door = door_of(settings_of(world, tmp_path, max_queued_jobs=1))
    first = door.submit(request(nodes=SOME))
    with pytest.raises(TooManyJobsError):
        door.submit(request(nodes=SOME))
    folders = [path.name for path in door.settings.jobs_directory.iterdir() if path.is_dir()]
    assert folders == [first.id]


def test_a_disk_without_room_for_the_ids_is_named(door: JobDoor, monkeypatch):
    root = door.settings.jobs_directory
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError):
        door.submit(request(nodes=SOME))
    assert not list(root.iterdir())


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_job_without_result_says_so(door: JobDoor):
    job = door.submit(request(nodes=SOME))
    with pytest.raises(JobNotDoneError):
        door.part(job.id, None)
    assert door.cancel(job.id).state == "canceled"
    with pytest.raises(JobNotDoneError):
        door.part(job.id, None)
    with pytest.raises(JobNotFoundError):
        door.part("0" * 32, None)


def test_canceling_a_closed_job_discards_its_result(door: JobDoor):
    job = finished(door, nodes=SOME)
    path, _ = door.part(job.id, None)
    assert door.document(job)["result"]["rows"] == 5
    after = door.cancel(job.id)
    assert (after.state, after.discarded, path.exists()) == ("done", True, False)
    assert door.document(after)["result"] is None
    with pytest.raises(JobExpiredError):
        door.part(job.id, None)


# --- retention ---------------------------------------------------------------------------------


def test_old_results_go_then_their_rows(world: World, tmp_path: Path):
    door = door_of(settings_of(world, tmp_path, job_ttl_hours=1))
    old, new = finished(door, nodes=SOME), finished(door, nodes=SOME)
    age(door, old, 1.5)
    with pytest.raises(JobExpiredError):
        door.part(old.id, None)
    door.sweep()
    assert not JobFolder(door.settings.jobs_directory, old.id).path.exists()
    assert door.queue.get(old.id).discarded
    assert door.part(new.id, None)[0].exists()
    age(door, old, 2.5)
    door.sweep()
    with pytest.raises(JobNotFoundError):
        door.queue.get(old.id)
    assert door.queue.get(new.id).state == "done"


def age(door: JobDoor, job: Job, hours: float) -> None:
    then = time.time() - hours * 3600
    door.queue.store.update(job.id, lambda row, _: row.model_copy(update={"finished": then}))


def test_beyond_the_bound_the_oldest_results_go(world: World, tmp_path: Path):
    door = door_of(settings_of(world, tmp_path))
    jobs = [finished(door, nodes=SOME) for _ in range(4)]
    bound = sum(job.result.size_bytes for job in jobs[2:])
    limited = door.settings.model_copy(update={"job_results_bytes": bound})
    retention.sweep(door.queue, limited)
    assert [door.queue.get(job.id).discarded for job in jobs] == [True, True, False, False]


def test_rows_are_bounded_and_folders_of_none_go(world: World, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(retention, "MAX_ROWS", 3)
    door = door_of(settings_of(world, tmp_path))
    jobs = [door.submit(request(nodes=SOME)) for _ in range(6)]
    for job in jobs:
        door.cancel(job.id)
    orphan, fresh = (door.settings.jobs_directory / (mark * 32) for mark in "ab")
    for path in (orphan, fresh):
        path.mkdir()
    os.utime(orphan, (0, 0))
    door.sweep()
    assert [job.id for job in door.listed(10, None)] == [job.id for job in jobs[:2:-1]]
    assert (orphan.exists(), fresh.exists()) == (False, True)


# --- publishing --------------------------------------------------------------------------------


def test_a_published_table_is_served_and_another_models_is_not(world: World, tmp_path: Path):
    models = tmp_path / "models"
    add_model(models / "default", world.data, 1)
    add_model(models / "other", world.data, 2)
    settings = Settings(graph=world.graph, models=models, jobs=tmp_path / "jobs")
    door = door_of(settings)
    registry = door.predictor.registry
    assert door.published.look() == []
    job = finished(door, publish=True)
    assert door.published.look() == ["default"]
    served = door.predictor.registry.get("default").table
    assert served is not None
    assert served.map is not None
    assert len(served.map) == len(served.embeddings)
    assert door.published.look() == []
    assert registry.opened("default").table is not None
    assert registry.opened("other").table is None
    answered = door.predictor.predict(SOME, include=["embedding"]).predictions
    assert {entry["source"] for entry in answered} == {"table"}
    assert_rows_are_those_of_rest(tables(door, job), exact(door, EVERY))
    again = door_of(settings)
    assert again.published.look(verify=True) == ["default"]


def test_a_newer_table_replaces_the_one_before_and_a_link_may_not_lead_elsewhere(
    world: World, tmp_path: Path
):
    door = door_of(settings_of(world, tmp_path, embeddings=world.embeddings))
    registry = door.predictor.registry
    before = registry.opened("default")
    first = finished(door, publish=True)
    assert door.published.look() == ["default"]
    second = finished(door, publish=True)
    assert door.published.look() == ["default"]
    assert registry.opened("default").table.path.name == second.id
    assert before.table is None or before.table.path == world.embeddings
    root = door.published.root
    os.utime(root / ".tables" / first.id / "embeddings.json", (0, 0))
    remove_unlinked(root)
    assert sorted(path.name for path in (root / ".tables").iterdir()) == sorted(
        [first.id, second.id]
    )
    (root / "default@1").unlink()
    (root / "default@1").symlink_to(world.embeddings)
    (root / "strange").symlink_to(".tables/../../" + second.id)
    assert door.published.look() == []
    assert registry.opened("default").table.path.name == second.id


def test_every_version_has_a_table_of_its_own_until_it_is_deleted(world: World, tmp_path: Path):
    models = tmp_path / "models"
    for seed in (1, 2):
        add_model(models / "default", world.data, seed)
    settings = Settings(graph=world.graph, models=models, jobs=tmp_path / "jobs")
    door = door_of(settings)
    registry, root = door.predictor.registry, door.published.root
    old, new = (finished(door, publish=True, version=version) for version in (1, 2))
    root.joinpath("default").symlink_to(f".tables/{old.id}")  # as links were called before
    registry.get("default", 1)
    assert door.published.look() == ["default"] * 3
    served = {version: registry.opened("default", version).table for version in (1, 2)}
    assert {version: table.path.name for version, table in served.items()} == {1: old.id, 2: new.id}
    again = finished(door, publish=True, version=1)
    assert not root.joinpath("default").is_symlink()
    assert door.published.look() == ["default"]
    assert registry.opened("default", 1).table.path.name == again.id
    shutil.rmtree(models / "default" / "1")
    unlink_gone(root, tmp_path / "nowhere")
    assert door.published.look() == []
    unlink_gone(root, models)
    assert [path.name for path in root.iterdir() if path.is_symlink()] == ["default@2"]
    assert door.published.look() == []
    assert registry.opened("default", 1).table is None
    assert registry.opened("default", 2).table.path.name == new.id


def test_a_model_without_labels_is_refused_at_the_door(world: World, tmp_path: Path):
    models = tmp_path / "models"
    add_model(
        models / "links", world.data, 5, task="link-prediction",
        decoder="mlp", head="none", d_out=1,
    )  # fmt: skip
    door = door_of(Settings(graph=world.graph, models=models, jobs=tmp_path / "jobs"))
    with pytest.raises(WrongTaskError):
        door.submit(request(kind="predict"))
    assert door.submit(request(nodes=[105])).state == "queued"


def test_an_alias_is_settled_when_a_job_is_sent(world: World, tmp_path: Path):
    models = tmp_path / "models"
    for seed in (1, 2):
        add_model(models / "default", world.data, seed)
    door = door_of(
        Settings(graph=world.graph, models=models, jobs=tmp_path / "jobs", aliases="a=default@1")
    )
    job = door.submit(request(model="a", nodes=[105]))
    assert (job.spec.model, job.spec.version) == ("default", 1)
    state = RoutingState(unloaded={"default": [1]})
    RoutingFile(models / "routing.json").edit(lambda _: state)
    run_all(door)
    assert door.queue.get(job.id).state == "done", "what is unloaded later was asked for before"


def test_tables_that_no_link_leads_to_go_after_a_while(world, tmp_path, monkeypatch):
    door = door_of(settings_of(world, tmp_path))
    old, new = finished(door, publish=True), finished(door, publish=True)
    monkeypatch.setattr("service.jobs.published.GRACE_S", 0.0)
    remove_unlinked(door.published.root)
    tables_left = [path.name for path in (door.published.root / ".tables").iterdir()]
    assert tables_left == [new.id] != [old.id]


def test_a_table_of_another_graph_or_a_damaged_one_is_never_served(world: World, tmp_path: Path):
    other = make_world(tmp_path / "b", num_edges=8000)
    door = door_of(settings_of(world, tmp_path))
    registry = door.predictor.registry
    for number, spoil in enumerate((False, True)):
        folder = JobFolder(door.settings.jobs_directory, str(number) * 32)
        folder.path.mkdir(parents=True)
        source = world if spoil else other
        saved = load_model(source.models / "default")
        for _ in embed(saved, source.data, folder.table):
            pass
        if spoil:
            (folder.table / "embeddings.npy").write_bytes(b"short")
        publish_table(folder, "default", 1)
        publish_table(folder, "default", 1)
        assert PublishedTables(door.published.root, registry).look() == []
        assert registry.opened("default").table is None
