"""What a model is trained for: its targets, its loss, its outputs and its metrics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor

from gnn.data import Data
from gnn.errors import TrainingError
from gnn.metrics import CLASS_METRICS, REAL_METRICS, class_metrics, real_metrics
from gnn.model import GNN
from gnn.multilabel import NodeMultiLabel
from gnn.ranking import HITS, KEPT
from sampling.errors import InputError

__all__ = [
    "GRAPH_TASKS",
    "TASKS",
    "WITHOUT_OUTPUTS",
    "GraphRegression",
    "LinkPrediction",
    "NodeClassification",
    "NodeRegression",
    "Task",
    "Unsupervised",
    "metric_names_of",
    "outputs",
    "task_for",
    "task_named",
]


class Task(Protocol):
    """What training, evaluation and serving need to know of a task."""

    name: str
    monitor: str
    metric_names: Collection[str]

    def targets(self, data: Data) -> tuple[Tensor, Tensor]:
        """A target per node, (num_nodes, …), and whether the node has one, (num_nodes,)."""

    def num_outputs(self, data: Data) -> int:
        """The d_out that a model for these data has."""

    def fit_scale(self, model: GNN, y: Tensor) -> None:
        """Set what a model keeps of the scale of its targets."""

    def class_weight(self, y: Tensor, num_classes: int) -> Tensor | None:
        """Weights that make rare classes count as much as frequent ones; None without classes."""

    def loss(self, model: GNN, logits: Tensor, y: Tensor, class_weight: Tensor | None) -> Tensor:
        """The mean loss of a batch, a scalar."""

    def outputs(self, logits: Tensor) -> Tensor:
        """What a user sees: probabilities or values, (rows, d_out)."""

    def metrics(
        self, logits: Tensor, y: Tensor, names: Collection[str] | None = None
    ) -> dict[str, float]:
        """Metrics by name, as fractions or in the target's unit."""


class NodeClassification:
    """One class per node: cross-entropy on softmax."""

    name = "node-classification"
    monitor = "accuracy"
    metric_names: Collection[str] = tuple(CLASS_METRICS)

    def targets(self, data: Data) -> tuple[Tensor, Tensor]:
        num_classes = self.num_outputs(data)
        y = torch.from_numpy(_labels(data).astype(np.int64))
        if len(y) and int(y.max()) >= num_classes:
            raise TrainingError(
                f"label code {int(y.max())} is outside the {num_classes} classes; "
                "give codes from 0, and -1 for no label"
            )
        if len(y) and int(y.min()) < -1:
            raise TrainingError(f"label code {int(y.min())} is no class; -1 is for no label")
        return y, y >= 0

    def num_outputs(self, data: Data) -> int:
        _labels(data)
        info = data.meta.labels
        if info is None or info.kind != "class":
            raise TrainingError(
                "the labels are real numbers; pass --task node-regression, or ingest class labels"
            )
        if not info.classes:
            raise TrainingError(f"no node of graph {data.meta.name!r} has a label")
        return len(info.classes)

    def fit_scale(self, model: GNN, y: Tensor) -> None:
        """Nothing: logits have no unit."""

    def class_weight(self, y: Tensor, num_classes: int) -> Tensor:
        """The inverse of the share of every class, (num_classes,); 1 for one that is absent."""
        counts = torch.bincount(y, minlength=num_classes).float()
        present = (counts > 0).sum()
        return torch.where(counts > 0, len(y) / (present * counts.clamp(min=1)), 1.0)

    def loss(self, model: GNN, logits: Tensor, y: Tensor, class_weight: Tensor | None) -> Tensor:
        return F.cross_entropy(logits, y, class_weight)

    def outputs(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits.float(), dim=1)

    def metrics(
        self, logits: Tensor, y: Tensor, names: Collection[str] | None = None
    ) -> dict[str, float]:
        return class_metrics(self.outputs(logits).numpy(), y.numpy(), names)


class NodeRegression:
    """One real value per node: squared error on standardized targets.

    The model keeps mean and deviation of the training targets, so that its outputs are in the
    user's unit.
    """

    name = "node-regression"
    monitor = "rmse"
    metric_names: Collection[str] = tuple(REAL_METRICS)

    def targets(self, data: Data) -> tuple[Tensor, Tensor]:
        labels, info = _labels(data), data.meta.labels
        if info is not None and info.kind == "multi":
            raise TrainingError("nodes have several labels each; train a node-classification")
        if info is not None and info.kind == "class":
            labels = _numbers(labels, info.classes)
        y = torch.from_numpy(labels.astype(np.float32))
        return y, torch.isfinite(y)

    def num_outputs(self, data: Data) -> int:
        return 1

    def fit_scale(self, model: GNN, y: Tensor) -> None:
        deviation = y.double().std(unbiased=False).item()
        model.y_mean.fill_(y.double().mean().item())
        model.y_std.fill_(deviation if deviation > 0 else 1.0)

    def class_weight(self, y: Tensor, num_classes: int) -> None:
        """None: there are no classes."""

    def loss(self, model: GNN, logits: Tensor, y: Tensor, class_weight: Tensor | None) -> Tensor:
        error = (logits[:, 0] - y) / model.y_std[0]
        return (error * error).mean()

    def outputs(self, logits: Tensor) -> Tensor:
        return logits.float()

    def metrics(
        self, logits: Tensor, y: Tensor, names: Collection[str] | None = None
    ) -> dict[str, float]:
        return real_metrics(logits[:, 0].numpy(), y.numpy(), names)


class _WithoutTargets:
    """What tasks have in common that ask for no output per node: the embedding is the output."""

    name = ""

    def targets(self, data: Data) -> tuple[Tensor, Tensor]:
        raise TrainingError(f"{self.name} has no target per node")

    def num_outputs(self, data: Data) -> int:
        return 1

    def fit_scale(self, model: GNN, y: Tensor) -> None:
        """Nothing: scores have no unit."""

    def class_weight(self, y: Tensor, num_classes: int) -> Tensor | None:
        return None

    def loss(self, model: GNN, logits: Tensor, y: Tensor, class_weight: Tensor | None) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, y)

    def outputs(self, logits: Tensor) -> Tensor:
        return logits.float()

    def metrics(
        self, logits: Tensor, y: Tensor, names: Collection[str] | None = None
    ) -> dict[str, float]:
        return {}


class LinkPrediction(_WithoutTargets):
    """Whether there is an edge: scores of pairs, by a decoder over embeddings."""

    name = "link-prediction"
    monitor = "mrr"
    metric_names: Collection[str] = (
        "mrr", *(f"hits@{k}" for k in HITS), "roc_auc", "average_precision",
        f"recall@{KEPT}", f"ndcg@{KEPT}",
    )  # fmt: skip


class Unsupervised(_WithoutTargets):
    """Embeddings without labels; labels, where there are any, only measure them."""

    name = "unsupervised"
    monitor = "loss"
    metric_names: Collection[str] = ("probe_accuracy",)


WITHOUT_OUTPUTS = frozenset({"link-prediction", "unsupervised"})
"""Tasks whose models give embeddings, and neither classes nor values of nodes."""


class GraphClassification(NodeClassification):
    """One class per graph of a collection."""

    name = "graph-classification"


class GraphRegression(NodeRegression):
    """One real value per graph of a collection, or several.

    Several are standardized each by itself. A graph has a target where it has one of them: what it
    lacks is neither learned nor measured, every graph counts as much as any other in the loss, and
    metrics are means over the targets.
    """

    name = "graph-regression"

    def targets(self, data: Data) -> tuple[Tensor, Tensor]:
        y, known = super().targets(data)
        return y, known if known.ndim == 1 else known.any(dim=1)

    def num_outputs(self, data: Data) -> int:
        return 1 if data.labels is None or data.labels.ndim == 1 else int(data.labels.shape[1])

    def fit_scale(self, model: GNN, y: Tensor) -> None:
        if y.ndim == 1:
            super().fit_scale(model, y)
            return
        for i, column in enumerate(y.double().unbind(dim=1)):
            known = column[torch.isfinite(column)]
            deviation = known.std(unbiased=False).item() if len(known) else 0.0
            model.y_mean[i] = known.mean().item() if len(known) else 0.0
            model.y_std[i] = deviation if deviation > 0 else 1.0

    def loss(self, model: GNN, logits: Tensor, y: Tensor, class_weight: Tensor | None) -> Tensor:
        if y.ndim == 1:
            return super().loss(model, logits, y, class_weight)
        known = torch.isfinite(y)
        error = (logits - torch.where(known, y, 0.0)) / model.y_std * known
        return ((error * error).sum(dim=1) / known.sum(dim=1)).mean()

    def metrics(
        self, logits: Tensor, y: Tensor, names: Collection[str] | None = None
    ) -> dict[str, float]:
        found = self.target_metrics(logits, y, names)
        every = dict.fromkeys(name for one in found for name in one)
        return {name: float(np.mean([m[name] for m in found if name in m])) for name in every}

    def target_metrics(
        self, logits: Tensor, y: Tensor, names: Collection[str] | None = None
    ) -> list[dict[str, float]]:
        """Metrics of every target by itself; of one that no graph here has, none.

        Raises:
            TrainingError: the model gives more or fewer values than there are targets.
        """
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != logits.shape[1]:
            raise TrainingError(
                f"the model gives {logits.shape[1]} values per graph, and the graphs have "
                f"{columns.shape[1]} targets; measure it on a collection with the targets that it "
                "was trained on"
            )
        return [
            real_metrics(values[known].numpy(), truth[known].numpy(), names)
            if (known := torch.isfinite(truth)).any()
            else {}
            for values, truth in zip(logits.unbind(dim=1), columns.unbind(dim=1), strict=True)
        ]


GRAPH_TASKS = (GraphClassification.name, GraphRegression.name)
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        NodeClassification(),
        NodeRegression(),
        GraphClassification(),
        GraphRegression(),
        LinkPrediction(),
        Unsupervised(),
    )
}


MULTI_LABEL = NodeMultiLabel()


def task_named(name: str, label_kind: str = "class") -> Task:
    """The task of this name, on labels of this kind ("class", "real" or "multi").

    Raises:
        InputError: there is none.
    """
    if name not in TASKS:
        raise InputError(f"there is no task {name!r}; choose one of {', '.join(TASKS)}")
    return MULTI_LABEL if (name, label_kind) == (MULTI_LABEL.name, "multi") else TASKS[name]


def task_for(name: str, data: Data) -> Task:
    """The task of this name on the labels that the data have.

    Raises:
        InputError: there is none.
    """
    return task_named(name, data.meta.labels.kind if data.meta.labels else "class")


def metric_names_of(name: str) -> tuple[str, ...]:
    """Metrics of a task, on labels of any kind."""
    names = [*task_named(name).metric_names, *task_named(name, "multi").metric_names]
    return tuple(dict.fromkeys(names))


def outputs(task: str, logits: Tensor, label_kind: str = "class") -> Tensor:
    """Class probabilities or values, (rows, d_out), from what a model's head gives."""
    return task_named(task, label_kind).outputs(logits)


def _labels(data: Data) -> NDArray[Any]:
    if data.labels is None:
        raise TrainingError(
            f"graph {data.meta.name!r} has no labels; ingest a label column to train on"
        )
    return data.labels


def _numbers(codes: NDArray[Any], classes: list[int] | list[str]) -> NDArray[np.float32]:
    """Integer class labels as numbers; text cannot be regressed on."""
    if any(isinstance(name, str) for name in classes):
        raise TrainingError("the labels are text, and not numbers; choose a classification")
    values: NDArray[np.float32] = np.array([*classes, np.nan], np.float32)[codes]
    return values
