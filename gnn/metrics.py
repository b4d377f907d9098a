"""Metrics of predictions, as fractions under scikit-learn's names.

A metric that is not defined for the data (ROC-AUC with one class, R² of one value) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASS_METRICS",
    "LOWER_IS_BETTER",
    "MULTI_METRICS",
    "REAL_METRICS",
    "THRESHOLD",
    "class_metrics",
    "multi_metrics",
    "real_metrics",
]

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int64]

THRESHOLD = 0.5
"""Where nodes have several labels, those of a higher probability are predicted."""
LOWER_IS_BETTER = frozenset({"loss", "rmse", "mae"})


def class_metrics(
    probabilities: Floats, y: Codes, names: Collection[str] | None = None
) -> dict[str, float]:
    """Metrics of class probabilities, (rows, classes), against codes, (rows,).

    Args:
        probabilities: rows that sum to 1.
        y: true codes.
        names: of `CLASS_METRICS`; all when left out.
    """
    return _defined(CLASS_METRICS, names, probabilities, y)


def multi_metrics(
    probabilities: Floats, y: Bools, names: Collection[str] | None = None
) -> dict[str, float]:
    """Metrics of one probability per class and row against the labels, both (rows, classes).

    Args:
        probabilities: in 0 … 1, each by itself.
        y: whether a row has a label.
        names: of `MULTI_METRICS`; all when left out.
    """
    return _defined(MULTI_METRICS, names, probabilities, y)


def real_metrics(
    values: Floats, y: Floats, names: Collection[str] | None = None
) -> dict[str, float]:
    """Metrics of values, (rows,), against true values, (rows,)."""
    return _defined(REAL_METRICS, names, values.astype(np.float64), y.astype(np.float64))


def _accuracy(probabilities: Floats, y: Codes) -> float:
    return float((probabilities.argmax(axis=1) == y).mean())


def _macro_f1(probabilities: Floats, y: Codes) -> float:
    return _f1(probabilities, y, "macro")


def _micro_f1(probabilities: Floats, y: Codes) -> float:
    return _f1(probabilities, y, "micro")


def _f1(probabilities: Floats, y: Codes, average: str) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(y, probabilities.argmax(axis=1), average=average, zero_division=0))


def _roc_auc(probabilities: Floats, y: Codes) -> float | None:
    """Area under the curve of class 1 of 2, or the mean of one class against the rest.

    The mean is over the classes that have both positives and negatives.
    """
    from sklearn.metrics import roc_auc_score

    num_classes = probabilities.shape[1]
    columns = [1] if num_classes == 2 else range(num_classes)
    scores = [
        roc_auc_score(y == c, probabilities[:, c]) for c in columns if 0 < (y == c).sum() < len(y)
    ]
    return float(np.mean(scores)) if scores else None


def _above(probabilities: Floats) -> Bools:
    return probabilities > THRESHOLD


def _top(probabilities: Floats, y: Bools) -> Bools:
    """The k most probable classes of every row, where k is its number of labels."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    chosen = np.zeros(y.shape, bool)
    np.put_along_axis(chosen, order, np.arange(y.shape[1]) < y.sum(axis=1)[:, None], axis=1)
    return chosen


def _label_f1(chosen: Bools, y: Bools, axis: int | None) -> float:
    """F1 of chosen labels: of all at once (micro), or the mean over the classes (macro)."""
    both = 2.0 * np.sum(chosen & y, axis=axis)
    all_ = np.sum(chosen, axis=axis) + np.sum(y, axis=axis)
    return float(np.mean(np.where(all_ > 0, both / np.maximum(all_, 1), 0.0)))


def _labels_roc_auc(probabilities: Floats, y: Bools) -> float | None:
    """The mean over the classes that have both positives and negatives."""
    from sklearn.metrics import roc_auc_score

    columns = [c for c in range(y.shape[1]) if 0 < y[:, c].sum() < len(y)]
    scores = [roc_auc_score(y[:, c], probabilities[:, c]) for c in columns]
    return float(np.mean(scores)) if scores else None


def _average_precision(probabilities: Floats, y: Bools) -> float | None:
    """The mean over the classes that have positives."""
    from sklearn.metrics import average_precision_score

    columns = [c for c in range(y.shape[1]) if y[:, c].any()]
    scores = [average_precision_score(y[:, c], probabilities[:, c]) for c in columns]
    return float(np.mean(scores)) if scores else None


def _rmse(values: Floats, y: Floats) -> float:
    return float(np.sqrt(np.mean((values - y) ** 2)))


def _mae(values: Floats, y: Floats) -> float:
    return float(np.mean(np.abs(values - y)))


def _r2(values: Floats, y: Floats) -> float | None:
    from sklearn.metrics import r2_score

    return float(r2_score(y, values)) if len(y) > 1 else None


CLASS_METRICS: dict[str, Callable[..., float | None]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "roc_auc": _roc_auc,
}
MULTI_METRICS: dict[str, Callable[..., float | None]] = {
    "micro_f1": lambda p, y: _label_f1(_above(p), y, None),
    "macro_f1": lambda p, y: _label_f1(_above(p), y, 0),
    "micro_f1@k": lambda p, y: _label_f1(_top(p, y), y, None),
    "macro_f1@k": lambda p, y: _label_f1(_top(p, y), y, 0),
    "roc_auc": _labels_roc_auc,
    "average_precision": _average_precision,
}
"""@k: a row's labels are its k most probable classes, k being how many it truly has."""
REAL_METRICS: dict[str, Callable[..., float | None]] = {"rmse": _rmse, "mae": _mae, "r2": _r2}


def _defined(
    metrics: dict[str, Callable[..., float | None]],
    names: Collection[str] | None,
    predicted: Floats,
    y: NDArray[np.int64] | Floats | Bools,
) -> dict[str, float]:
    wanted = metrics if names is None else [name for name in metrics if name in names]
    found = {name: metrics[name](predicted, y) for name in wanted}
    return {name: value for name, value in found.items() if value is not None}
