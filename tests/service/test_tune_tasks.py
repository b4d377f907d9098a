"""`gnn tune` on every kind of task: it starts where `gnn train` does, and ends where it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kinds_made import KINDS, in_time

from sampling import GraphCollection, GraphStore
from service.cli import main

SPACE = "lr = [0.02, 0.005]\nepochs = 2\nhidden = 4\n"
TRAINED = ("--epochs", 2, "--hidden", 4, "--threads", 1, "--json")


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), json.loads(out.splitlines()[-1]) if out else {}, err


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_trial_is_what_training_makes_of_its_settings(kind: str, tmp_path: Path, capsys):
    make, task, flags, monitor = KINDS[kind]
    data, graph, models = make(), tmp_path / "graph", tmp_path / "models"
    data.write(graph) if isinstance(data, GraphCollection) else GraphStore.write(graph, data)
    (tmp_path / "space.toml").write_text(SPACE)
    code, tuned, err = said(
        capsys, "tune", graph, "--out", models / "tuned", "--space", tmp_path / "space.toml",
        "--task", task, *flags, "--trials", 2, "--device", "cpu", "--threads", 1, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert (tuned["monitor"], len(tuned["trials"])) == (monitor, 2)
    best = tuned["trials"][tuned["best_trial"]]
    assert best["value"] == pytest.approx(
        tuned["metrics"].get("val", {}).get(monitor, best["value"])
    )
    code, trained, err = said(
        capsys, "train", graph, "--out", models / "trained", "--task", task, *flags, *TRAINED,
        "--lr", best["settings"]["lr"],
    )  # fmt: skip
    assert code == 0, err
    assert tuned["metrics"] == trained["metrics"]
    one, other = (
        json.loads((models / name / "1" / "model.json").read_text())
        for name in ("tuned", "trained")
    )
    assert one["config"] == other["config"]
    assert one["training"] == {**other["training"], "device": "cpu"}
    shares = [0.8, 0.1, 0.1] if task == "link-prediction" else [0.6, 0.2, 0.2]
    assert one["training"]["split"] == ([0.7, 0.15, 0.15] if flags else shares)


def test_time_can_stand_in_the_space(tmp_path: Path, capsys):
    GraphStore.write(tmp_path / "graph", in_time())
    (tmp_path / "space.toml").write_text(SPACE + "temporal = true\n")
    code, tuned, err = said(
        capsys, "tune", tmp_path / "graph", "--out", tmp_path / "m", "--space",
        tmp_path / "space.toml", "--task", "link-prediction", "--trials", 1, "--threads", 1,
        "--json",
    )  # fmt: skip
    assert code == 0, err
    assert tuned["monitor"] == "average_precision"
    assert json.loads((tmp_path / "m/1/model.json").read_text())["training"]["split"] == [
        0.7, 0.15, 0.15,
    ]  # fmt: skip
