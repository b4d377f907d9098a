"""Several labels per node: targets, loss, metrics, and the whole way to predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from gnn import (
    EmbeddingTable,
    ModelConfig,
    TrainConfig,
    build_model,
    embed,
    evaluate,
    load_model,
    save_model,
    train,
)
from gnn.architecture import architecture_for
from gnn.errors import SchemaMismatchError, TrainingError
from gnn.metrics import MULTI_METRICS, multi_metrics
from gnn.recipes import recipe_for
from gnn.tasks import outputs, task_for, task_named
from sampling import Dataset, Graph, GraphStore
from sampling.errors import InputError
from sampling.graph.csc import NodeType

NUM_NODES, D_IN = 60, 5
CLASSES = ["a", "b", "c"]


@pytest.fixture
def data() -> Dataset:
    """Labels that follow from the signs of features; every sixth node has none known."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((NUM_NODES, D_IN)).astype(np.float32)
    labels = (x[:, :3] > 0).astype(np.uint8)
    labels[::6] = 255
    src, dst = rng.integers(0, NUM_NODES, (2, 150))
    return Dataset.in_memory(
        Graph.from_edges(src, dst, num_nodes=NUM_NODES),
        features=x,
        labels=labels,
        splits=rng.choice([1, 1, 2, 3], NUM_NODES).astype(np.uint8),
        classes=list(CLASSES),
    )


def model_for(data: Dataset, seed: int = 0, **changes: object):
    torch.manual_seed(seed)
    config = {"d_in": D_IN, "d_hidden": 16, "d_out": 3, "num_layers": 2, "dropout": 0.2}
    return build_model(ModelConfig(**{**config, **changes}))


CONFIG = TrainConfig(epochs=25, batch_size=16, fanouts=(4, 4), seed=3, weight_decay=0.0)


def test_targets_are_rows_and_nodes_without_labels_have_none(data: Dataset) -> None:
    task = task_for("node-classification", data)
    y, labeled = task.targets(data)
    assert y.shape == (NUM_NODES, 3) and task.num_outputs(data) == 3
    assert labeled.tolist() == [i % 6 != 0 for i in range(NUM_NODES)]


def test_the_loss_is_the_binary_cross_entropy_of_every_class(data: Dataset) -> None:
    task = task_for("node-classification", data)
    logits, y = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1, 0, 0]], dtype=torch.uint8)
    p = torch.sigmoid(logits)[0]
    expected = -(p[0].log() + (1 - p[1]).log() + (1 - p[2]).log()) / 3
    assert task.loss(model_for(data), logits, y, None).item() == pytest.approx(expected.item())
    assert torch.equal(outputs("node-classification", logits, "multi")[0], p)


def test_rare_labels_weigh_as_their_negatives_outnumber_them(data: Dataset) -> None:
    y = torch.tensor([[1, 0], [0, 0], [0, 0], [0, 0]], dtype=torch.uint8)
    weight = task_for("node-classification", data).class_weight(y, 2)
    assert weight is not None and weight.tolist() == [3, 1]


def test_metrics_of_a_case_worked_by_hand() -> None:
    p = np.array([[0.9, 0.8, 0.1], [0.4, 0.3, 0.2], [0.2, 0.6, 0.7]])
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    metrics = multi_metrics(p, y)
    assert metrics["micro_f1"] == pytest.approx(2 * 2 / (4 + 4))
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert metrics["micro_f1@k"] == metrics["macro_f1@k"] == 1.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 12), classes=st.integers(1, 5))
def test_metrics_agree_with_scikit_learn(seed: int, rows: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.random((rows, classes)), rng.random((rows, classes)) < 0.4
    found = multi_metrics(p, y)
    for average in ("micro", "macro"):
        flat = (lambda a: a.reshape(-1)) if average == "micro" else (lambda a: a)
        kind = {"average": "binary"} if average == "micro" else {"average": "macro"}
        if average == "macro" and classes == 1:
            continue
        expected = f1_score(flat(y), flat(p > 0.5), zero_division=0, **kind)
        assert found[f"{average}_f1"] == pytest.approx(expected)
    split = [c for c in range(classes) if 0 < y[:, c].sum() < rows]
    some = [c for c in range(classes) if y[:, c].any()]
    areas = [roc_auc_score(y[:, c], p[:, c]) for c in split]
    precisions = [average_precision_score(y[:, c], p[:, c]) for c in some]
    assert found.get("roc_auc") == (pytest.approx(np.mean(areas)) if areas else None)
    assert found.get("average_precision") == (
        pytest.approx(np.mean(precisions)) if precisions else None
    )


def test_training_learns_all_labels_and_continues_to_the_same_bits(data, tmp_path) -> None:
    whole = model_for(data)
    reports = list(train(whole, data, CONFIG))
    assert set(reports[0].metrics["val"]) == {"loss", "micro_f1@k"}
    assert set(evaluate(whole, data, "test")) == set(MULTI_METRICS)
    assert evaluate(whole, data, "train")["micro_f1"] > 0.85
    again = model_for(data)
    list(train(again, data, replace(CONFIG, epochs=9), resume_dir=tmp_path))
    list(train(again, data, CONFIG, resume_dir=tmp_path, resume=True))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_any_metric_of_several_labels_chooses_the_best_epoch(data: Dataset) -> None:
    config = replace(CONFIG, epochs=2, monitor="average_precision", class_weights="balanced")
    (_, last) = train(model_for(data), data, config)
    assert "average_precision" in last.metrics["val"]
    with pytest.raises(InputError, match="monitor is 'accuracy', which node-classification does"):
        next(train(model_for(data), data, replace(config, monitor="accuracy")))


def test_focal_loss_and_class_weights_train_several_labels(data: Dataset) -> None:
    model = model_for(data)
    config = replace(CONFIG, focal_gamma=2.0, class_weights="balanced")
    reports = list(train(model, data, config))
    assert reports[-1].loss < reports[0].loss
    assert evaluate(model, data, "train")["micro_f1"] > 0.7
    plain = model_for(data)
    list(train(plain, data, replace(CONFIG, class_weights="balanced")))
    assert not torch.equal(model.convs[0].own.weight, plain.convs[0].own.weight)


@pytest.mark.parametrize(
    "setting", [{"label_smoothing": 0.1}, {"balanced_seeds": True}, {"conformal_alpha": 0.2}]
)
def test_settings_of_one_class_per_node_are_refused_by_name(data: Dataset, setting) -> None:
    with pytest.raises(InputError, match=f"{next(iter(setting))} is .* for one class per node"):
        next(train(model_for(data), data, replace(CONFIG, **setting)))


def test_a_saved_model_knows_that_its_labels_are_several(data, tmp_path) -> None:
    GraphStore.write(tmp_path / "graph", data)
    data = GraphStore.open(tmp_path / "graph")
    assert data.labels is not None and data.labels.shape == (NUM_NODES, 3)
    model = model_for(data)
    list(train(model, data, replace(CONFIG, epochs=2)))
    path = save_model(tmp_path / "m", model, data, CONFIG, {"test": evaluate(model, data)})
    saved = load_model(path)
    assert saved.info.label_kind == "multi" and saved.info.classes == CLASSES
    assert "any of 3 classes" in saved.card
    for _ in embed(saved, data, tmp_path / "e", predictions=True):
        pass
    table = EmbeddingTable.open(tmp_path / "e")
    assert table.predictions is not None
    h = torch.from_numpy(table.rows(np.arange(NUM_NODES)))
    expected = torch.sigmoid(saved.model.head(h)).numpy()
    np.testing.assert_allclose(table.predictions, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": np.full((NUM_NODES, 1), 3, np.uint8)}, "no labeled train nodes"),
        ({"splits": np.full((NUM_NODES, 1), 1, np.uint8)}, "no labeled val nodes"),
        ({"labels": np.full((NUM_NODES, 3), 255, np.uint8)}, "has a label"),
    ],
)
def test_parts_without_labels_are_named(data, change, message) -> None:
    with pytest.raises(TrainingError, match=message):
        list(train(model_for(data), replace(data, **change), CONFIG))


def test_several_labels_are_no_target_of_a_regression(data: Dataset) -> None:
    with pytest.raises(TrainingError, match="several labels each"):
        task_named("node-regression").targets(data)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.array([[0.5, 0]]), None, "matrix of labels"),
        (np.array([[3, 0]]), None, "matrix of labels"),
        (np.array([[255, 0]]), None, "matrix of labels"),
        (np.array([[1, 0]]), ["a"], "1 classes for 2 columns"),
        (np.zeros((1, 0)), None, "no classes for 0 columns"),
    ],
)
def test_a_matrix_that_holds_no_labels_is_refused(labels, classes, message) -> None:
    with pytest.raises(InputError, match=message):
        Dataset.in_memory(Graph.from_edges([0], [0], num_nodes=1), labels=labels, classes=classes)


# --- one class per node: the edges --------------------------------------------------------------


def one_class(codes: list[int], classes: list[str], splits: list[int]) -> Dataset:
    n = len(codes)
    return Dataset.in_memory(
        Graph.from_edges([0], [1], num_nodes=n),
        features=np.eye(n, D_IN, dtype=np.float32),
        labels=np.array(codes),
        splits=np.array(splits, np.uint8),
        classes=classes,
    )


@pytest.mark.parametrize(
    ("codes", "message"),
    [([0, 3, 0], "outside the 2 classes"), ([0, -2, 0], "code -2 is no class")],
)
def test_codes_outside_the_classes_are_refused(codes, message) -> None:
    data = one_class(codes, ["a", "b"], [1, 2, 3])
    with pytest.raises(TrainingError, match=message):
        list(train(model_for(data, d_out=2), data, CONFIG))


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_class_with_one_example_trains_wherever_it_stands(weights: str) -> None:
    for splits in ([1, 1, 2, 3], [3, 1, 2, 1], [2, 1, 1, 3]):
        data = one_class([1, 0, 0, 0], ["a", "b"], splits)
        model = model_for(data, d_out=2)
        list(train(model, data, replace(CONFIG, epochs=2, class_weights=weights)))
        assert 0 <= evaluate(model, data)["accuracy"] <= 1
        assert "roc_auc" not in evaluate(model, data)


# --- features per node type ---------------------------------------------------------------------


def typed(widths: dict[str, int] | None) -> Dataset:
    rng = np.random.default_rng(1)
    graph = Graph.from_edges(
        rng.integers(0, 12, 40), rng.integers(0, 12, 40), num_nodes=12,
        )  # fmt: skip
    types = (NodeType("a", 0, 4), NodeType("b", 4, 9), NodeType("c", 9, 12))
    graph = replace(graph, node_types=types)
    x = rng.standard_normal((12, 4)).astype(np.float32)
    return Dataset.in_memory(
        graph,
        features=x,
        labels=np.array([0, 1, 0, 1] + [-1] * 8),
        splits=np.array([1, 1, 2, 3] + [0] * 8, np.uint8),
        feature_widths=widths,
    )


def test_types_have_encoders_of_their_own_width() -> None:
    data = typed({"a": 4, "b": 2, "c": 0})
    config = architecture_for("node-classification", data, recipe_for("sage", data), {})
    assert config.encoder == "typed"
    assert [(t.name, t.d_in) for t in config.input_types] == [("a", 4), ("b", 2), ("c", 0)]
    linear = architecture_for(
        "node-classification", data, recipe_for("sage", data), {"encoder": "linear"}
    )
    assert linear.encoder == "linear" and not linear.input_types
    assert architecture_for("node-classification", typed(None), recipe_for("sage", data), {}) != (
        config
    )


def test_a_type_reads_its_own_columns_and_no_others() -> None:
    data = typed({"a": 4, "b": 2, "c": 0})
    recipe = recipe_for("sage", data)
    model = build_model(architecture_for("node-classification", data, recipe, {"d_hidden": 8}))
    list(train(model, data, TrainConfig(epochs=2, fanouts=(-1, -1), batch_size=2)))
    assert data.features is not None
    before = evaluate(model, data)
    x = data.features.rows(0, 12).numpy().copy()
    x[4:9, 2:], x[9:] = 7.0, 7.0
    changed = Dataset.in_memory(
        data.graph, features=x, labels=data.labels, splits=data.splits,
        feature_widths=data.meta.feature_widths,
    )  # fmt: skip
    assert evaluate(model, changed) == before


def test_a_typed_model_is_refused_by_a_graph_of_other_types() -> None:
    data = typed({"a": 4, "b": 2, "c": 0})
    recipe = recipe_for("sage", data)
    model = build_model(architecture_for("node-classification", data, recipe, {"d_hidden": 8}))
    graph = replace(data.graph, node_types=data.graph.node_types[::-1])
    other = typed(None)
    with pytest.raises(SchemaMismatchError, match="node types"):
        evaluate(model, replace(other, graph=graph))
