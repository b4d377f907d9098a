"""Losses for classes of unequal frequency or certainty.

    cross-entropy   -w_y Σ_c q_c log p_c           q: 1 - ε + ε/C at the label, ε/C elsewhere
    focal           the same times (1 - p_y)^γ     (Lin et al.: Focal Loss, 2017)
    of labels       -w_c (1 - p_c)^γ log p_c       p: probability of what is true of label c

ε is label smoothing (Szegedy et al. 2016), w the weight of a class. The mean is over the weights of
the rows, as torch's own cross-entropy has it, which this is for γ = 0. Of several labels per row
each is a question by itself, to which a sigmoid answers; w is then that of a positive one, and the
mean is over rows and labels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor

from sampling.kernels.reference import MASK

__all__ = ["balanced_seeds", "class_loss", "labels_loss"]


def class_loss(
    logits: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
    *,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The mean loss of a batch, a scalar.

    Args:
        logits: (rows, classes).
        y: codes, (rows,).
        weight: of every class, (classes,).
        focal_gamma: how much rows that are already right count less; 0 not at all.
        label_smoothing: share of every label that is spread over all classes.
    """
    if not focal_gamma:
        return F.cross_entropy(logits, y, weight, label_smoothing=label_smoothing)
    rows = F.cross_entropy(logits, y, weight, reduction="none", label_smoothing=label_smoothing)
    missing = -torch.expm1(F.log_softmax(logits, dim=1).gather(1, y[:, None])[:, 0])
    # a probability that rounds to 1 has no slope under powers below 1
    factor = missing.clamp(min=torch.finfo(missing.dtype).tiny) ** focal_gamma
    return (factor * rows).sum() / (len(y) if weight is None else weight[y].sum())


def labels_loss(
    logits: Tensor, y: Tensor, weight: Tensor | None = None, *, focal_gamma: float = 0.0
) -> Tensor:
    """The mean loss of a batch of rows with several labels each, a scalar.

    Args:
        logits: (rows, classes).
        y: 1 where a row has the label, else 0, the same shape.
        weight: of a positive label of every class, (classes,).
        focal_gamma: how much answers that are already right count less; 0 not at all.
    """
    y = y.to(logits.dtype)
    if not focal_gamma:
        return F.binary_cross_entropy_with_logits(logits, y, pos_weight=weight)
    answers = F.binary_cross_entropy_with_logits(logits, y, pos_weight=weight, reduction="none")
    log_missing = F.logsigmoid(logits * (1 - 2 * y))
    return (torch.exp(focal_gamma * log_missing) * answers).mean()


def balanced_seeds(
    nodes: NDArray[np.int64], y: NDArray[np.int64], seed: int, epoch: int
) -> NDArray[np.int64]:
    """Seeds of one epoch with every class equally often, about as many as there are nodes.

    Of a frequent class another part is taken each epoch; a rare class is gone through again and
    again, each time in a new order. What is taken depends on (seed, epoch, class) alone.

    Args:
        nodes: training nodes, (n,).
        y: their codes, (n,).
        seed: randomness.
        epoch: from 0.
    """
    classes = np.unique(y)
    each = -(-len(nodes) // len(classes))
    return np.concatenate([_drawn(nodes[y == c], each, (seed & MASK, epoch, c)) for c in classes])


def _drawn(nodes: NDArray[np.int64], count: int, key: tuple[int, ...]) -> NDArray[np.int64]:
    random = np.random.default_rng(key)
    rounds = [random.permutation(nodes) for _ in range(-(-count // len(nodes)))]
    return np.concatenate(rounds)[:count]
