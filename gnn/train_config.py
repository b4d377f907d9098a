"""The settings of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from gnn.device import check_device_name
from gnn.precision import Precision, check_precision
from gnn.tasks import metric_names_of, task_named
from gnn.train_options import CLASS_TASKS, check_is_read
from sampling.errors import InputError

__all__ = ["CLASS_TASKS", "TrainConfig"]

MAX_VAL_SEEDS = 20_000
MAX_LR = 1e30
MAX_GAMMA = 100
MAX_SEED = 2**63 - 1

WeightDecayLayers = Literal["all", "first"]
ClassWeights = Literal["none", "balanced"]
OptimizerName = Literal["adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "step", "plateau"]
LinkLoss = Literal["auto", "bce", "bpr", "softmax"]
Objective = Literal["sage", "dgi"]
Strategy = Literal["recent", "uniform"]
TEMPORAL_TASKS = ("node-classification", "node-regression", "link-prediction")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        task: a key of `gnn.tasks.TASKS`.
        epochs: passes over the training seeds, at most.
        batch_size: seeds per step.
        fanouts: neighbors per node for each layer, -1 for all; all in every layer when left out.
        lr: learning rate of Adam, before the schedule.
        lr_schedule: "constant"; "cosine" falls to zero over all epochs; "step" is multiplied by
            `lr_factor` every `lr_every` epochs, "plateau" whenever `lr_every` epochs in a row
            were no better in validation.
        lr_every: epochs.
        lr_factor: above 0 and below 1.
        lr_warmup: steps over which the rate first rises to `lr`.
        max_grad_norm: longer gradients are scaled down to this norm; None leaves them.
        weight_decay: strength of the L2 penalty.
        weight_decay_layers: "all", or "first" for the first convolution only.
        optimizer: "adam" adds the penalty to the gradient, "adamw" decays the weights.
        patience: epochs without a better validation score before training stops; None never.
        monitor: the validation metric, or "loss", that chooses the best epoch; the task's own
            when left out; "none" does without validation and keeps the last weights.
        class_weights: "balanced" weighs classes inversely to their frequency in training.
        balanced_seeds: every class is trained on equally often per epoch.
        focal_gamma: rows that are already right count less, by (1 - p)^gamma; 0 not at all.
        label_smoothing: share of every label that is spread over all classes.
        conformal_alpha: how often the label sets of a classifier may miss the label.
        seed: randomness of order, neighbors, dropout, and of the split where the graph has none;
            from 0 to 2^63 - 1.
        split_index: which of the graph's splits.
        split: shares of train, val and test where the graph has no split.
        eval_fanouts: neighbors per layer for validation on graphs too large to be exact.
        max_train_seeds: train on at most this many nodes, chosen at random.
        max_val_seeds: validate on at most this many where validation is sampled.
        link_loss: of link prediction: "bce" on edges and negatives, "bpr" on their differences
            (Rendle et al. 2009), "softmax" of the true end among candidates; "auto" by the graph.
        num_negatives: negatives per edge; candidates per step where "softmax" is taken over the
            whole graph, 0 for all nodes.
        n3_decay: strength of the N3 penalty on the factors of every predicted edge (Lacroix et al.
            2018), for the decoders "dot" and "distmult".
        temperature: what divides cosines where the loss reads these in place of the inner products
            of the decoder "dot" (Wu et al. 2024); None where it reads inner products.
        exclude_targets: edges of a batch are no messages while they are predicted.
        objective: of unsupervised training: "sage" (Hamilton et al. 2017) or "dgi" (Velickovic
            et al. 2019).
        temporal: predict edges at their times and nodes at theirs, each from strictly earlier
            edges; shares of a split are then in order of time.
        strategy: which of them where there are more than the fanout: the latest, or any.
        num_threads: threads; torch's own setting when left out.
        device: where the model is trained, of `gnn.device`: "auto", "cpu", "cuda" or "cuda:N".
        precision: what its dense maps read: "float32", "bfloat16" or "float16".

    Raises:
        InputError: a value is unknown or out of range.
    """

    task: str = "node-classification"
    epochs: int = 50
    batch_size: int = 1024
    fanouts: tuple[int, ...] | None = None
    lr: float = 0.01
    lr_schedule: ScheduleName = "constant"
    lr_every: int = 10
    lr_factor: float = 0.5
    lr_warmup: int = 0
    max_grad_norm: float | None = None
    weight_decay: float = 5e-4
    weight_decay_layers: WeightDecayLayers = "all"
    optimizer: OptimizerName = "adam"
    patience: int | None = None
    monitor: str | None = None
    class_weights: ClassWeights = "none"
    balanced_seeds: bool = False
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    conformal_alpha: float = 0.1
    seed: int = 0
    split_index: int = 0
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)
    eval_fanouts: tuple[int, ...] | None = None
    max_train_seeds: int | None = None
    max_val_seeds: int = MAX_VAL_SEEDS
    link_loss: LinkLoss = "auto"
    num_negatives: int = 1
    n3_decay: float = 0.0
    temperature: float | None = None
    exclude_targets: bool = True
    objective: Objective = "sage"
    temporal: bool = False
    strategy: Strategy = "recent"
    num_threads: int | None = None
    device: str = "auto"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("fanouts", "eval_fanouts", "split"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        task = task_named(self.task)
        _choose("weight_decay_layers", self.weight_decay_layers, get_args(WeightDecayLayers))
        _choose("class_weights", self.class_weights, get_args(ClassWeights))
        _choose("optimizer", self.optimizer, get_args(OptimizerName))
        _choose("lr_schedule", self.lr_schedule, get_args(ScheduleName))
        _choose(
            "monitor", self.monitor or task.monitor, ("none", "loss", *metric_names_of(self.task))
        )
        _choose("link_loss", self.link_loss, get_args(LinkLoss))
        _choose("objective", self.objective, get_args(Objective))
        _choose("strategy", self.strategy, get_args(Strategy))
        if self.temporal:
            _choose("task of temporal training", self.task, TEMPORAL_TASKS)
        _at_least("num_negatives", self.num_negatives, 0)
        for name in ("epochs", "batch_size", "patience", "max_train_seeds", "max_val_seeds",
                     "num_threads", "lr_every"):  # fmt: skip
            _at_least(name, getattr(self, name), 1)
        _at_least("lr_warmup", self.lr_warmup, 0)
        check_device_name(self.device)
        check_precision(self.precision)
        self._check_rates()
        self._check_losses()
        if not 0 < self.lr <= MAX_LR:
            raise InputError(f"lr is {self.lr}; it must be a positive number, 0.01 as a start")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay is {self.weight_decay}; it must be at least 0")
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"seed is {self.seed}; it must be from 0 to 2^63 - 1")
        if not _are_shares(self.split):
            raise InputError(f"split is {self.split}; give three shares that sum to 1")

    def _check_rates(self) -> None:
        if not 0 < self.lr_factor < 1:
            raise InputError(f"lr_factor is {self.lr_factor}; it must be above 0 and below 1")
        if self.max_grad_norm is not None and not 0 < self.max_grad_norm <= MAX_LR:
            raise InputError(f"max_grad_norm is {self.max_grad_norm}; it must be positive")
        if self.lr_schedule == "plateau" and self.monitor == "none":
            raise InputError(
                "lr_schedule is 'plateau', which looks at validation, and monitor is 'none'; "
                "choose another of the two"
            )

    def _check_losses(self) -> None:
        if not 0 <= self.focal_gamma <= MAX_GAMMA:
            raise InputError(f"focal_gamma is {self.focal_gamma}; it must be in 0 … {MAX_GAMMA}")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"label_smoothing is {self.label_smoothing}; it must be at least 0 and below 1"
            )
        if not 0 < self.conformal_alpha < 1:
            raise InputError(
                f"conformal_alpha is {self.conformal_alpha}; it must be above 0 and below 1"
            )
        if not 0 <= self.n3_decay <= MAX_LR:
            raise InputError(f"n3_decay is {self.n3_decay}; it must be at least 0")
        if self.temperature is not None and not 0 < self.temperature <= MAX_LR:
            raise InputError(f"temperature is {self.temperature}; it must be a positive number, "
                             "0.1 as a start")  # fmt: skip
        for field in fields(self):
            value = getattr(self, field.name)
            check_is_read(field.name, value, field.default, self.task, self.temporal)


def _are_shares(split: tuple[float, ...]) -> bool:
    """Written so that a NaN is none."""
    return len(split) == 3 and min(split) >= 0 and abs(sum(split) - 1) <= 1e-6


def _choose(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}; choose one of {', '.join(known)}")


def _at_least(name: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise InputError(f"{name} is {value}; it must be at least {low}")
