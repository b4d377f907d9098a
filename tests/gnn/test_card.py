"""The model card: what stands on it is what was measured, and it cannot be changed unnoticed."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

from gnn import TrainConfig, certify, load_model, save_model, train
from gnn.class_report import class_report, labels_report
from gnn.measure import measure
from gnn.pictures import learning_curve
from sampling import Dataset
from sampling.errors import DamagedError

CONFIG = TrainConfig(epochs=4, lr=0.05)


@pytest.fixture
def trained(tmp_path, data, make_model):
    model = make_model()
    reports = list(train(model, data, CONFIG))
    path = save_model(
        tmp_path / "models" / "m",
        model,
        data,
        CONFIG,
        measure(model, data, CONFIG),
        certificate=certify(model, data),
        history=reports[-1].history,
    )
    return load_model(path)


def test_the_card_tells_of_data_classes_calibration_symmetry_and_training(trained, data):
    card = trained.card
    assert f"- {data.graph.num_nodes} nodes, {data.graph.num_edges} edges" in card
    counts = np.bincount(data.labels)
    assert f"- 60 nodes with a label: `a` {counts[0]}, `b` {counts[1]}, `c` {counts[2]}" in card
    sizes = {part: len(data.nodes_in(part)) for part in ("train", "val", "test")}
    assert f"train {sizes['train']}, val {sizes['val']}, test {sizes['test']}" in card
    assert "| class | precision | recall | f1 | support |" in card
    assert "On the test part." in card
    assert "|  | `a` | `b` | `c` |" in card
    assert f"| temperature | {trained.info.calibration.temperature:.4f} |" in card
    assert "| permutation | " in card
    assert "![Loss and metrics over the epochs](learning_curve.svg)" in card
    assert "- lr: 0.05" in card


@pytest.mark.parametrize("name", ["card.md", "learning_curve.svg"])
def test_a_changed_card_or_picture_is_damage(trained, name):
    path = trained.path / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DamagedError, match=name):
        load_model(trained.path)


def test_model_json_cannot_name_other_files(trained):
    path = trained.path / "model.json"
    content = json.loads(path.read_text())
    content["files"]["../../secret"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedError, match=r"model\.json"):
        load_model(trained.path)


def test_class_measures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 5, 200), rng.integers(0, 4, 200)
    y[y == 2] = 3
    report = class_report(predicted, y, 6, "test")
    expected = precision_recall_fscore_support(y, predicted, labels=range(6), zero_division=0)
    for ours, theirs in zip(
        (report.precision, report.recall, report.f1, report.support), expected, strict=True
    ):
        assert ours == pytest.approx(theirs)
    assert np.array_equal(report.confusion, confusion_matrix(y, predicted, labels=range(6)))


def test_measures_of_labels_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, p = rng.random((50, 5)) < 0.3, rng.random((50, 5))
    y[:, 3], p[:, 4] = False, 0.1
    report = labels_report(p, y, "test")
    precision, recall, f1, support = precision_recall_fscore_support(y, p > 0.5, zero_division=0)
    np.testing.assert_allclose(report.precision, precision)
    np.testing.assert_allclose(report.recall, recall)
    np.testing.assert_allclose(report.f1, f1)
    assert report.support.tolist() == support.tolist()
    ranked = [np.nan if c == 3 else average_precision_score(y[:, c], p[:, c]) for c in range(5)]
    np.testing.assert_allclose(report.average_precision, ranked)
    assert report.confusion is None


def test_a_confusion_shows_the_most_frequent_classes():
    y = np.repeat(np.arange(30), np.arange(1, 31))
    report = class_report(np.roll(y, 1), y, 30, "test")
    assert report.shown.tolist() == list(range(10, 30))
    whole = confusion_matrix(y, np.roll(y, 1), labels=range(30))
    assert np.array_equal(report.confusion, whole[10:, 10:])


def test_equal_histories_give_equal_pictures_and_none_gives_none(data, make_model):
    history = list(train(make_model(), data, CONFIG))[-1].history
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    first = learning_curve(history)
    assert first.startswith(b"<?xml")
    assert first == learning_curve(history)
    assert learning_curve([]) is None


def test_without_matplotlib_there_is_no_picture(data, make_model, monkeypatch):
    real = builtins.__import__

    def refuse(name: str, *arguments: object, **options: object):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert learning_curve([{"epoch": 1, "loss": 1.0, "train": {}, "val": {}}]) is None


def test_the_history_of_a_resumed_training_is_whole(data, make_model, tmp_path):
    whole = list(train(make_model(), data, CONFIG))[-1].history
    first = train(make_model(), data, CONFIG, resume_dir=tmp_path)
    next(first)
    next(first)
    first.close()
    resumed = list(train(make_model(), data, CONFIG, resume_dir=tmp_path, resume=True))
    assert resumed[-1].history == whole


def test_a_regression_has_a_card_without_classes(tmp_path, make_data, make_model):
    data, config = make_data(real=True), TrainConfig(task="node-regression", epochs=1)
    model = make_model(d_out=1)
    saved = load_model(
        save_model(tmp_path / "m", model, data, config, measure(model, data, config))
    )
    assert saved.info.calibration is None
    assert "nodes with a target" in saved.card
    assert "recall" not in saved.card


def test_names_of_others_cannot_break_the_card(tmp_path, data, make_model):
    hostile = Dataset.in_memory(
        data.graph,
        features=data.features,
        labels=data.labels,
        splits=data.splits,
        classes=["a`|\n# b", "<script>", "c" * 500],
        name="g`\n# title",
    )
    model = make_model()
    saved = load_model(
        save_model(tmp_path / "m", model, hostile, CONFIG, measure(model, hostile, CONFIG))
    )
    titles = [line for line in saved.card.splitlines() if line.startswith("# ")]
    assert titles == ["# m, version 1"]
    assert "a`" not in saved.card
    assert "c" * 100 not in saved.card
