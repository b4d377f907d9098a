"""What is measured of a trained model before it is saved: one pass for all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gnn.calibration import Calibration, calibrate
from gnn.class_report import ClassReport, class_report, labels_report
from gnn.data import Data
from gnn.evaluate import EvaluateOptions, evaluate_parts, part_logits
from gnn.model import GNN
from gnn.target_report import target_report
from gnn.tasks import task_for
from gnn.train_config import CLASS_TASKS, TrainConfig

__all__ = ["Measured", "measure", "reading_fanouts"]

POINT_TASKS = (*CLASS_TASKS, "node-regression", "graph-regression")
"""Tasks with a target for every node or graph."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Quality of a model.

    Attributes:
        metrics: by name, per part.
        sizes: labeled nodes, or graphs, of every part.
        calibration: of the probabilities of one class per row, from the validation part; else None.
        classes: class by class on the test part, or the last there is; None for other tasks.
        targets: metrics of every target by its name, per part; empty where there is one target.
    """

    metrics: dict[str, dict[str, float]]
    sizes: dict[str, int]
    calibration: Calibration | None = None
    classes: ClassReport | None = None
    targets: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


def measure(model: GNN, data: Data, training: TrainConfig) -> Measured:
    """All metrics of every part that has labels, calibration and classes where there are any."""
    options: EvaluateOptions = {
        "task": training.task,
        "fanouts": reading_fanouts(asdict(training)),
        "temporal": training.temporal,
        "strategy": training.strategy,
        "num_threads": training.num_threads,
        "split_index": training.split_index,
        "split": training.split,
        "seed": training.seed,
    }
    if training.task not in POINT_TASKS:
        return Measured(evaluate_parts(model, data, **options), {})
    task = task_for(training.task, data)
    found = part_logits(model, data, **options)
    metrics = {part: task.metrics(logits, y) for part, (logits, y) in found.items()}
    sizes = {part: len(y) for part, (_, y) in found.items()}
    info = data.meta.labels
    if training.task not in CLASS_TASKS or info is None or not found:
        reports = {part: target_report(task, data, *rows) for part, rows in found.items()}
        return Measured(metrics, sizes, targets={p: one for p, one in reports.items() if one})
    part = list(found)[-1]
    logits, y = found[part]
    if info.kind == "multi":
        classes = labels_report(task.outputs(logits).numpy(), y.numpy() == 1, part)
        return Measured(metrics, sizes, classes=classes)
    predicted = logits.argmax(dim=1).numpy()
    classes = class_report(predicted, y.numpy(), model.config.d_out, part)
    calibration = None
    if "val" in found:
        logits, y = found["val"]
        rows = task.outputs(logits).numpy()
        calibration = calibrate(rows, y.numpy(), training.conformal_alpha, training.seed)
    return Measured(metrics, sizes, calibration, classes)


def reading_fanouts(training: Mapping[str, Any]) -> Sequence[int] | None:
    """Neighbors per layer of an evaluation; of edges in time those of training."""
    in_time = training.get("temporal", False) and training["task"] == "link-prediction"
    fanouts: Sequence[int] | None = training["eval_fanouts"]
    return training["fanouts"] if fanouts is None and in_time else fanouts
