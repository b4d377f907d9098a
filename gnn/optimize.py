"""One step of optimization: gradients, their treatment, the optimizer.

Models are not compiled by `torch.compile`. Measured on one core with sampled batches (GraphSAGE,
two layers of 64, fanouts 10,10, 1024 seeds; torch 2.13), the first step took 97 s instead of 0.2 s
and the later ones 132 ms instead of 66 ms: the kernels of the core, where the time goes, are opaque
to it, and every hop leaves its graph. Of the dense part alone: `docs/performance.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnn.distributed import Ranks
from gnn.errors import DivergedError
from gnn.model import GNN
from gnn.schedule import Schedule
from gnn.train_config import TrainConfig

__all__ = ["Stepper"]

LEAST_SCALE = 2.0**-20
"""The scale starts at 2^16 and is halved by every step that overflows."""


@dataclass(slots=True)
class Stepper:
    """Turns losses into steps.

    Attributes:
        optimizer: Adam (Kingma, Ba 2015) or AdamW over all parameters of the model.
        schedule: the learning rate of every step.
        max_grad_norm: longer gradients are scaled down to this norm; None leaves them.
        scaler: keeps gradients of float16 rows from underflowing; None for other precisions.
    """

    optimizer: torch.optim.Optimizer
    schedule: Schedule
    max_grad_norm: float | None = None
    scaler: torch.amp.GradScaler | None = None

    @classmethod
    def of(cls, model: GNN, config: TrainConfig, steps_per_epoch: int | None = None) -> Stepper:
        """As the configuration says; it may penalize only the map that reads the input."""
        first = list(model.first.parameters())
        rest = [p for p in model.parameters() if not any(p is q for q in first)]
        decay_rest = config.weight_decay if config.weight_decay_layers == "all" else 0.0
        groups = [{"params": first, "weight_decay": config.weight_decay}] if first else []
        if rest:
            groups.append({"params": rest, "weight_decay": decay_rest})
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        schedule = Schedule(config, steps_per_epoch)
        scaler = torch.amp.GradScaler(model.device.type) if config.precision == "float16" else None
        return cls(kind(groups, lr=config.lr), schedule, config.max_grad_norm, scaler)

    def step(self, loss: Tensor, epoch: int, batch: int, size: int | None = None) -> float:
        """One step down from this loss; returns its value.

        Args:
            loss: a scalar, the mean over this process's part of the batch.
            epoch: from 0.
            batch: from 0.
            size: entries of the whole batch, where processes share it.

        Raises:
            DivergedError: the loss, or the gradient that is to be clipped, is not finite; the
                weights have not changed then. A gradient that overflows float16 alone leaves one
                step out, and is one when nothing that it is scaled by helps.
        """
        value, ranks = loss.item(), Ranks.current()
        if ranks.agree(not math.isfinite(value)):
            raise DivergedError(epoch + 1, batch + 1, value)
        self.optimizer.zero_grad()
        shared = loss if ranks.size == 1 or size is None else loss * ranks.share(size)
        scaled = shared if self.scaler is None else self.scaler.scale(shared)
        scaled.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        ranks.add_gradients(self._parameters())
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        self._clip(epoch, batch)
        lr = self.schedule.next_lr(epoch, batch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._move(epoch, batch)
        return value

    def _move(self, epoch: int, batch: int) -> None:
        if self.scaler is None:
            self.optimizer.step()
            return
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < LEAST_SCALE:
            raise DivergedError(epoch + 1, batch + 1, math.nan, "gradient")

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _clip(self, epoch: int, batch: int) -> None:
        if self.max_grad_norm is None:
            return
        norm = nn.utils.clip_grad_norm_(self._parameters(), self.max_grad_norm).item()
        if not math.isfinite(norm) and self.scaler is None:
            raise DivergedError(epoch + 1, batch + 1, norm, "norm of the gradient")
