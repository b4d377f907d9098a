"""One step of optimization: gradients, their treatment, the optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnn.errors import DivergedError
from gnn.model import GNN
from gnn.train_config import TrainConfig

__all__ = ["Stepper"]


@dataclass(slots=True)
class Stepper:
    """Turns losses into steps.

    Attributes:
        optimizer: Adam (Kingma, Ba 2015) or AdamW over all parameters of the model.
    """

    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, model: GNN, config: TrainConfig) -> Stepper:
        """As the configuration says; it may penalize only the map that reads the input."""
        first = list(model.first.parameters())
        rest = [p for p in model.parameters() if not any(p is q for q in first)]
        decay_rest = config.weight_decay if config.weight_decay_layers == "all" else 0.0
        groups = [{"params": first, "weight_decay": config.weight_decay}] if first else []
        if rest:
            groups.append({"params": rest, "weight_decay": decay_rest})
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        return cls(kind(groups, lr=config.lr))

    def step(self, loss: Tensor, epoch: int, batch: int) -> float:
        """One step down from this loss; returns its value.

        Args:
            loss: a scalar.
            epoch: from 0.
            batch: from 0.

        Raises:
            DivergedError: the loss is not finite; nothing has changed then.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(epoch + 1, batch + 1, value)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return value
