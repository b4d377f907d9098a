"""Metrics agree with their definitions, and are left out where they have none."""

from __future__ import annotations

import numpy as np
import pytest

from gnn.metrics import class_metrics, real_metrics


def test_class_metrics_of_a_case_worked_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]])
    metrics = class_metrics(probabilities, np.array([0, 1, 0, 0]))
    assert metrics["accuracy"] == metrics["micro_f1"] == 0.75
    assert metrics["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics["roc_auc"] == pytest.approx(2 / 3)


def test_roc_auc_of_many_classes_is_the_mean_over_the_classes_that_occur():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=50)
    y = rng.integers(0, 3, 50)
    pairs = [
        np.mean([
            (p[i, c] > p[j, c]) + 0.5 * (p[i, c] == p[j, c])
            for i in np.flatnonzero(y == c)
            for j in np.flatnonzero(y != c)
        ])
        for c in range(3)
    ]  # fmt: skip
    assert class_metrics(p, y)["roc_auc"] == pytest.approx(np.mean(pairs))


def test_metrics_without_a_definition_are_left_out():
    assert "roc_auc" not in class_metrics(np.array([[0.9, 0.1]]), np.array([0]))
    assert "r2" not in real_metrics(np.array([1.0]), np.array([2.0]))


def test_real_metrics_of_a_case_worked_by_hand():
    metrics = real_metrics(np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert metrics == pytest.approx({"rmse": 3**0.5, "mae": 1.0, "r2": 1 - 9 / 2})


def test_only_the_metrics_asked_for_are_computed():
    assert list(class_metrics(np.eye(2), np.array([0, 1]), {"accuracy", "loss"})) == ["accuracy"]
