"""Prediction sets at the door: by every road the same, refused where there is no calibration."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from world import CLASSES, World, add_model, running

from gnn import TrainConfig, embed, load_model, save_model
from gnn.measure import measure
from service.cli import main
from service.errors import NotCalibratedError
from service.jobs.door import JobDoor
from service.jobs.process import open_queue
from service.jobs.request import JobRequest
from service.jobs.runner import Runner
from service.predictor import Predictor, open_predictor

IDS = list(range(100, 160))


@pytest.fixture(scope="module")
def calibrated(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("calibrated")
    model = load_model(add_model(root / "scratch/default", world.data, seed=1)).model
    config = TrainConfig(fanouts=(4, 3))
    save_model(
        root / "models/default", model, world.data, config, measure(model, world.data, config)
    )
    for _ in embed(load_model(root / "models/default"), world.data, root / "embeddings"):
        pass
    return World(world.graph, root / "models", root / "embeddings", world.data)


def job(world: World, directory: Path, **fields: Any) -> Any:
    """The result of a job, as a table."""
    settings = world.settings(jobs=directory / "jobs", verify_graph=False)
    door = JobDoor(open_queue(settings), opened(world), settings)
    try:
        text = json.dumps({"kind": "predict", **fields})
        sent = door.submit(JobRequest.model_validate_json(text))
        Runner(door.queue, settings, sent.spec.graph).run(threading.Event(), idle_s=0.0)
        assert door.queue.get(sent.id).state == "done", door.queue.get(sent.id).error
        return pq.read_table(door.part(sent.id, None)[0])
    finally:
        door.queue.store.close()


def opened(world: World, table: bool = False) -> Predictor:
    embeddings = world.embeddings if table else None
    return open_predictor(
        world.graph, world.models, embeddings, world.settings(embeddings=embeddings)
    )


def sets(predictions: list[dict]) -> list[list[str]]:
    return [entry["prediction_set"] for entry in predictions]


def test_sets_are_those_of_the_calibration_most_probable_first(calibrated: World):
    include = ("probabilities", "prediction_set")
    predictions = opened(calibrated).predict(IDS, mode="exact", include=include).predictions
    calibration = load_model(calibrated.models / "default").info.calibration
    rows = np.array([list(p["probabilities"].values()) for p in predictions])
    for row, members, chosen in zip(rows, sets(predictions), calibration.sets(rows), strict=True):
        ranked = [CLASSES[i] for i in np.argsort(-row, kind="stable") if chosen[i]]
        assert members == ranked
    assert {len(s) for s in sets(predictions)} != {0}


def test_table_computed_rest_and_command_line_give_the_same_sets(calibrated: World, capsys):
    body = {"nodes": IDS, "mode": "exact", "include": ["prediction_set"]}
    expected = sets(
        opened(calibrated).predict(IDS, mode="exact", include=["prediction_set"]).predictions
    )
    table = opened(calibrated, table=True).predict(IDS, mode="table", include=["prediction_set"])
    assert sets(table.predictions) == expected
    with running(calibrated.settings()) as client:
        answered = client.post("/v1/nodes/predict", json=body)
    assert sets(answered.json()["predictions"]) == expected
    assert set(answered.json()["predictions"][0]) == {"node", "source", "mode", "prediction_set"}
    with pytest.raises(SystemExit):
        main(["predict", str(calibrated.graph), str(calibrated.models / "default"), "--nodes",
              ",".join(map(str, IDS)), "--mode", "exact", "--include", "prediction_set",
              "--json"])  # fmt: skip
    assert sets(json.loads(capsys.readouterr().out)["predictions"]) == expected


def test_a_model_without_calibration_refuses_with_its_own_code(world: World):
    with pytest.raises(NotCalibratedError, match="version 1 has no calibration"):
        opened(world).predict([105], include=["prediction_set"])
    with running(world.settings()) as client:
        body = {"nodes": [105], "include": ["prediction_set"]}
        answered = client.post("/v1/nodes/predict", json=body)
    assert (answered.status_code, answered.json()["code"]) == (422, "not_calibrated")


def test_probabilities_are_not_touched_by_the_calibration(calibrated: World, world: World):
    one = opened(calibrated).predict(IDS, mode="exact").predictions
    other = opened(world).predict(IDS, mode="exact").predictions
    assert one == other


def test_models_that_were_saved_before_calibration_load(calibrated: World, tmp_path: Path):
    import hashlib

    saved = load_model(calibrated.models / "default")
    content = json.loads((saved.path / "model.json").read_text())
    del content["calibration"], content["digest"]
    content["files"] = {k: v for k, v in content["files"].items() if not k.endswith(".md")}
    text = json.dumps(content, sort_keys=True).encode()
    content["digest"] = hashlib.sha256(text).hexdigest()
    old = tmp_path / "default" / "1"
    old.mkdir(parents=True)
    for name in content["files"]:
        (old / name).write_bytes((saved.path / name).read_bytes())
    (old / "card.md").write_text("an old card")
    (old / "model.json").write_text(json.dumps(content))
    loaded = load_model(old)
    assert loaded.info.calibration is None
    assert loaded.card == "an old card"


def test_a_job_gives_the_sets_of_rest_for_some_nodes_and_for_all(calibrated: World, tmp_path: Path):
    include = ["prediction_set"]
    every = list(range(100, 1600))
    expected = opened(calibrated).predict(every, mode="exact", include=include).predictions
    for nodes, wanted in ((IDS, expected[: len(IDS)]), (None, expected)):
        table = job(calibrated, tmp_path, include=include, nodes=nodes)
        assert table.column_names == ["id", "prediction_set"]
        same = [
            a == b for a, b in zip(table["prediction_set"].to_pylist(), sets(wanted), strict=True)
        ]
        assert np.mean(same) > 0.99  # a score at the threshold may fall on either side
    table = job(calibrated, tmp_path, include=["label", "prediction_set"], nodes=IDS)
    assert [s[0] for s in table["prediction_set"].to_pylist()] == table["label"].to_pylist()


def test_a_job_for_sets_of_a_model_without_calibration_is_refused(world: World, tmp_path: Path):
    with pytest.raises(NotCalibratedError):
        job(world, tmp_path, include=["prediction_set"])
