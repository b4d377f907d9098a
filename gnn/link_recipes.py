"""Settings to start from for links and for embeddings without labels, per kind of graph.

Knowledge graphs: DistMult over one propagation. Recommendation: LightGCN (He et al. 2020). Other
graphs: the convolution's rows scored by their inner product, with learned embeddings where there
are no features.
"""

from __future__ import annotations

from typing import Any

from gnn.evaluate import EXACT_EDGES
from gnn.recipes import Recipe
from sampling import Dataset

__all__ = ["link_recipe", "unsupervised_recipe"]

PAIR_BATCH, FANOUT = 1 << 16, 10
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
    if len(data.graph.edge_types) > 1:
        model |= {"d_hidden": 200, "num_layers": 1, "decoder": "distmult"}
        train |= {"batch_size": 8192, "lr": 0.02, "num_negatives": 1024}
    if conv == "lightgcn":
        model |= {"jumping": "mean", "num_layers": 3 if len(data.graph.edge_types) == 1 else 1}
    model["num_layers"] = num_layers or model["num_layers"]
    if data.graph.num_edges > EXACT_EDGES:
        train |= {"fanouts": (FANOUT,) * model["num_layers"], "batch_size": 1024}
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
