"""Calibration: temperatures found again, sets that hold the truth as often as promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnn.calibration import Calibration, calibrate, expected_calibration_error


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()


def drawn(n: int, seed: int, classes: int = 6, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """True labels drawn from probabilities, and what a model says that is `sharp` times surer."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, classes))
    truth = softmax(logits)
    y = (truth.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=classes - 1)
    return softmax(logits * sharp).astype(np.float32), y


@pytest.mark.parametrize("sharp", [0.4, 1.0, 3.0])
def test_the_temperature_of_a_model_that_is_too_sure_is_found(sharp):
    probabilities, y = drawn(20_000, 0, sharp=sharp)
    found = calibrate(probabilities, y)
    assert found.temperature == pytest.approx(sharp, rel=0.05)
    assert found.error_after < 0.02
    if sharp != 1.0:
        assert found.error_before > 3 * found.error_after


def test_a_temperature_changes_no_ranking_and_probabilities_sum_to_one():
    probabilities, y = drawn(500, 1, sharp=3.0)
    scaled = calibrate(probabilities, y).scaled(probabilities)
    assert np.array_equal(
        np.argsort(scaled, kind="stable"), np.argsort(probabilities, kind="stable")
    )
    assert np.allclose(scaled.sum(axis=1), 1)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("sharp", [0.3, 5.0])
def test_sets_hold_the_truth_as_often_as_promised_whatever_the_model(alpha, sharp):
    probabilities, y = drawn(9000, 2, sharp=sharp)
    found = calibrate(probabilities[:1000], y[:1000], alpha)
    sets = found.sets(probabilities[1000:])
    covered = sets[np.arange(8000), y[1000:]].mean()
    # the quantile of 500 scores is itself random: Beta with this deviation, plus the test's own
    deviation = math.sqrt(alpha * (1 - alpha) * (1 / 500 + 1 / 8000))
    assert covered >= 1 - alpha - 3 * deviation
    assert covered <= 1 - alpha + 3 * deviation + 0.05
    assert sets.any(axis=1).all()
    assert sets.sum(axis=1).mean() < 6


def test_coverage_holds_on_average_over_small_calibration_sets():
    covered = []
    for seed in range(200):
        probabilities, y = drawn(80, seed, sharp=3.0)
        sets = calibrate(probabilities[:40], y[:40], 0.2, seed).sets(probabilities[40:])
        covered.append(sets[np.arange(40), y[40:]].mean())
    assert np.mean(covered) >= 0.8 - 3 * np.std(covered) / math.sqrt(200)


@pytest.mark.parametrize(("n", "known"), [(16, False), (18, True)])
def test_with_too_few_nodes_every_label_is_in_the_set(n, known):
    probabilities, y = drawn(n, 3)
    found = calibrate(probabilities, y, 0.1)
    assert (found.threshold is not None) == known
    assert found.sets(probabilities).all() == (not known)


def test_too_few_nodes_to_halve_are_not_calibrated():
    probabilities, y = drawn(3, 4)
    assert calibrate(probabilities, y) is None


@given(seed=st.integers(0, 1000), n=st.integers(4, 60))
def test_the_most_probable_label_is_always_in_the_set(seed, n):
    probabilities, y = drawn(n, seed, sharp=8.0)
    sets = calibrate(probabilities, y, 0.4, seed).sets(probabilities)
    assert sets[np.arange(n), probabilities.argmax(axis=1)].all()


def test_probabilities_of_zero_and_one_stay_finite():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]] * 20, np.float32)
    y = np.array([0, 1] * 19 + [1, 0])
    found = calibrate(probabilities, y)
    assert np.isfinite(found.scaled(probabilities)).all()
    assert math.isfinite(found.temperature)


def test_the_calibration_error_is_that_of_the_paper():
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    y = np.array([0] * 8 + [1] * 2 + [0] * 10)
    assert expected_calibration_error(probabilities, y) == pytest.approx((0.1 + 0.4) / 2)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"alpha": 1.0}, {"method": "magic"}, {"more": 1}]
)
def test_a_calibration_that_cannot_be_is_refused(wrong):
    good = calibrate(*drawn(50, 5)).model_dump()
    assert Calibration.model_validate(good)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Calibration.model_validate(good | wrong)
