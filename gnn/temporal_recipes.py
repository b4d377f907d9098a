"""Settings to start from where time is respected: few layers over the latest neighbors.

The edges of a message or interaction graph are told by recent ones (Xu et al. 2020; Rossi et al.
2020), so a node reads its 20 latest neighbors, and batches are small to take many steps.
"""

from __future__ import annotations

from typing import Any

from gnn.recipes import RECIPES, Recipe, recipe_for
from sampling import Dataset

__all__ = ["temporal_recipe"]

FANOUT, BATCH = 20, 200
OWN = ("heads", "alpha", "encoder", "jumping")
LIGHT = {"encoder": "linear", "jumping": "mean"}
LINKS = {"d_hidden": 64, "num_layers": 1, "dropout": 0.3, "head": "none", "decoder": "mlp"}


def temporal_recipe(
    conv: str, data: Dataset, num_layers: int | None = None, task: str = "link-prediction"
) -> Recipe:
    """Where to start on this graph in time.

    Args:
        conv: a convolution.
        data: a graph with edge times.
        num_layers: where it is not the recipe's own.
        task: "link-prediction", or one on nodes.
    """
    if task != "link-prediction":
        return _for_nodes(recipe_for(conv, data, num_layers, task))
    base = RECIPES[conv].model if conv in RECIPES else LIGHT
    own = {name: base[name] for name in OWN if name in base}
    model: dict[str, Any] = {**own, **LINKS, "conv": conv}
    model |= {"num_layers": num_layers or 1, "num_relations": len(data.graph.edge_types)}
    train: dict[str, Any] = {
        "epochs": 10, "batch_size": BATCH, "lr": 0.003, "weight_decay": 0.0, "patience": 5,
        "num_negatives": 3,
        "fanouts": (FANOUT,) * model["num_layers"],
    }  # fmt: skip
    return Recipe(model, train)


def _for_nodes(base: Recipe) -> Recipe:
    """The same, of the latest neighbors, in batches that their number allows."""
    fanouts = (FANOUT,) * base.model["num_layers"]
    batch_size = min(base.train["batch_size"], BATCH)
    return Recipe(base.model, base.train | {"fanouts": fanouts, "batch_size": batch_size})
