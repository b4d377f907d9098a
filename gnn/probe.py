"""What embeddings know of labels: the accuracy of a logistic regression on frozen rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gnn.device import at_home
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.model import GNN
from gnn.splits import split_nodes
from gnn.tasks import task_named
from sampling import Dataset

__all__ = ["probe_accuracy", "probed_parts"]

ITERATIONS = 300


def probe_accuracy(
    model: GNN,
    data: Dataset,
    names: Sequence[str],
    split_index: int = 0,
    split: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """{"probe_accuracy": …} of every part with labeled nodes; empty where there are no classes.

    Args:
        model: whose embeddings are measured; left as it was.
        data: the graph.
        names: of "train", "val", "test".
        split_index: which of the graph's splits.
        split: shares where it has none.
        seed: randomness of such a split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    parts, targets = probed_parts(data, split_index, split, seed)
    if not parts:
        return {}
    was_training = model.training
    model.eval()
    with torch.no_grad(), at_home(model, model.device):
        h = infer(model, with_inputs(data, model.config)).double().numpy()
    model.train(was_training)
    scaler = StandardScaler().fit(h[parts["train"]])
    probe = LogisticRegression(max_iter=ITERATIONS, tol=1e-3)
    probe.fit(scaler.transform(h[parts["train"]]), targets[parts["train"]])
    return {
        name: {"probe_accuracy": float(probe.score(scaler.transform(h[nodes]), targets[nodes]))}
        for name, nodes in parts.items()
        if name in names
    }


def probed_parts(
    data: Dataset, split_index: int, split: tuple[float, float, float], seed: int
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """Labeled nodes of the parts that have some, and codes, (num_nodes,); none without two classes.

    Args:
        data: the graph.
        split_index: as of `probe_accuracy`, and so are `split` and `seed`.
    """
    nothing = np.zeros(0, np.int64)
    if data.meta.labels is None or data.meta.labels.kind != "class":
        return {}, nothing
    y, labeled = task_named("node-classification").targets(data)
    parts = split_nodes(data, labeled, split_index=split_index, split=split, seed=seed)
    targets: NDArray[np.int64] = y.numpy()
    if len(np.unique(targets[parts["train"]])) < 2:
        return {}, nothing
    return {name: nodes for name, nodes in parts.items() if len(nodes)}, targets
