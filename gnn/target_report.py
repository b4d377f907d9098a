"""How well each of several targets is predicted; what is reported besides is the mean over them."""

from __future__ import annotations

from torch import Tensor

from gnn.data import Data
from gnn.tasks import GraphRegression, Task
from sampling.graph.collection import GraphCollection

__all__ = ["target_report"]


def target_report(task: Task, data: Data, logits: Tensor, y: Tensor) -> dict[str, dict[str, float]]:
    """Metrics of every target, by its name; empty where there is one target.

    Args:
        task: what was trained for.
        data: names the targets.
        logits: what the head gives, (rows, targets).
        y: the targets, (rows,) or (rows, targets).

    Raises:
        TrainingError: the model gives more or fewer values than there are targets.
    """
    if not (isinstance(task, GraphRegression) and isinstance(data, GraphCollection)):
        return {}
    if y.ndim == 1 or y.shape[1] == 1:
        return {}
    found = task.target_metrics(logits, y)
    return dict(zip(data.meta.target_names, found, strict=True))
