"""Settings to start from, per convolution, as measured on public citation, co-author and page
graphs. `gnn train` uses them where the user says nothing.

GCN follows Kipf and Welling (2017): all neighbors, strong dropout, the L2 penalty on the first
layer; its width is that of Shchur et al. (2018), as 16 columns are too few for many classes. GAT
follows the code of Veličković et al. (2018). GraphSAGE follows Hamilton et al. (2017): sampled
mini-batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gnn.data import Data
from gnn.evaluate import EXACT_EDGES
from gnn.model_config import CARRYING, is_brought
from gnn.sparse import is_sparse
from gnn.tasks import task_for
from gnn.train_options import NODE_TASKS
from sampling import Dataset
from sampling.errors import InputError
from sampling.graph.collection import GraphCollection

__all__ = ["RECIPES", "Recipe", "recipe_for"]

LOOK_AT_ROWS = 256
SPARSE_SHARE, VERY_SPARSE_SHARE = 0.5, 0.8
LEAST_STEPS = 800
PLAIN_SIZES = 0.02, 10.0
TRAIN_SHARE = 0.6
FANOUT = 10
WHOLE_BATCH = 1 << 20
MOST_SAMPLED_EPOCHS = 200


@dataclass(frozen=True, slots=True)
class Recipe:
    """Keyword arguments to start from.

    Attributes:
        model: for `ModelConfig`, widths of input and output left out.
        train: for `TrainConfig`.
    """

    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


FULL_BATCH = {"batch_size": WHOLE_BATCH, "epochs": 200}
SAMPLED = {"batch_size": 1024, "epochs": 30, "patience": 8}
ATTENTION = {
    "d_hidden": 64, "num_layers": 2, "heads": 8, "dropout": 0.6, "attention_dropout": 0.6,
    "activation": "elu", "head": "none",
}  # fmt: skip

RECIPES = {
    "sage": Recipe(
        model={"d_hidden": 64, "num_layers": 2, "dropout": 0.5, "head": "none"},
        train={**SAMPLED, "lr": 0.01, "weight_decay": 5e-5},
    ),
    "gcn": Recipe(
        model={"d_hidden": 64, "num_layers": 2, "dropout": 0.5, "head": "none"},
        train={**FULL_BATCH, "lr": 0.01, "weight_decay": 5e-4, "weight_decay_layers": "first"},
    ),
    "gat": Recipe(
        {**ATTENTION, "message_dropout": 0.6},
        {**FULL_BATCH, "epochs": 1000, "lr": 0.005, "weight_decay": 5e-4, "patience": 100},
    ),
    "gatv2": Recipe(ATTENTION, {**FULL_BATCH, "lr": 0.005, "weight_decay": 5e-4, "patience": 100}),
    "transformer": Recipe(
        {**ATTENTION, "heads": 4, "dropout": 0.3, "attention_dropout": 0.3, "activation": "relu"},
        {**SAMPLED, "lr": 0.005, "weight_decay": 5e-4},
    ),
    "gin": Recipe(
        model={"d_hidden": 64, "num_layers": 2, "dropout": 0.5, "head": "linear", "norm": "batch"},
        train={**SAMPLED, "lr": 0.01, "weight_decay": 5e-5},
    ),
    "gine": Recipe(
        model={"d_hidden": 64, "num_layers": 2, "dropout": 0.5, "head": "linear", "norm": "batch"},
        train={**SAMPLED, "lr": 0.01, "weight_decay": 5e-5},
    ),
    "pna": Recipe(
        model={"d_hidden": 64, "num_layers": 2, "dropout": 0.3, "head": "linear", "norm": "batch"},
        train={**SAMPLED, "lr": 0.005, "weight_decay": 5e-5},
    ),
    "rgcn": Recipe(
        model={"d_hidden": 16, "num_layers": 2, "dropout": 0.0, "head": "none"},
        train={**FULL_BATCH, "epochs": 50, "lr": 0.01, "weight_decay": 0.0},
    ),
    "hgt": Recipe(
        model={
            "d_hidden": 64, "num_layers": 2, "heads": 4, "dropout": 0.2, "norm": "layer",
            "head": "linear",
        },
        train={**FULL_BATCH, "epochs": 100, "lr": 0.005, "weight_decay": 1e-3},
    ),
    "appnp": Recipe(
        model={
            "d_hidden": 64, "num_layers": 10, "alpha": 0.1, "dropout": 0.5, "encoder": "mlp",
            "head": "none",
        },
        train={**FULL_BATCH, "lr": 0.01, "weight_decay": 5e-3, "weight_decay_layers": "first"},
    ),
    "sgc": Recipe(
        model={"d_hidden": 64, "num_layers": 2, "dropout": 0.0, "head": "linear"},
        train={**FULL_BATCH, "lr": 0.2, "weight_decay": 5e-5},
    ),
    "lightgcn": Recipe(
        model={
            "d_hidden": 64, "num_layers": 3, "dropout": 0.0, "encoder": "linear",
            "jumping": "mean", "head": "linear",
        },
        train={**FULL_BATCH, "lr": 0.01, "weight_decay": 5e-5},
    ),
    "egnn": Recipe(
        model={"d_hidden": 64, "num_layers": 3, "dropout": 0.0, "encoder": "linear"},
        train={**SAMPLED, "lr": 0.001, "weight_decay": 1e-8},
    ),
    "identity": Recipe(
        model={"d_hidden": 64, "num_layers": 1, "dropout": 0.5, "encoder": "mlp", "head": "linear"},
        train={**FULL_BATCH, "lr": 0.01, "weight_decay": 5e-4},
    ),
    "tgat": Recipe(
        model={"d_hidden": 64, "num_layers": 2, "heads": 2, "dropout": 0.1},
        train={**SAMPLED, "lr": 0.001, "weight_decay": 0.0},
    ),
}  # fmt: skip


BROUGHT = Recipe(
    model={"d_hidden": 64, "num_layers": 2, "dropout": 0.5, "head": "linear"},
    train={**SAMPLED, "lr": 0.01, "weight_decay": 5e-5},
)

MOLECULES = Recipe(
    model={
        "d_hidden": 64, "num_layers": 4, "norm": "batch", "readout": "mean", "jumping": "none",
        "head": "linear", "dropout": 0.1, "activation": "relu",
    },
    train={"batch_size": 64, "epochs": 100, "patience": 40, "lr": 0.002, "weight_decay": 0.0},
)  # fmt: skip
GRAPH_LEVEL = Recipe(
    model={
        "d_hidden": 64, "num_layers": 4, "norm": "batch", "readout": "sum", "jumping": "cat",
        "head": "linear", "dropout": 0.0, "activation": "relu",
    },
    train={"batch_size": 64, "epochs": 150, "patience": 40, "lr": 0.005, "weight_decay": 0.0},
)  # fmt: skip


def recipe_for(
    conv: str, data: Data, num_layers: int | None = None, task: str = "node-classification"
) -> Recipe:
    """The recipe of a convolution, fitted to a graph or a collection of graphs.

    Wide batches are made smaller and neighbors are sampled where the graph is too large to take
    all of them; rows of counts or of 0 and 1 are normalized, other features are left as they are.

    Args:
        conv: a key of `RECIPES`, or a convolution that the user brings.
        data: the graph, or the collection.
        num_layers: where it is not the recipe's own.
        task: what is trained for.
    """
    if isinstance(data, GraphCollection):
        has_codes = data.meta.node_cardinalities is not None
        norm = "column" if not has_codes and _input_norm(data.nodes, conv) == "column" else "none"
        return _graph_recipe(MOLECULES if has_codes else GRAPH_LEVEL, conv, num_layers, norm)
    recipe = _recipe_of(conv)
    layers = num_layers or recipe.model["num_layers"]
    norm = _input_norm(data, conv)
    model = {**recipe.model, "conv": conv, "num_layers": layers, "input_norm": norm}
    train = dict(recipe.train)
    takes_all = train["batch_size"] == WHOLE_BATCH
    if not takes_all or data.graph.num_edges > EXACT_EDGES:
        train["fanouts"] = (FANOUT,) * layers
        train["epochs"] = min(train["epochs"], MOST_SAMPLED_EPOCHS)
        train["batch_size"] = min(train["batch_size"], _batch_size(data))
    if not takes_all:
        train |= _long_enough(train, _num_train(data, task))
    return Recipe(model, train)


def _long_enough(train: dict[str, Any], num_train: int) -> dict[str, int]:
    """Epochs and patience, longer where a pass over the training nodes is but a few steps."""
    steps = math.ceil(num_train / train["batch_size"])
    factor = max(1.0, LEAST_STEPS / (max(steps, 1) * train["epochs"]))
    return {name: math.ceil(train[name] * factor) for name in ("epochs", "patience")}


def _num_train(data: Dataset, task: str) -> int:
    """About as many nodes as are trained on: those with labels, of the first split where there is
    one.
    """
    labeled = np.ones(data.graph.num_nodes, np.bool_)
    if data.labels is not None and task in NODE_TASKS:
        labeled = task_for(task, data).targets(data)[1].numpy()
    if data.splits is not None:
        return int(labeled[data.nodes_in("train", 0)].sum())
    return round(int(labeled.sum()) * TRAIN_SHARE)


def _recipe_of(conv: str) -> Recipe:
    if conv not in RECIPES and not is_brought(conv):
        raise InputError(
            f"there is no convolution {conv!r}; choose {' or '.join(RECIPES)}, or your own as "
            "module:my_models:make_conv"
        )
    return RECIPES.get(conv, BROUGHT)


def _graph_recipe(base: Recipe, conv: str, num_layers: int | None, norm: str) -> Recipe:
    """Layers with batch normalization and a readout, after Xu et al. (2019).

    The rows of all layers are summed where features are plain; where they are codes, as for
    molecules, the mean of the last layer does better.
    """
    own = {k: v for k, v in _recipe_of(conv).model.items() if k in ("heads", "alpha", "encoder")}
    model = {**base.model, **own, "conv": conv, "input_norm": norm}
    if conv in CARRYING:
        model |= {"jumping": "none", "norm": "none"}
    if conv in ("gat", "gatv2", "transformer", "tgat"):
        model["heads"] = 4
    model["num_layers"] = num_layers or model["num_layers"]
    return Recipe(model, base.train)


def _batch_size(data: Dataset) -> int:
    """Small batches take more steps on small graphs, large ones take less time on large graphs."""
    return 128 if data.graph.num_nodes < 20_000 else 1024


def _input_norm(data: Dataset, conv: str) -> str:
    """ "row" for bags of words and the like: nothing negative, and mostly zeros; "column" where a
    feature is far larger than 1, or all are far smaller.

    Rows of many words become so small that GCN learns little from them in its 200 steps.
    """
    features = data.features
    if features is None or not features.num_rows:
        return "none"
    step = max(1, features.num_rows // LOOK_AT_ROWS)
    rows = features.gather(torch.arange(0, features.num_rows, step))
    if is_sparse(rows):
        return "none" if (rows.values() < 0).any() else "row"
    zeros = float((rows == 0).float().mean())
    if zeros >= SPARSE_SHARE and not (rows < 0).any():
        return "none" if conv == "gcn" and zeros < VERY_SPARSE_SHARE else "row"
    return "none" if len(data.graph.node_types) > 1 or _is_plain(rows) else "column"


def _is_plain(rows: torch.Tensor) -> bool:
    """Whether features are about as large as weights expect."""
    sizes = rows.double().square().mean(dim=0).sqrt()
    low, high = PLAIN_SIZES
    return not bool(sizes.max() > high or 0 < sizes.max() < low)
