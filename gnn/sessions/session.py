"""What the training loop needs of a task: an epoch, a validation, and a score to choose by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from gnn.device import random_devices
from gnn.distributed import Ranks
from gnn.errors import TrainingError
from gnn.losses import class_loss, labels_loss
from gnn.metrics import LOWER_IS_BETTER
from gnn.model import GNN
from gnn.multilabel import NodeMultiLabel
from gnn.optimize import Stepper
from gnn.tasks import Task
from gnn.train_config import TrainConfig
from sampling.errors import InputError
from sampling.kernels.reference import GOLDEN, MASK, mix

__all__ = [
    "EpochResult",
    "Session",
    "check_one_class",
    "check_outputs",
    "class_weight_of",
    "keyed_randomness",
    "loss_of",
    "score_of",
    "weighed_among_all",
]


OF_ONE_CLASS = ("label_smoothing", "balanced_seeds", "conformal_alpha")


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One pass over the training part.

    Attributes:
        loss: mean training loss, of all processes' entries.
        metrics: measured on the way, with dropout, on this process's entries.
        edges: edges of all Blocks of this process.
        seconds: time taken.
    """

    loss: float
    metrics: dict[str, float]
    edges: int
    seconds: float


class Session(Protocol):
    """The parts of one training that stay the same from epoch to epoch.

    Attributes:
        stepper: the optimizer and what goes with it.
        monitor: the validation metric that chooses the best epoch, "loss" or "none".
    """

    stepper: Stepper
    monitor: str

    def run_epoch(self, epoch: int) -> EpochResult:
        """One pass over the training part; epochs count from 0."""

    def validate(self, epoch: int) -> dict[str, float]:
        """Loss and monitored metrics of the validation part; empty without one."""


def score_of(monitor: str, val: dict[str, float]) -> tuple[float, float] | None:
    """What the best epoch has most of: the monitored metric, then a low loss.

    Raises:
        TrainingError: the metric is not defined on the validation part.
    """
    if monitor == "none":
        return None
    if monitor not in val:
        raise TrainingError(
            f"{monitor} is not defined on the validation part; monitor another metric"
        )
    sign = -1.0 if monitor in LOWER_IS_BETTER else 1.0
    return sign * val[monitor], -val.get("loss", 0.0)


@contextmanager
def keyed_randomness(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Torch's generators keyed by (seed, epoch) inside, as they were outside."""
    with torch.random.fork_rng(devices=random_devices(device)):
        torch.manual_seed(mix((seed * GOLDEN + epoch + 1) & MASK))
        yield


def class_weight_of(config: TrainConfig, task: Task, y: Tensor, num_classes: int) -> Tensor | None:
    """Weights of the classes as the configuration says, (num_classes,); None for equal ones."""
    return None if config.class_weights == "none" else task.class_weight(y, num_classes)


def loss_of(
    config: TrainConfig,
    task: Task,
    model: GNN,
    logits: Tensor,
    y: Tensor,
    class_weight: Tensor | None,
) -> Tensor:
    """The mean loss of a batch as the configuration says, a scalar."""
    if class_weight is not None:
        class_weight = class_weight.to(logits.device)
    if not (config.focal_gamma or config.label_smoothing):
        return task.loss(model, logits, y, class_weight)
    if isinstance(task, NodeMultiLabel):
        return labels_loss(logits, y, class_weight, focal_gamma=config.focal_gamma)
    return class_loss(
        logits,
        y,
        class_weight,
        focal_gamma=config.focal_gamma,
        label_smoothing=config.label_smoothing,
    )


def weighed_among_all(
    loss: Tensor, task: Task, y: Tensor, class_weight: Tensor | None, size: int
) -> Tensor:
    """A mean over the class weights of this process's rows, so that those of all processes have
    the mean over the weights of the whole batch for their mean.

    Args:
        loss: what `loss_of` gave.
        task: what is trained for.
        y: codes of this process's rows.
        class_weight: of every class; None for equal ones.
        size: rows of the whole batch.
    """
    ranks = Ranks.current()
    if ranks.size == 1 or class_weight is None or isinstance(task, NodeMultiLabel):
        return loss
    own = class_weight.to(y.device)[y].mean()
    return loss * (own / ranks.mean(own, size))


def check_one_class(config: TrainConfig, task: Task) -> None:
    """Refuse settings that are for one class per row where rows have several labels.

    Raises:
        InputError: there are such settings.
    """
    if not isinstance(task, NodeMultiLabel):
        return
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in OF_ONE_CLASS and value != field.default:
            raise InputError(
                f"{field.name} is {value}, which is for one class per node, and these have several "
                "labels each; leave it out"
            )


def check_outputs(model: GNN, expected: int) -> None:
    """Refuse a model with another number of outputs than the labels need.

    Raises:
        TrainingError: it has.
    """
    if model.config.d_out != expected:
        raise TrainingError(
            f"the model gives {model.config.d_out} outputs, but the labels need {expected}; "
            f"build it with d_out={expected}"
        )
