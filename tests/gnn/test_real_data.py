"""Published accuracy on public data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv as csv
import torch
from scipy import sparse

from gnn import ModelConfig, TrainConfig, build_model, evaluate, train
from gnn.recipes import recipe_for
from sampling import Dataset, Graph

SPLITS = {"train": 1, "val": 2, "test": 3}


def cora(folder: Path) -> Dataset:
    edges = csv.read_csv(folder / "edges.csv.gz")
    nodes = csv.read_csv(folder / "nodes.csv.gz")
    src, dst = edges["src"].to_numpy(), edges["dst"].to_numpy()
    x = sparse.load_npz(folder / "features.npz").toarray().astype(np.float32)
    return Dataset.in_memory(
        Graph.from_edges(np.r_[src, dst], np.r_[dst, src], num_nodes=len(x)),
        features=x,
        labels=nodes["label"].to_numpy(),
        splits=np.array([SPLITS.get(s, 0) for s in nodes["split"].to_pylist()], np.uint8),
        name="cora",
    )


def test_gcn_on_cora_reaches_the_published_accuracy(real_data):
    data = cora(real_data / "cora")
    assert (data.graph.num_nodes, data.graph.num_edges) == (2708, 10556)
    recipe = recipe_for("gcn", data)
    config = ModelConfig(d_in=1433, d_out=7, **recipe.model)
    assert config.input_norm == "row"
    accuracy = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = build_model(config)
        for _ in train(model, data, TrainConfig(seed=seed, num_threads=1, **recipe.train)):
            pass
        accuracy.append(evaluate(model, data, "test")["accuracy"])
    assert np.mean(accuracy) >= 0.805, accuracy
