"""What a classifier gets right and wrong, class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassReport", "class_report"]

MAX_CONFUSED = 20

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class ClassReport:
    """Measures of every class on one part, as fractions.

    Attributes:
        part: "test", or the one that stands in for it.
        precision: (classes,); 0 where a class was never predicted, as scikit-learn has it.
        recall: (classes,); 0 where a class is not there.
        f1: their harmonic mean, (classes,).
        support: nodes of every class, (classes,).
        shown: codes of the classes in `confusion`: the most frequent, in the order of codes.
        confusion: nodes of class shown[i] that were called shown[j].
    """

    part: str
    precision: Shares
    recall: Shares
    f1: Shares
    support: Counts
    shown: Counts
    confusion: Counts


def class_report(predicted: Counts, y: Counts, num_classes: int, part: str) -> ClassReport:
    """Measures of predicted codes, (n,), against true ones, (n,)."""
    support = np.bincount(y, minlength=num_classes)
    called = np.bincount(predicted, minlength=num_classes)
    right = np.bincount(y[predicted == y], minlength=num_classes)
    shown = np.sort(np.argsort(-support, kind="stable")[:MAX_CONFUSED])
    return ClassReport(
        part,
        right / np.maximum(called, 1),
        right / np.maximum(support, 1),
        2 * right / np.maximum(called + support, 1),
        support,
        shown,
        _confusion(predicted, y, shown, num_classes),
    )


def _confusion(predicted: Counts, y: Counts, shown: Counts, num_classes: int) -> Counts:
    place = np.full(num_classes, -1, np.int64)
    place[shown] = np.arange(len(shown))
    row, column = place[y], place[predicted]
    both = (row >= 0) & (column >= 0)
    cells = np.bincount(row[both] * len(shown) + column[both], minlength=len(shown) ** 2)
    return cells.reshape(len(shown), len(shown))
