"""Recipes are valid settings that fit the graph."""

from __future__ import annotations

import numpy as np
import pytest

from gnn import ModelConfig, TrainConfig, build_model, evaluate, train
from gnn.model import CONVS
from gnn.recipes import RECIPES, recipe_for
from sampling import Dataset


def test_every_convolution_has_a_recipe():
    assert RECIPES.keys() >= CONVS.keys()


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_a_recipe_trains(data, conv):
    recipe = recipe_for(conv, data, num_layers=3)
    model = build_model(ModelConfig(d_in=6, d_out=3, **recipe.model))
    reports = list(train(model, data, TrainConfig(**{**recipe.train, "epochs": 2})))
    assert len(reports) == 2
    assert evaluate(model, data)["accuracy"] >= 0


def test_only_sparse_features_without_negative_values_are_normalized(data):
    counts = np.eye(60, dtype=np.float32)
    for features, expected in ((counts, "row"), (-counts, "none"), (counts + 1, "none")):
        other = Dataset.in_memory(data.graph, features=features)
        assert recipe_for("gcn", other).model["input_norm"] == expected
    assert recipe_for("gcn", Dataset.in_memory(data.graph)).model["input_norm"] == "none"
