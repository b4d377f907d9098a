"""Prediction sets of whole graphs: by both roads alike, refused where no calibration is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inprocess import InProcess, in_process

from gnn import build_model, load_model, save_model
from gnn.architecture import architecture_for
from gnn.measure import Measured, measure
from gnn.recipes import recipe_for
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph, GraphCollection
from service.cli import main
from service.settings import Settings

CLASSES, TASK, NUM_GRAPHS = ["inert", "odd", "toxic"], "graph-classification", 60
SETS = ["prediction_set"]


def collection() -> GraphCollection:
    rng, parts = np.random.default_rng(0), []
    for _ in range(NUM_GRAPHS):
        graph = Graph.from_edges(*rng.integers(0, 4, (2, 6)), num_nodes=4)
        rows = rng.normal(size=(4, 3)).astype("f4")
        parts.append(Dataset.in_memory(graph, features=rows))
    splits = np.tile(np.array([1, 2, 2, 3], np.uint8), NUM_GRAPHS // 4)
    labels = rng.integers(0, 3, NUM_GRAPHS)
    return GraphCollection.from_graphs(parts, labels=labels, classes=CLASSES, splits=splits)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sure` with calibration; `mixed` with a newer version that has none."""
    root, data = tmp_path_factory.mktemp("sets"), collection()
    data.write(root / "graphs")
    torch.manual_seed(0)
    recipe = recipe_for("gin", data, 2, TASK)
    model = build_model(architecture_for(TASK, data, recipe, {"d_hidden": 8}))
    config = TrainConfig(task=TASK)
    calibrated = measure(model, data, config)
    for name, found in (("sure", calibrated), ("mixed", calibrated), ("mixed", Measured({}, {}))):
        save_model(root / "models" / name, model, data, config, found)
    return root


@pytest.fixture(scope="module")
def client(root: Path):
    settings = Settings(
        graph=root / "graphs", models=root / "models", run_jobs=False, open_admin=True
    )
    with in_process(settings) as served:
        yield served


def sent(number: int) -> dict[str, Any]:
    data = collection()
    start, end = data.offsets[number : number + 2]
    indptr = data.nodes.graph.indptr[start : end + 1]
    dst = np.repeat(np.arange(end - start), np.diff(indptr))
    src = data.nodes.graph.indices[indptr[0] : indptr[-1]] - start
    return {
        "node_features": data.nodes.features.array[start:end].tolist(),
        "edges": np.stack([src, dst], axis=1).tolist(),
    }


def ask(client: InProcess, numbers: range, **fields: Any) -> Any:
    body = {"graphs": [sent(number) for number in numbers], **fields}
    return client.post("/v1/graphs/predict", json=body)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return int(ended.value.code or 0)


def test_sets_are_those_of_the_calibration_most_probable_first(root: Path, client: InProcess):
    include = ["label", "probabilities", "embedding", "prediction_set"]
    entries = ask(client, range(20), model="sure", include=include).json()["predictions"]
    calibration = load_model(root / "models" / "sure").info.calibration
    rows = np.array([list(entry["probabilities"].values()) for entry in entries])
    for entry, row, chosen in zip(entries, rows, calibration.sets(rows), strict=True):
        ranked = [CLASSES[i] for i in np.argsort(-row, kind="stable") if chosen[i]]
        assert entry["prediction_set"] == ranked
        assert entry["prediction_set"][0] == entry["label"]
    assert len({len(entry["prediction_set"]) for entry in entries}) > 1, "sets of several sizes"


def test_the_command_gives_the_sets_of_rest(root: Path, client: InProcess, capsys):
    answer = ask(client, range(10), model="sure", include=SETS).json()
    assert all(entry.keys() == {"prediction_set"} for entry in answer["predictions"])
    arguments = ("predict", root / "graphs", root / "models" / "sure", "--include", *SETS)
    assert run(*arguments, "--nodes", ",".join(map(str, range(10))), "--json") == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert [row["prediction_set"] for row in rows] == [
        entry["prediction_set"] for entry in answer["predictions"]
    ]


def test_a_model_without_calibration_refuses_with_the_code_of_nodes(root, client, capsys):
    answer = ask(client, range(1), model="mixed", include=SETS)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_calibrated")
    assert ask(client, range(1), model="mixed").status_code == 200
    arguments = ("predict", root / "graphs", root / "models" / "mixed", "--include", *SETS)
    assert run(*arguments, "--nodes", "0") == 2
    assert "version 2 has no calibration" in capsys.readouterr().err


def test_a_canary_without_calibration_leaves_sets_to_the_others(client: InProcess):
    route = {"model": "mixed", "version": 1, "canary": {"version": 2, "share": 0.9}}
    assert client.request("PUT", "/v1/aliases/live", json=route).status_code == 200

    def versions(**fields: Any) -> set[int]:
        answers = [ask(client, range(n, n + 1), model="live", **fields) for n in range(10)]
        return {answer.json()["model_version"] for answer in answers}

    assert 2 in versions()
    assert versions(include=SETS) == {1}
