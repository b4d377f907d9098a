"""Embeddings without labels, and LightGCN's rows by every road."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnn import ModelConfig, TrainConfig, build_model, evaluate, train
from gnn.errors import TrainingError
from gnn.layerwise import infer
from sampling import Dataset, Graph

N, D = 90, 8
CONFIG = TrainConfig(
    task="unsupervised", epochs=30, batch_size=1024, lr=0.01, weight_decay=0.0, num_threads=1
)


def grouped(features: bool = True) -> Dataset:
    """Three groups with edges mostly inside, and features that say little by themselves."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    src, dst = rng.integers(0, N, (2, 1200))
    kept = (labels[src] == labels[dst]) | (rng.random(1200) < 0.05)
    ends = np.concatenate([src[kept], dst[kept]]), np.concatenate([dst[kept], src[kept]])
    x = rng.normal(size=(N, D)) + 0.7 * np.eye(D)[labels]
    rows = x.astype(np.float32) if features else None
    return Dataset.in_memory(Graph.from_edges(*ends, num_nodes=N), features=rows, labels=labels)


def model_for(**changes: object):
    torch.manual_seed(1)
    given = {"d_in": D, "d_hidden": 16, "d_out": 1, "conv": "gcn", "num_layers": 1,
             "decoder": "bilinear", "head": "none", "dropout": 0.0}  # fmt: skip
    return build_model(ModelConfig(**given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("fanouts", [None, (5,)])
def test_walks_find_groups_in_two_dimensions(fanouts: tuple[int, ...] | None):
    data, model = grouped(), model_for(decoder="dot", d_hidden=2)
    before = evaluate(model, data, task="unsupervised")["probe_accuracy"]
    list(train(model, data, replace(CONFIG, epochs=60, lr=0.02, fanouts=fanouts)))
    assert evaluate(model, data, task="unsupervised")["probe_accuracy"] >= before + 0.15


@pytest.mark.parametrize("fanouts", [None, (5,)])
def test_infomax_tells_rows_from_shuffled_ones_better_than_chance(
    fanouts: tuple[int, ...] | None,
):
    config = replace(CONFIG, objective="dgi", fanouts=fanouts, epochs=60)
    reports = list(train(model_for(), grouped(), config))
    assert reports[-1].loss < min(reports[0].loss, np.log(2))


def test_the_probe_can_choose_the_epoch():
    model = model_for()
    config = replace(CONFIG, objective="dgi", epochs=2, monitor="probe_accuracy")
    reports = list(train(model, grouped(), config))
    assert 0 <= reports[-1].metrics["val"]["probe_accuracy"] <= 1


def test_what_has_no_features_has_none_to_shuffle():
    with pytest.raises(TrainingError, match="choose the objective sage"):
        next(train(model_for(), grouped(features=False), replace(CONFIG, objective="dgi")))


def test_lightgcn_is_its_formula_and_the_same_layer_by_layer():
    data = grouped()
    model = model_for(conv="lightgcn", num_layers=3, jumping="mean", decoder="dot", d_hidden=D)
    graph = data.graph
    adjacency = np.zeros((N, N))
    np.add.at(adjacency, (np.repeat(np.arange(N), graph.in_degrees()), graph.indices), 1)
    root = 1 / np.sqrt(np.maximum(graph.in_degrees(), 1))
    hop = root[:, None] * adjacency * root
    assert data.features is not None
    x = data.features.rows(0, N).numpy().astype(np.float64)
    rows = [np.linalg.matrix_power(hop, k) @ x for k in range(4)]
    with torch.no_grad():
        whole = model.encode((graph.block(),) * 3, data.features.rows(0, N))
    np.testing.assert_allclose(whole.numpy(), np.mean(rows, axis=0), atol=1e-5)
    np.testing.assert_allclose(infer(model, data).numpy(), whole.numpy(), atol=1e-5)
