"""Serving a graph with sparse features: the answers of its dense twin, for new nodes as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inprocess import in_process
from scipy import sparse

from gnn import TrainConfig, build_model, save_model
from gnn.architecture import architecture_for
from gnn.recipes import recipe_for
from sampling import Dataset, Graph, GraphStore
from sampling.graph.sparse_features import SparseTable
from service.settings import Settings

COUNT, WIDTH = 40, 100


def test_requests_on_sparse_features_get_the_answers_of_dense_ones(tmp_path: Path):
    rng = np.random.default_rng(0)
    matrix = sparse.random(COUNT, WIDTH, 0.05, "csr", np.float32, rng=rng)
    table = SparseTable.from_csr(matrix.indptr, matrix.indices, matrix.data, WIDTH)
    graph = Graph.from_edges(*rng.integers(0, COUNT, (2, 200)), num_nodes=COUNT)
    labels = rng.integers(0, 3, COUNT)
    twins = {
        "sparse": Dataset.in_memory(graph, features=table, labels=labels),
        "dense": Dataset.in_memory(graph, features=matrix.toarray(), labels=labels),
    }
    torch.manual_seed(0)
    kept = twins["sparse"]
    architecture = architecture_for("node-classification", kept, recipe_for("gcn", kept), {})
    model = build_model(architecture)
    features = np.where(rng.random(WIDTH) < 0.9, 0, rng.random(WIDTH)).tolist()
    new = {"id": "new", "features": features, "in_edges": [1, 2]}
    bodies = [
        {"nodes": [0, 7], "mode": "exact", "include": ["probabilities"]},
        {"nodes": [3, 5], "mode": "sampled", "include": ["probabilities"]},
        {"new_nodes": [{**new, "id": COUNT + 1}], "include": ["probabilities"]},
    ]
    answers: dict[str, list[list[float]]] = {}
    for name, data in twins.items():
        GraphStore.write(tmp_path / name / "graph", data)
        save_model(tmp_path / name / "models" / "m", model, data, TrainConfig(), {})
        settings = Settings(
            graph=tmp_path / name / "graph", models=tmp_path / name / "models", run_jobs=False
        )
        with in_process(settings) as client:
            found = [client.post("/v1/nodes/predict", json=body).json() for body in bodies]
            row = client.get("/v1/nodes/5").json().get("features")
        answers[name] = [
            list(e["probabilities"].values()) for body in found for e in body["predictions"]
        ]
        assert row is None or row == pytest.approx(matrix.toarray()[5].tolist())
    for one, other in zip(answers["sparse"], answers["dense"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)
