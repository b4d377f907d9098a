"""Probabilities that mean what they say, and label sets that hold the truth as often as promised.

Temperature scaling (Guo et al.: On Calibration of Modern Neural Networks, 2017) divides logits by
one number T, which changes no ranking; T minimizes the negative log-likelihood. In terms of
probabilities, p' ∝ p^(1/T).

Split-conformal sets (Sadinle, Lei, Wasserman 2019; Angelopoulos, Bates 2021) hold every label with
1 - p'_y ≤ q, and always the most probable one. q is the ⌈(n + 1)(1 - α)⌉-th smallest score of n
labeled nodes, infinite where there are fewer than that. For a node drawn like those n, the set
holds its label with probability at least 1 - α, whatever the model is worth: a poor model has
large sets.

T is fitted on one half of the validation part, q and the errors are of the other half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sampling.kernels.reference import MASK

__all__ = ["Calibration", "calibrate", "expected_calibration_error"]

ALPHA = 0.1
NUM_BINS = 15
LEAST_NODES = 4
LOG_RANGE = math.log(0.05), math.log(20.0)
GOLDEN_SHARE = (math.sqrt(5) - 1) / 2
GOLDEN_STEPS = 60
TINY = float(np.finfo(np.float32).tiny)

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]


class Calibration(BaseModel):
    """What `model.json` says under `calibration`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["lac"] = "lac"  # the score of a label is 1 - its probability
    temperature: float = Field(gt=0)
    alpha: float = Field(gt=0, lt=1, description="sets miss the label at most this often")
    threshold: float | None = Field(
        description="largest score in a set; null where there were too few nodes: all labels"
    )
    num_nodes: int = Field(ge=0, description="nodes that the threshold is a quantile of")
    error_before: float = Field(ge=0, le=1, description="expected calibration error")
    error_after: float = Field(ge=0, le=1, description="the same with the temperature")

    def scaled(self, probabilities: Floats) -> NDArray[np.float64]:
        """Calibrated probabilities, (rows, classes), from those of the model."""
        return _scaled(probabilities, self.temperature)

    def sets(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Which labels are in the set of each row, (rows, classes), from the model's own."""
        scores = 1 - self.scaled(probabilities)
        chosen = scores <= (np.inf if self.threshold is None else self.threshold)
        chosen[np.arange(len(scores)), np.argmax(probabilities, axis=1)] = True
        return chosen


def calibrate(
    probabilities: Floats, y: Codes, alpha: float = ALPHA, seed: int = 0
) -> Calibration | None:
    """Temperature and threshold from labeled nodes that no weight was fitted to.

    Args:
        probabilities: of the model, (n, classes).
        y: their codes, (n,).
        alpha: how often a set may miss the label.
        seed: randomness of the two halves.

    Returns:
        None where there are fewer than 4 nodes.
    """
    if len(y) < LEAST_NODES:
        return None
    order = np.random.default_rng(seed & MASK).permutation(len(y))
    fit, held = np.array_split(order, 2)
    temperature = _temperature(probabilities[fit], y[fit])
    own, scaled = probabilities[held], _scaled(probabilities[held], temperature)
    return Calibration(
        temperature=temperature,
        alpha=alpha,
        threshold=_quantile(1 - scaled[np.arange(len(held)), y[held]], alpha),
        num_nodes=len(held),
        error_before=expected_calibration_error(own, y[held]),
        error_after=expected_calibration_error(scaled, y[held]),
    )


def expected_calibration_error(probabilities: Floats, y: Codes) -> float:
    """Mean distance of confidence and accuracy over 15 bins of confidence, in 0 … 1."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == y).astype(np.float64)
    bins = np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    gap = np.bincount(bins, confidence - right, NUM_BINS)
    return min(float(np.abs(gap).sum() / max(len(y), 1)), 1.0)


def _scaled(probabilities: Floats, temperature: float) -> NDArray[np.float64]:
    logits = np.log(np.maximum(probabilities.astype(np.float64), TINY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scaled


def _temperature(probabilities: Floats, y: Codes) -> float:
    rows = np.arange(len(y))

    def loss(log_temperature: float) -> float:
        scaled = _scaled(probabilities, math.exp(log_temperature))
        return float(-np.log(np.maximum(scaled[rows, y], TINY)).mean())

    return math.exp(_minimum(loss, *LOG_RANGE))


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest, by golden sections (Kiefer 1953)."""
    left, right = high - GOLDEN_SHARE * (high - low), low + GOLDEN_SHARE * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(GOLDEN_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN_SHARE * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN_SHARE * (high - low)
            at_right = function(right)
    return (low + high) / 2


def _quantile(scores: NDArray[np.float64], alpha: float) -> float | None:
    """The ⌈(n + 1)(1 - α)⌉-th smallest score; None where there are fewer."""
    rank = math.ceil((len(scores) + 1) * (1 - alpha))
    return None if rank > len(scores) else float(np.sort(scores)[rank - 1])
