"""Tiny data of every kind that there is a task for, and what chooses the best epoch of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from gnn import GNN, TrainConfig, build_model
from gnn.architecture import architecture_for
from gnn.starting import starting_recipe
from sampling import Dataset, Graph, GraphCollection, NodeType
from sampling.graph.linksets import LinkSet

N = 40


def edges(**columns: object) -> Graph:
    src, dst = np.random.default_rng(0).integers(0, N, (2, 200))
    return Graph.from_edges(src, dst, num_nodes=N, **columns)  # type: ignore[arg-type]


def nodes(labels: object, **columns: object) -> Dataset:
    x = np.random.default_rng(1).normal(size=(N, 4)).astype(np.float32)
    return Dataset.in_memory(edges(**columns), features=x, labels=labels)  # type: ignore[arg-type]


def with_classes() -> Dataset:
    return nodes(np.arange(N) % 3)


def with_several_labels() -> Dataset:
    labels = (np.random.default_rng(2).random((N, 3)) < 0.5).astype(np.uint8)
    return Dataset.in_memory(edges(), features=nodes(None).features, labels=labels,
                             classes=["a", "b", "c"])  # fmt: skip


def with_values() -> Dataset:
    return nodes(np.linspace(0, 1, N, dtype=np.float32))


def in_time() -> Dataset:
    graph, x = edges(edge_time=np.arange(200)), nodes(None).features
    return Dataset.in_memory(graph, features=x, labels=np.arange(N) % 2, node_time=np.arange(N) * 5)


def with_edge_types() -> Dataset:
    return nodes(None, edge_type=np.arange(200) % 2, edge_types=("a", "b"))


def ratings() -> Dataset:
    pairs = np.array([(u, 20 + i) for u in range(20) for i in range(20) if u % 4 == i % 4])
    pairs = np.random.default_rng(0).permutation(pairs)
    kept = pairs[20:]
    graph = Graph.from_edges(
        kept.ravel("F"), kept[:, ::-1].ravel("F"), num_nodes=N,
        node_types=(NodeType("user", 0, 20), NodeType("item", 20, N)),
    )  # fmt: skip
    return Dataset.in_memory(graph, links=LinkSet.of(pairs[:20], [2] * 10 + [3] * 10))


def graphs(labels: object) -> GraphCollection:
    rng = np.random.default_rng(3)
    parts = []
    for size in rng.integers(4, 8, 24):
        ring = np.arange(size)
        x = rng.normal(size=(size, 3)).astype(np.float32)
        parts.append(Dataset.in_memory(Graph.from_edges(ring, (ring + 1) % size), features=x))
    return GraphCollection.from_graphs(parts, labels=labels)  # type: ignore[arg-type]


KINDS: dict[str, tuple[Callable[[], Dataset | GraphCollection], str, tuple[str, ...], str]] = {
    "classes": (with_classes, "node-classification", (), "accuracy"),
    "several labels": (with_several_labels, "node-classification", (), "micro_f1@k"),
    "values": (with_values, "node-regression", (), "rmse"),
    "nodes in time": (in_time, "node-classification", ("--temporal",), "accuracy"),
    "graphs": (lambda: graphs(np.arange(24) % 2), "graph-classification", (), "accuracy"),
    "values of graphs": (
        lambda: graphs(np.arange(24, dtype=np.float32)), "graph-regression", (), "rmse"
    ),
    "pairs": (with_classes, "link-prediction", (), "mrr"),
    "knowledge": (with_edge_types, "link-prediction", (), "mrr"),
    "recommendation": (ratings, "link-prediction", (), "recall@20"),
    "links in time": (in_time, "link-prediction", ("--temporal",), "average_precision"),
    "unsupervised": (with_classes, "unsupervised", (), "loss"),
}  # fmt: skip


def prepared(
    kind: str, model: dict[str, object] | None = None, **changes: object
) -> tuple[GNN, Dataset | GraphCollection, TrainConfig]:
    """A fresh model of the kind, always with the same weights, its data, and how it is trained."""
    make, task, flags, _ = KINDS[kind]
    data, temporal = make(), bool(flags)
    recipe = starting_recipe(task, "sage", data, temporal=temporal)
    torch.manual_seed(0)
    built = build_model(architecture_for(task, data, recipe, {"d_hidden": 4, **(model or {})}))
    settings = {**recipe.train, "epochs": 1, "num_threads": 1, **changes}
    return built, data, TrainConfig(task=task, temporal=temporal, **settings)  # type: ignore[arg-type]
