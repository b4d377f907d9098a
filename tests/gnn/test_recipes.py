"""Recipes are valid settings that fit the graph."""

from __future__ import annotations

import numpy as np
import pytest

from gnn import ModelConfig, TrainConfig, build_model, evaluate, train
from gnn.architecture import architecture_for
from gnn.model import CONVS
from gnn.recipes import RECIPES, recipe_for
from sampling import Dataset, Graph
from sampling.errors import InputError

NEEDING_MORE = {"egnn", "tgat"}
"""Positions, times: they train in `test_every_conv`."""


def test_every_convolution_has_a_recipe():
    assert RECIPES.keys() == CONVS.keys()


@pytest.mark.parametrize("conv", sorted(CONVS.keys() - NEEDING_MORE))
def test_a_recipe_trains(data, conv):
    recipe = recipe_for(conv, data, num_layers=3)
    model = build_model(ModelConfig(d_in=6, d_out=3, **recipe.model))
    reports = list(train(model, data, TrainConfig(**{**recipe.train, "epochs": 2})))
    assert len(reports) == 2
    assert evaluate(model, data)["accuracy"] >= 0


def test_bags_of_words_are_normalized_by_row_and_strange_units_by_column(data):
    counts, plain = np.eye(60, dtype=np.float32), np.ones((60, 2), np.float32)
    for features, expected in (
        (counts, "row"), (-counts, "none"), (counts + 1, "none"), (plain * [1, 500], "column"),
        (plain * 0.001, "column"), (plain * 0, "row"),
    ):  # fmt: skip
        other = Dataset.in_memory(data.graph, features=features.astype(np.float32))
        assert recipe_for("gcn", other).model["input_norm"] == expected
    assert recipe_for("gcn", Dataset.in_memory(data.graph)).model["input_norm"] == "none"
    words = (np.arange(300).reshape(60, 5) % 3 == 0).astype(np.float32)  # two in three are zero
    many = Dataset.in_memory(data.graph, features=words)
    norms = [recipe_for(conv, many).model["input_norm"] for conv in ("gcn", "sage", "gat")]
    assert norms == ["none", "row", "row"]


def test_few_training_nodes_are_passed_over_more_often(data):
    few = Dataset.in_memory(data.graph, splits=np.uint8(np.arange(60) % 4 == 1))
    train = recipe_for("sage", few).train
    assert train["epochs"] == 800
    assert train["patience"] / train["epochs"] == pytest.approx(8 / 30, rel=0.01)
    assert recipe_for("gcn", few).train["epochs"] == 200


@pytest.mark.parametrize(
    ("count", "has_splits", "epochs"),
    [(10, False, 800), (4000, False, 267), (4000, True, 200), (50_000, False, 30)],
)
def test_steps_are_counted_by_the_nodes_with_labels(count: int, has_splits: bool, epochs: int):
    graph = Graph.from_edges([0], [1], num_nodes=60_000)
    splits = np.ones(60_000, np.uint8) if has_splits else None
    labels = np.where(np.arange(60_000) < count, 0, -1)
    data = Dataset.in_memory(graph, labels=labels, classes=["a"], splits=splits)
    assert recipe_for("sage", data).train["epochs"] == epochs


@pytest.mark.parametrize("part", [{"readout": "sum"}, {"pooling": "topk"}])
def test_parts_of_graph_models_are_refused_for_nodes(data, part):
    with pytest.raises(InputError, match="is for tasks on graphs, and the task is"):
        architecture_for("node-classification", data, recipe_for("sage", data), part)
