"""Small graphs and models that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn import GNN, ModelConfig, SavedModel, TrainConfig, build_model, load_model, save_model
from sampling import Dataset, FeatureTable, Graph

NUM_NODES, D_IN, NUM_CLASSES = 60, 6, 3


def random_graph(seed: int = 0, num_nodes: int = NUM_NODES, num_edges: int = 240) -> Graph:
    """Random edges; the last two nodes have none."""
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, num_nodes - 2, (2, num_edges))
    return Graph.from_edges(src, dst, num_nodes=num_nodes)


def random_data(seed: int = 0, storage: str = "float32", real: bool = False) -> Dataset:
    """A graph whose labels can be learned from the features."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(NUM_NODES, D_IN)).astype(np.float32)
    labels = x[:, :NUM_CLASSES].argmax(axis=1) if not real else 50 + 10 * x[:, 0]
    splits = rng.choice([1, 1, 2, 3], NUM_NODES).astype(np.uint8)
    return Dataset.in_memory(
        random_graph(seed),
        features=FeatureTable.from_rows(x, storage),
        labels=labels.astype(np.float32 if real else np.int64),
        splits=splits,
        classes=None if real else ["a", "b", "c"],
        name="random",
    )


def seeded_model(seed: int = 0, **changes: object) -> GNN:
    """A model for `random_data` with the same weights every time."""
    settings = {"d_in": D_IN, "d_hidden": 8, "d_out": NUM_CLASSES, **changes}
    torch.manual_seed(seed)
    model = build_model(ModelConfig(**settings))  # type: ignore[arg-type]
    if model.columns is not None:
        model.columns.mean.normal_()
        model.columns.deviation.uniform_(0.5, 2.0)
    return model


@pytest.fixture
def make_graph() -> Callable[..., Graph]:
    return random_graph


@pytest.fixture
def make_data() -> Callable[..., Dataset]:
    return random_data


@pytest.fixture
def make_model() -> Callable[..., GNN]:
    return seeded_model


@pytest.fixture
def data() -> Dataset:
    return random_data()


@pytest.fixture
def make_saved(tmp_path: Path) -> Callable[..., SavedModel]:
    """Saves a model for a data set and loads it again."""

    def make(data: Dataset, name: str = "m", **changes: object) -> SavedModel:
        directory = tmp_path / "models" / name
        return load_model(
            save_model(directory, seeded_model(**changes), data, TrainConfig(), {"test": {}})
        )

    return make
