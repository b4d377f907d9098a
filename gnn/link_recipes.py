"""Settings to start from for links and for embeddings without labels, per kind of graph.

Knowledge graphs: DistMult over learned rows, or over one propagation of them; each batch is asked
about many candidates with part of what it asks with dropped. Recommendation: LightGCN (He et al.
2020), in whose paper edges stay messages while they are predicted. Other graphs: the convolution's
rows scored by their inner product, with learned embeddings where there are no features. Where
nodes have very many neighbors, some are drawn anew each step, which costs less and fits less to
any of them.
"""

from __future__ import annotations

from typing import Any

from gnn.evaluate import EXACT_EDGES
from gnn.recipes import Recipe
from sampling import Dataset

__all__ = ["link_recipe", "unsupervised_recipe"]

PAIR_BATCH, FANOUT = 1 << 16, 10
DENSE_FANOUT = 40
PLAIN = {"d_hidden": 128, "num_layers": 2, "dropout": 0.0, "head": "none", "decoder": "dot"}


def link_recipe(conv: str, data: Dataset, num_layers: int | None = None) -> Recipe:
    """Where to start on the links of this graph.

    Args:
        conv: a convolution.
        data: the graph.
        num_layers: where it is not the recipe's own.
    """
    model: dict[str, Any] = {**PLAIN, "conv": conv, "num_relations": len(data.graph.edge_types)}
    train: dict[str, Any] = {
        "epochs": 50, "batch_size": PAIR_BATCH, "lr": 0.005, "weight_decay": 0.0, "patience": 10,
    }  # fmt: skip
    if conv == "lightgcn":
        model |= {"d_hidden": 64, "jumping": "mean", "num_layers": 3}
        train |= {"batch_size": 1 << 15, "lr": 0.05, "exclude_targets": False}
    if len(data.graph.edge_types) > 1:
        model |= {"num_layers": 1, "dropout": 0.3, "decoder": "distmult"}
        train |= {"batch_size": 1 << 13, "num_negatives": 2048, "epochs": 20, "patience": 3}
    if conv == "identity":
        model["num_layers"] = 1
        train["batch_size"] = min(train["batch_size"], 1 << 11)
    model["num_layers"] = num_layers or model["num_layers"]
    if data.graph.num_edges > EXACT_EDGES:
        train |= {"fanouts": (FANOUT,) * model["num_layers"], "batch_size": 1024}
    elif conv not in ("identity", "lightgcn") and _mean_degree(data) > DENSE_FANOUT:
        train["fanouts"] = (DENSE_FANOUT,) * model["num_layers"]
    return Recipe(model, train)


def unsupervised_recipe(conv: str, data: Dataset, num_layers: int | None = None) -> Recipe:
    """Where to start without labels; arguments as of `link_recipe`."""
    layers = num_layers or 2
    model: dict[str, Any] = {**PLAIN, "conv": conv, "num_layers": layers, "decoder": "bilinear"}
    train: dict[str, Any] = {
        "epochs": 100, "batch_size": PAIR_BATCH, "lr": 0.001, "weight_decay": 0.0, "patience": 20,
    }  # fmt: skip
    if data.graph.num_edges > EXACT_EDGES:
        train |= {"fanouts": (FANOUT,) * layers, "batch_size": 1024}
    return Recipe(model, train)


def _mean_degree(data: Dataset) -> float:
    return data.graph.num_edges / max(data.graph.num_nodes, 1)
