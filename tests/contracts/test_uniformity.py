"""Sampling without replacement is uniform over subsets: single neighbors and pairs, by chi-square.

Each row of a graph is one independent draw, so a million draws are one call.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sampling import kernels

DEGREES = [2, 3, 17, 64, 65, 1000, 40_000, 100_001]
FANOUTS = [1, 5, 15]
BINS = 100


def draws(degree: int, fanout: int, rows: int) -> np.ndarray:
    """(rows, fanout) places within a neighborhood of `degree`, from `rows` different keys."""
    indptr = np.array([0, degree], np.int64)
    indices = np.zeros(degree, np.int32)
    node = np.zeros(1, np.int64)
    picks = [
        kernels.sample_neighbors(indptr, indices, node, fanout, seed, 0, 1)[1]
        for seed in range(rows)
    ]
    return np.stack(picks)


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    return float(stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("fanout", FANOUTS)
def test_single_neighbors_and_pairs_are_uniform(degree, fanout):
    if fanout >= degree:
        assert (draws(degree, fanout, 3) == np.arange(degree)).all()
        return
    picks = draws(degree, fanout, 20_000)
    assert all(len(set(row)) == fanout for row in picks[:500].tolist())
    bins = min(degree, BINS)
    place = picks * bins // degree
    widths = np.bincount(np.arange(degree) * bins // degree, minlength=bins)
    singles = np.bincount(place.ravel(), minlength=bins)
    assert p_value(singles, widths.astype(float)) > 1e-4
    if fanout > 1:
        _assert_pairs_uniform(picks, degree)


def _assert_pairs_uniform(picks: np.ndarray, degree: int) -> None:
    """Every unordered pair of neighbors is together in a sample equally often."""
    bins = min(degree, 12)
    width = np.bincount(np.arange(degree) * bins // degree, minlength=bins).astype(float)
    place = picks * bins // degree
    low, high = np.triu_indices(bins)
    expected = np.where(low == high, width[low] * (width[low] - 1) / 2, width[low] * width[high])
    a, b = np.triu_indices(picks.shape[1], 1)
    first, second = np.minimum(place[:, a], place[:, b]), np.maximum(place[:, a], place[:, b])
    table = np.zeros((bins, bins))
    np.add.at(table, (first.ravel(), second.ravel()), 1)
    counts, possible = table[low, high], expected > 0
    assert counts[~possible].sum() == 0
    # Pairs of one sample hang together, so the statistic is compared with a simulated one.
    statistic = _chi_square(counts[possible], expected[possible])
    rng = np.random.default_rng(degree)
    null = []
    for _ in range(200):
        rows = _choice_rows(rng, degree, picks.shape[1], 400) * bins // degree
        f, s = np.minimum(rows[:, a], rows[:, b]), np.maximum(rows[:, a], rows[:, b])
        table[:] = 0
        np.add.at(table, (f.ravel(), s.ravel()), 1)
        null.append(_chi_square(table[low, high][possible], expected[possible]))
    assert statistic < np.mean(null) + 6 * np.std(null)


def _chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    expected = expected * counts.sum() / expected.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def _choice_rows(rng: np.random.Generator, degree: int, fanout: int, rows: int) -> np.ndarray:
    if degree <= 2000:
        return np.argsort(rng.random((rows, degree)), axis=1)[:, :fanout]
    picks = rng.integers(0, degree, (rows, fanout))
    while (bad := [len(set(r)) < fanout for r in picks.tolist()]) and any(bad):
        picks[bad] = rng.integers(0, degree, (sum(bad), fanout))
    return picks


@pytest.mark.parametrize("degree", [3, 17, 65])
def test_nodes_and_layers_draw_independently(degree):
    rows = 20_000
    indptr = np.arange(rows + 1, dtype=np.int64) * degree
    indices = np.zeros(rows * degree, np.int32)
    picks = [
        kernels.sample_neighbors(indptr, indices, np.arange(rows), 1, 5, layer, 2)[1] % degree
        for layer in (0, 1)
    ]
    table = np.histogram2d(*picks, bins=degree)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4
    neighbors = np.histogram2d(picks[0][1:], picks[0][:-1], bins=degree)[0]
    assert stats.chi2_contingency(neighbors).pvalue > 1e-4


def test_the_test_sees_the_bias_that_peers_have():
    """A 16-bit draw reduced by a remainder favors low places; the chi-square must notice."""
    picks = np.random.default_rng(0).integers(0, 2**16, 20_000) % 40_000
    counts = np.bincount(picks * BINS // 40_000, minlength=BINS)
    assert p_value(counts, np.full(BINS, 400.0)) < 1e-12
