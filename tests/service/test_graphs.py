"""Whole graphs in a request: the answers of the model, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inprocess import InProcess, in_process

from gnn import build_model, load_model, save_model
from gnn.architecture import architecture_for
from gnn.graph_evaluate import graph_logits
from gnn.recipes import recipe_for
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph, GraphCollection
from service.settings import Settings

CLASSES = ["inert", "toxic"]


def collection(real: bool = False) -> GraphCollection:
    """Twelve small graphs with features of nodes and edges, and positions."""
    parts = []
    for number in range(12):
        rng = np.random.default_rng(number)
        size = int(rng.integers(1, 8))
        edges = rng.integers(0, size, (2, 2 * size))
        graph = Graph.from_edges(
            *edges, num_nodes=size, edge_features=rng.normal(size=(2 * size, 2)).astype("f4")
        )
        rows, places = rng.normal(size=(size, 3)), rng.normal(size=(size, 3))
        parts.append(
            Dataset.in_memory(graph, features=rows.astype("f4"), positions=places.astype("f4"))
        )
    if real:
        return GraphCollection.from_graphs(parts, labels=np.arange(12, dtype=np.float32))
    return GraphCollection.from_graphs(parts, labels=np.arange(12) % 2, classes=CLASSES)


def saved(root: Path, data: GraphCollection, name: str, conv: str, task: str, **chosen: Any) -> Any:
    torch.manual_seed(0)
    recipe = recipe_for(conv, data, 2, task)
    model = build_model(architecture_for(task, data, recipe, {"d_hidden": 8, **chosen}))
    for name_of, weight in model.named_parameters():
        if name_of == "virtual.first":  # zeros, so that it would not be missed
            torch.nn.init.normal_(weight)
    save_model(root / name, model, data, TrainConfig(task=task), {"test": {"accuracy": 0.5}})
    return load_model(root / name)


def as_sent(data: GraphCollection, number: int) -> dict[str, Any]:
    """A graph of the collection as a client sends it, its edges in another order."""
    start, end = data.offsets[number : number + 2]
    graph = data.nodes.graph
    low, high = graph.indptr[start], graph.indptr[end]
    dst = np.repeat(np.arange(start, end), np.diff(graph.indptr[start : end + 1]))
    edges = np.stack([graph.indices[low:high], dst], axis=1) - start
    back = np.random.default_rng(0).permutation(len(edges))
    return {
        "node_features": data.nodes.features.array[start:end].tolist(),
        "edges": edges[back].tolist(),
        "edge_features": graph.edge_features[low:high][back].tolist(),
        "positions": data.nodes.positions[start:end].tolist(),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[GraphCollection, Path]:
    root = tmp_path_factory.mktemp("graphs")
    data = collection()
    data.write(root / "collection")
    models = root / "models"
    saved(models, data, "shape", "gine", "graph-classification")
    saved(models, data, "hub", "gine", "graph-classification", virtual_node=True)
    saved(models, data, "space", "egnn", "graph-classification")
    saved(models, collection(real=True), "weight", "gin", "graph-regression")
    return data, root


@pytest.fixture(scope="module")
def client(world: tuple[GraphCollection, Path]):
    _, root = world
    settings = Settings(graph=root / "collection", models=root / "models", run_jobs=False)
    with in_process(settings) as served:
        yield served


def predict(client: InProcess, graphs: list[dict[str, Any]], **fields: Any) -> Any:
    return client.post("/v1/graphs/predict", json={"graphs": graphs, **fields})


@pytest.mark.parametrize("name", ["shape", "space", "hub"])
def test_a_sent_graph_gets_the_answer_that_it_has_in_a_collection(world, client, name):
    data, root = world
    model = load_model(root / "models" / name).model
    expected = torch.softmax(graph_logits(model, data, np.arange(12)), dim=1)
    include = ["label", "probabilities", "embedding"]
    graphs = [as_sent(data, number) for number in range(12)]
    body = predict(client, graphs, model=name, include=include).json()
    assert (body["model"], body["model_version"]) == (name, 1)
    for entry, row in zip(body["predictions"], expected.tolist(), strict=True):
        assert list(entry["probabilities"].values()) == pytest.approx(row, abs=1e-5)
        assert entry["label"] == CLASSES[int(np.argmax(row))]
        assert entry["score"] == pytest.approx(max(row), abs=1e-5)
        assert len(entry["embedding"]) == model.d_embedding
    alone = [predict(client, [g], model=name).json()["predictions"][0] for g in graphs]
    for one, entry in zip(alone, body["predictions"], strict=True):
        assert one["score"] == pytest.approx(entry["score"], abs=1e-5)


def test_a_regression_answers_with_values(world, client):
    data, _ = world
    body = predict(client, [as_sent(data, 0)], model="weight").json()
    assert isinstance(body["predictions"][0]["value"], float)


def test_models_for_graphs_are_listed_and_described(client):
    listed = {entry["name"]: entry for entry in client.get("/v1/models").json()["models"]}
    assert listed.keys() == {"hub", "shape", "space", "weight"}
    assert listed["shape"]["task"] == "graph-classification"
    detail = client.get("/v1/models/shape").json()
    assert detail["classes"] == CLASSES
    assert "graph-classification" in detail["card"]


def test_the_service_of_a_collection_alone_is_ready_and_knows_no_nodes(client):
    assert client.get("/health/ready").status_code == 200
    assert client.get("/v1/graph").json()["num_nodes"] == 0
    assert client.post("/v1/nodes/predict", json={"nodes": [1]}).status_code in (404, 422)


WRONG = [
    ({"node_features": [[1.0, 2.0]]}, "node_features", "the model reads 3"),
    ({"node_features": [[1.0, 2.0, 1e300]]}, "node_features", "finite"),
    ({"edges": [[0, 99]]}, "edges", "run from 0"),
    ({"edge_features": None}, "edge_features", "missing"),
    ({"edge_features": [[1.0, 2.0]]}, "edge_features", "rows"),
]


@pytest.mark.parametrize(("change", "field", "what"), WRONG)
def test_a_wrong_graph_is_named_with_its_field(world, client, change, field, what):
    data, _ = world
    graph = as_sent(data, 1) | change
    if "node_features" in change:
        graph |= {"edges": [], "edge_features": []}
    answer = predict(client, [as_sent(data, 0), graph], model="shape")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_graph")
    assert (problem["graph"], problem["field"]) == (1, field)
    assert what in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"graphs": []},
        {"graphs": [{"node_features": []}]},
        {"graphs": [{"node_features": [[1.0, "x", 2.0]]}]},
        {"graphs": [{"node_features": [[1.0, 2.0, 3.0]], "edges": [[0]]}]},
        {"graphs": [{"node_features": [[1.0, 2.0, 3.0]], "edges": [[-1, 0]]}]},
        {"graphs": [{"node_features": [[1.0, 2.0, 3.0]], "color": 1}]},
        {},
    ],
)
def test_a_body_of_another_shape_is_refused(client, body):
    assert client.post("/v1/graphs/predict", json=body).status_code == 422


def test_more_than_the_limits_is_refused(world):
    _, root = world
    settings = Settings(
        graph=root / "collection", models=root / "models", run_jobs=False,
        max_graphs_per_request=2, max_graph_nodes=4, max_graph_edges=3,
    )  # fmt: skip
    row = {"node_features": [[1.0, 2.0, 3.0]]}
    with in_process(settings) as served:
        assert predict(served, [row] * 3, model="weight").status_code == 422
        large = {"node_features": [[1.0, 2.0, 3.0]] * 5}
        problem = predict(served, [large], model="weight").json()
        assert (problem["limit"], problem["got"]) == (4, 5)
        dense = row | {"edges": [[0, 0]] * 4}
        assert predict(served, [dense], model="weight").json()["limit"] == 3


def test_unknown_models_and_versions_are_not_found(world, client):
    data, _ = world
    for fields in ({"model": "none"}, {"model": "shape", "version": 9}, {}):
        assert predict(client, [as_sent(data, 0)], **fields).status_code == 404
