"""Classification where a node has any number of labels: one sigmoid and one cross-entropy each.

The decision is taken per class, so probabilities of a row do not sum to 1. Two ways to choose
labels are measured: all above one half, and, as the field does for the social networks of
DeepWalk (Perozzi et al. 2014), the k most probable ones where k is the true number of labels.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from gnn.data import Data
from gnn.errors import TrainingError
from gnn.losses import labels_loss
from gnn.metrics import MULTI_METRICS, multi_metrics
from gnn.model import GNN
from sampling.graph.meta import UNLABELED

__all__ = ["NodeMultiLabel"]


class NodeMultiLabel:
    """Any number of classes per node: binary cross-entropy on sigmoids.

    Targets are rows of zeros and ones, (num_nodes, classes) uint8, with `UNLABELED` in the rows
    of nodes without labels.
    """

    name = "node-classification"
    monitor = "micro_f1@k"
    metric_names: Collection[str] = tuple(MULTI_METRICS)

    def targets(self, data: Data) -> tuple[Tensor, Tensor]:
        assert data.labels is not None, "task_for looked at the labels"
        y = torch.from_numpy(np.array(data.labels))
        labeled = y[:, 0] != UNLABELED
        if not labeled.any():
            raise TrainingError(f"no node of graph {data.meta.name!r} has a label")
        return y, labeled

    def num_outputs(self, data: Data) -> int:
        assert data.meta.labels is not None, "task_for looked at the labels"
        return len(data.meta.labels.classes)

    def fit_scale(self, model: GNN, y: Tensor) -> None:
        """Nothing: logits have no unit."""

    def class_weight(self, y: Tensor, num_classes: int) -> Tensor:
        """How many negatives there are for each positive of a class, (num_classes,)."""
        positives = y.sum(dim=0).float()
        return torch.where(positives > 0, (len(y) - positives) / positives.clamp(min=1), 1.0)

    def loss(self, model: GNN, logits: Tensor, y: Tensor, class_weight: Tensor | None) -> Tensor:
        return labels_loss(logits, y, class_weight)

    def outputs(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits.float())

    def metrics(
        self, logits: Tensor, y: Tensor, names: Collection[str] | None = None
    ) -> dict[str, float]:
        return multi_metrics(self.outputs(logits).numpy(), y.numpy() == 1, names)
