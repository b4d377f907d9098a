"""Several targets per graph: ingested, trained, measured, predicted and served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from gnn import ModelConfig, build_model, evaluate, load_model
from gnn.errors import TrainingError
from gnn.graph_evaluate import graph_logits
from gnn.target_report import target_report
from gnn.tasks import task_named
from sampling import Dataset, Graph, GraphCollection
from service.cli import main
from service.graph_predictor import GraphPredictor
from service.graph_schemas import SentGraph
from service.settings import Settings

TASK = task_named("graph-regression")
COUNT = 40


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    return json.loads(out.splitlines()[-1])


def tables(folder: Path) -> tuple[Path, Path]:
    """Rings: their size, and a thousand times its double, which every fifth one lacks."""
    sizes = 3 + np.random.default_rng(0).integers(0, 8, COUNT)
    rows = [f"{i},{n}.0,{'' if i % 5 == 0 else 2000.5 * n}" for i, n in enumerate(sizes)]
    (folder / "graphs.csv").write_text("\n".join(["graph,size,double", *rows]))
    edges = [f"{i},{k},{(k + 1) % n}" for i, n in enumerate(sizes) for k in range(n)]
    (folder / "edges.csv").write_text("\n".join(["graph,src,dst", *edges]))
    return folder / "graphs.csv", folder / "edges.csv"


def test_several_targets_go_the_whole_way(tmp_path: Path, capsys):
    graphs, edges = tables(tmp_path)
    made = said(capsys, "ingest-graphs", "--format", "tables", "--graphs", graphs, "--edges", edges,
                "--label", "size", "--label", "double", "--constant-feature", "--undirected",
                "--random-split", "0.6,0.2,0.2", "--out", tmp_path / "rings")  # fmt: skip
    assert made["num_targets"] == 2
    trained = said(capsys, "train", tmp_path / "rings", "--out", tmp_path / "models/m", "--task",
                   "graph-regression", "--model", "sage", "--epochs", 60, "--layers", 2, "--norm",
                   "none", "--batch-size", 4, "--lr", 0.02, "--hidden", 16, "--jumping", "none",
                   "--threads", 1)  # fmt: skip
    assert trained["metrics"]["test"]["r2"] > 0.7
    saved = load_model(tmp_path / "models/m/1")
    assert saved.model.config.d_out == 2
    assert f"- `size`: {COUNT} graphs with a target" in saved.card
    assert f"- `double`: {COUNT * 4 // 5} graphs with a target" in saved.card
    again = said(capsys, "evaluate", tmp_path / "rings", tmp_path / "models/m")
    assert again["metrics"]["test"] == pytest.approx(trained["metrics"]["test"])
    each = check_targets(trained, saved.card)
    for target, metrics in again["targets"]["test"].items():
        assert metrics == pytest.approx(each[target])
    answer = said(capsys, "predict", tmp_path / "rings", tmp_path / "models/m", "--nodes", "3,5")
    data = GraphCollection.open(tmp_path / "rings")
    expected = graph_logits(saved.model, data, data.ids.find([3, 5])).tolist()
    for entry, row in zip(answer["predictions"], expected, strict=True):
        assert entry["value"] == pytest.approx(row, rel=1e-4)
    size = int(data.sizes()[3])
    ends = [pair for k in range(size) for pair in ([k, (k + 1) % size], [(k + 1) % size, k])]
    sent = SentGraph(node_features=[[1.0]] * size, edges=ends)
    predictor = GraphPredictor(None, Settings(graph=tmp_path, models=tmp_path))
    (entry,) = predictor.predict(saved, [sent], ("label",))
    assert entry["value"] == pytest.approx(expected[0], rel=1e-4)


def check_targets(trained: dict, card: str) -> dict[str, dict[str, float]]:
    """Those of the test part: in the result, as the mean says, and on the card."""
    assert trained["targets"].keys() == trained["metrics"].keys() == {"train", "val", "test"}
    each: dict[str, dict[str, float]] = trained["targets"]["test"]
    assert list(each) == ["size", "double"]
    assert each["double"]["rmse"] > 10 * each["size"]["rmse"]
    for name, mean in trained["metrics"]["test"].items():
        assert mean == pytest.approx(np.mean([metrics[name] for metrics in each.values()]))
    assert "### Targets\n\nOn the test part." in card
    assert "| target | mae | r2 | rmse |" in card
    for target, metrics in each.items():
        numbers = " | ".join(f"{metrics[name]:.4f}" for name in ("mae", "r2", "rmse"))
        assert f"| `{target}` | {numbers} |" in card
    return each


def collection(y: np.ndarray, names: tuple[str, ...] = ()) -> GraphCollection:
    lone = Dataset.in_memory(Graph.from_edges([0], [1]), features=np.ones((2, 1), np.float32))
    return GraphCollection.from_graphs([lone] * len(y), labels=y, target_names=names)


def test_every_target_is_measured_by_its_name_or_number():
    rng = np.random.default_rng(0)
    y, values = rng.normal(size=(2, 30, 3)).astype(np.float32)
    y[::4, 1], y[:, 2] = np.nan, np.nan
    rows = torch.from_numpy(values), torch.from_numpy(y)
    found = target_report(TASK, collection(y, ("a", "b", "c")), *rows)
    known = ~np.isnan(y[:, 1])
    assert found["a"]["rmse"] == pytest.approx(root_mean_squared_error(y[:, 0], values[:, 0]))
    assert found["b"]["r2"] == pytest.approx(r2_score(y[known, 1], values[known, 1]), rel=1e-5)
    assert found["c"] == {}
    assert list(target_report(TASK, collection(y), *rows)) == ["0", "1", "2"]
    one = collection(y[:, :1])
    assert target_report(TASK, one, rows[0][:, :1], rows[1][:, :1]) == {}
    assert target_report(TASK, collection(y[:, 0]), rows[0][:, :1], rows[1][:, 0]) == {}


def test_metrics_are_means_over_targets_of_what_is_known():
    rng = np.random.default_rng(0)
    y, values = rng.normal(size=(2, 30, 3)).astype(np.float32)
    y[::4, 1] = np.nan
    found = TASK.metrics(torch.from_numpy(values), torch.from_numpy(y))
    known = [~np.isnan(y[:, i]) for i in range(3)]
    for name, function in (("rmse", root_mean_squared_error), ("mae", mean_absolute_error),
                           ("r2", r2_score)):  # fmt: skip
        each = [function(y[k, i], values[k, i]) for i, k in enumerate(known)]
        assert found[name] == pytest.approx(np.mean(each), rel=1e-5)


def test_a_target_that_is_missing_is_not_learned_and_scales_are_each_targets_own():
    model = build_model(ModelConfig(d_in=1, d_hidden=4, d_out=2, readout="sum", head="linear"))
    nan = float("nan")
    y = torch.tensor([[1.0, 1000.0], [3.0, nan], [nan, 3000.0]])
    TASK.fit_scale(model, y)
    assert model.y_mean.tolist() == [2.0, 2000.0] and model.y_std.tolist() == [1.0, 1000.0]
    logits = torch.tensor([[2.0, 1000.0], [3.0, 7.0], [9.0, 1000.0]], requires_grad=True)
    loss = TASK.loss(model, logits, y, None)
    assert loss.item() == pytest.approx((0.5 + 0 + 4) / 3)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 1] == 0 and logits.grad[2, 0] == 0 and logits.grad[0, 0] != 0


def test_another_number_of_targets_is_refused(tmp_path: Path, capsys):
    graphs, edges = tables(tmp_path)
    for name, labels in (("two", ("size", "double")), ("one", ("size",))):
        said(capsys, "ingest-graphs", "--format", "tables", "--graphs", graphs, "--edges", edges,
             *(a for label in labels for a in ("--label", label)), "--constant-feature",
             "--target-kind", "real", "--random-split", "0.6,0.2,0.2", "--out",
             tmp_path / name)  # fmt: skip
    said(capsys, "train", tmp_path / "one", "--out", tmp_path / "m", "--task", "graph-regression",
         "--model", "gin", "--epochs", 1, "--threads", 1)  # fmt: skip
    assert "### Targets" not in load_model(tmp_path / "m/1").card
    two = GraphCollection.open(tmp_path / "two")
    with pytest.raises(TrainingError, match="gives 1 values per graph, and the graphs have 2"):
        evaluate(load_model(tmp_path / "m/1").model, two, task="graph-regression")
