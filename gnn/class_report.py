"""What a classifier gets right and wrong, class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn.metrics import THRESHOLD

__all__ = ["ClassReport", "class_report", "labels_report"]

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
        shown: codes of the classes in `confusion`: the most frequent, in the order of codes; None
            where nodes have several labels, and so is `confusion`.
        confusion: nodes of class shown[i] that were called shown[j].
        average_precision: where nodes have several labels, (classes,); NaN where a class is not
            there.
    """

    part: str
    precision: Shares
    recall: Shares
    f1: Shares
    support: Counts
    shown: Counts | None = None
    confusion: Counts | None = None
    average_precision: Shares | None = None


def class_report(predicted: Counts, y: Counts, num_classes: int, part: str) -> ClassReport:
    """Measures of predicted codes, (n,), against true ones, (n,)."""
    support = np.bincount(y, minlength=num_classes)
    called = np.bincount(predicted, minlength=num_classes)
    right = np.bincount(y[predicted == y], minlength=num_classes)
    shown = np.sort(np.argsort(-support, kind="stable")[:MAX_CONFUSED])
    confusion = _confusion(predicted, y, shown, num_classes)
    return ClassReport(part, *_shares(right, called, support), support, shown, confusion)


def labels_report(
    probabilities: NDArray[np.floating], y: NDArray[np.bool_], part: str
) -> ClassReport:
    """Measures of several labels per node: those above one half are predicted.

    Args:
        probabilities: of every label by itself, (n, classes).
        y: whether a node has a label, the same shape.
        part: that they are of.
    """
    from sklearn.metrics import average_precision_score

    predicted = probabilities > THRESHOLD
    support, called, right = (a.sum(axis=0) for a in (y, predicted, y & predicted))
    ranked = [
        average_precision_score(y[:, c], probabilities[:, c]) if support[c] else np.nan
        for c in range(y.shape[1])
    ]
    shares = _shares(right, called, support)
    return ClassReport(part, *shares, support, average_precision=np.array(ranked))


def _shares(right: Counts, called: Counts, support: Counts) -> tuple[Shares, Shares, Shares]:
    """Precision, recall and F1 of every class."""
    return (
        right / np.maximum(called, 1),
        right / np.maximum(support, 1),
        2 * right / np.maximum(called + support, 1),
    )


def _confusion(predicted: Counts, y: Counts, shown: Counts, num_classes: int) -> Counts:
    place = np.full(num_classes, -1, np.int64)
    place[shown] = np.arange(len(shown))
    row, column = place[y], place[predicted]
    both = (row >= 0) & (column >= 0)
    cells = np.bincount(row[both] * len(shown) + column[both], minlength=len(shown) ** 2)
    return cells.reshape(len(shown), len(shown))
