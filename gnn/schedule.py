"""Learning rates over a training: a linear warmup, then constant, cosine, steps or plateaus.

    lr(step) = lr · min(1, (step + 1) / warmup) · shape

    cosine    shape = (1 + cos(π · share of training done)) / 2     (Loshchilov, Hutter 2017)
    step      shape = factor ^ (epochs done // every)
    plateau   shape = factor ^ (times that `every` epochs in a row were no better)

The rate of a step follows from its place in the training and a few counters, which are kept with
the training's state: a training that was stopped goes on with the same rates to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gnn.train_config import TrainConfig

__all__ = ["Schedule"]


@dataclass(slots=True)
class Schedule:
    """The learning rate of every step.

    Attributes:
        config: the shape and its numbers.
        steps_per_epoch: where it is known; the cosine then falls within an epoch as well.
        steps: steps taken.
        drops: times that a plateau has lowered the rate.
        waited: epochs since the best score, or since the last drop.
        best: the best score so far.
    """

    config: TrainConfig
    steps_per_epoch: int | None = None
    steps: int = 0
    drops: int = 0
    waited: int = 0
    best: tuple[float, ...] | None = None

    def next_lr(self, epoch: int, batch: int) -> float:
        """The rate of the next step, which counts it.

        Args:
            epoch: from 0.
            batch: from 0.
        """
        warmup = self.config.lr_warmup
        rise = min(1.0, (self.steps + 1) / warmup) if warmup else 1.0
        self.steps += 1
        return self.config.lr * rise * self._shape(epoch, batch)

    def finish_epoch(self, score: tuple[float, ...] | None) -> None:
        """Count an epoch with its validation score, the higher the better."""
        if self.config.lr_schedule != "plateau" or score is None:
            return
        if self.best is None or score > self.best:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.config.lr_every:
            self.drops, self.waited = self.drops + 1, 0

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, as JSON."""
        return {"steps": self.steps, "drops": self.drops, "waited": self.waited, "best": self.best}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.steps, self.drops, self.waited = (int(state[k]) for k in ("steps", "drops", "waited"))
        self.best = None if state["best"] is None else tuple(state["best"])

    def _shape(self, epoch: int, batch: int) -> float:
        config = self.config
        if config.lr_schedule == "cosine":
            within = min(batch / self.steps_per_epoch, 1.0) if self.steps_per_epoch else 0.0
            return (1 + math.cos(math.pi * min((epoch + within) / config.epochs, 1.0))) / 2
        if config.lr_schedule == "step":
            return float(config.lr_factor ** (epoch // config.lr_every))
        return float(config.lr_factor**self.drops)
