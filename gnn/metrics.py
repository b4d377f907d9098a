"""Metrics of predictions, as fractions under scikit-learn's names.

A metric that is not defined for the data (ROC-AUC with one class, R² of one value) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASS_METRICS", "LOWER_IS_BETTER", "REAL_METRICS", "class_metrics", "real_metrics"]

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]

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
REAL_METRICS: dict[str, Callable[..., float | None]] = {"rmse": _rmse, "mae": _mae, "r2": _r2}


def _defined(
    metrics: dict[str, Callable[..., float | None]],
    names: Collection[str] | None,
    predicted: Floats,
    y: NDArray[np.int64] | Floats,
) -> dict[str, float]:
    wanted = metrics if names is None else [name for name in metrics if name in names]
    found = {name: metrics[name](predicted, y) for name in wanted}
    return {name: value for name, value in found.items() if value is not None}
