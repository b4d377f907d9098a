"""What a model reads and the data lack: positions, and edge features of the right width."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnn import GNN, build_model, evaluate, train
from gnn.architecture import architecture_for
from gnn.errors import SchemaMismatchError, TrainingError
from gnn.recipes import recipe_for
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph, GraphCollection

NODE, GRAPH = "node-classification", "graph-classification"
WRONG_WIDTHS = [(3, "the graph has 3"), (None, "the graph has 0")]


def one_graph(d_edge: int | None = 2, positions: bool = True, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, 20, (2, 60))
    rows = None if d_edge is None else rng.normal(size=(60, d_edge)).astype(np.float32)
    return Dataset.in_memory(
        Graph.from_edges(src, dst, num_nodes=20, edge_features=rows),
        features=rng.normal(size=(20, 4)).astype(np.float32),
        positions=rng.normal(size=(20, 3)).astype(np.float32) if positions else None,
        labels=np.arange(20) % 2,
    )


def collection(d_edge: int | None = 2, positions: bool = True) -> GraphCollection:
    parts = [one_graph(d_edge, positions, seed) for seed in range(10)]
    splits = np.array([1, 1, 1, 1, 2, 2, 3, 3, 3, 3], np.uint8)
    return GraphCollection.from_graphs(parts, labels=np.arange(10) % 2, splits=splits)


def model_of(data: Dataset | GraphCollection, conv: str) -> GNN:
    task = GRAPH if isinstance(data, GraphCollection) else NODE
    torch.manual_seed(0)
    recipe = recipe_for(conv, data, 2, task)
    return build_model(architecture_for(task, data, recipe, {"d_hidden": 8}))


@pytest.mark.parametrize("make", [one_graph, collection])
def test_egnn_is_not_built_for_data_without_positions(make):
    with pytest.raises(TrainingError, match="has no positions, and egnn reads them; choose an"):
        model_of(make(positions=False), "egnn")


def test_egnn_reads_no_graph_and_no_collection_without_positions():
    model, other = model_of(one_graph(), "egnn"), one_graph(positions=False)
    for used in (
        lambda: next(train(model, other, TrainConfig(epochs=1))),
        lambda: evaluate(model, other),
    ):
        with pytest.raises(SchemaMismatchError, match="for positions of width 3"):
            used()
    of_graphs, others = model_of(collection(), "egnn"), collection(positions=False)
    for used in (
        lambda: next(train(of_graphs, others, TrainConfig(task=GRAPH, epochs=1))),
        lambda: evaluate(of_graphs, others, task=GRAPH),
    ):
        with pytest.raises(SchemaMismatchError, match="for positions of width 3"):
            used()


@pytest.mark.parametrize("conv", ["gine", "transformer", "egnn"])
@pytest.mark.parametrize(("width", "got"), WRONG_WIDTHS)
def test_edge_features_of_another_width_are_refused(conv: str, width: int | None, got: str):
    for make, task in ((one_graph, NODE), (collection, GRAPH)):
        model, other = model_of(make(2), conv), make(width)
        for used in (
            lambda model=model, other=other, task=task: next(
                train(model, other, TrainConfig(task=task, epochs=1))
            ),
            lambda model=model, other=other, task=task: evaluate(model, other, task=task),
        ):
            with pytest.raises(SchemaMismatchError, match="edge features of width 2") as caught:
                used()
            assert got in str(caught.value)
