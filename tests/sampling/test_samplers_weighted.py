"""Weighted sampling has the law of successive draws; with replacement, that of single draws."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from sampling import Graph, ReplacementNeighborSampler, WeightedNeighborSampler
from sampling.errors import InputError

ROWS = 20_000


def copies(weights: np.ndarray, rows: int = ROWS) -> Graph:
    """`rows` nodes with the same weighted in-neighbors: one batch is as many independent draws."""
    degree = len(weights)
    indptr = np.minimum(np.arange(rows + degree + 1), rows) * degree
    indices = np.tile(np.arange(rows, rows + degree, dtype=np.int32), rows)
    return Graph(indptr, indices, edge_weight=np.tile(weights.astype(np.float32), rows))


def picks(sampler: WeightedNeighborSampler | ReplacementNeighborSampler, degree: int) -> np.ndarray:
    """(ROWS, fanout) positions that were drawn from each copy."""
    [block] = sampler.sample(np.arange(ROWS))
    return block.edge_ids.numpy().reshape(ROWS, -1) % degree


def probability_of_set(chosen: tuple[int, ...], weights: np.ndarray) -> float:
    """Of drawing these, one after another, in any order."""
    total = 0.0
    for order in permutations(chosen):
        left, chance = weights.sum(), 1.0
        for x in order:
            chance *= weights[x] / left
            left -= weights[x]
        total += chance
    return total


def successive(rng: np.random.Generator, weights: np.ndarray, fanout: int) -> np.ndarray:
    """The first arrivals of an exponential race by NumPy's own generator."""
    times = rng.exponential(size=(ROWS, len(weights))) / weights
    return np.argpartition(times, fanout, axis=1)[:, :fanout]


def test_every_set_is_as_likely_as_by_successive_draws():
    weights = np.array([1.0, 2.0, 3.0, 6.0, 0.5])
    drawn = np.sort(picks(WeightedNeighborSampler(copies(weights), [3], seed=1), 5), axis=1)
    sets, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(sets) == 10
    expected = np.array([probability_of_set(tuple(s), weights) for s in sets]) * ROWS
    assert stats.chisquare(counts, expected).pvalue > 1e-4


@pytest.mark.parametrize(("degree", "fanout"), [(64, 5), (65, 5), (200, 15), (200, 60), (40, 39)])
@pytest.mark.parametrize("shape", ["even", "spread", "one heavy"])
def test_edges_and_pairs_are_as_frequent_as_in_a_race(degree, fanout, shape):
    """Every branch: races, alias draws, and those that run out of patience."""
    rng = np.random.default_rng(degree)
    weights = {"even": np.ones(degree), "spread": rng.random(degree) ** 3 + 1e-3,
               "one heavy": np.r_[50.0 * degree, rng.random(degree - 1) + 0.1]}[shape]  # fmt: skip
    weights = weights.astype(np.float32).astype(np.float64)
    drawn = picks(WeightedNeighborSampler(copies(weights), [fanout], seed=5), degree)
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    twin = successive(rng, weights, fanout)
    for ours, theirs in (
        (np.bincount(drawn.ravel(), minlength=degree), np.bincount(twin.ravel(), minlength=degree)),
        (togetherness(drawn), togetherness(twin)),
    ):
        spread = np.sqrt(np.maximum(ours + theirs, 1.0))
        deviations = np.abs(ours - theirs) / spread
        assert deviations.max() < 5.5
        assert np.sqrt((deviations**2).mean()) < 1.5


def togetherness(drawn: np.ndarray) -> np.ndarray:
    """How often position a and position b are drawn together, a and b among the first eight."""
    holds = np.stack([(drawn == a).any(axis=1) for a in range(8)], axis=1).astype(float)
    return (holds.T @ holds)[np.triu_indices(8, 1)]


@pytest.mark.parametrize("degree", [3, 70, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_draws_with_replacement_are_independent_and_of_their_law(degree, weighted):
    rng = np.random.default_rng(degree)
    weights = (rng.random(degree) + 0.05).astype(np.float32)
    drawn = picks(ReplacementNeighborSampler(copies(weights), [3], weighted, seed=2), degree)
    share = weights.astype(float) if weighted else np.ones(degree)
    expected = share / share.sum() * drawn.size
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=degree), expected).pvalue > 1e-4
    halves = drawn[:, :2] >= degree / 2
    assert stats.chi2_contingency(np.histogram2d(*halves.T, bins=2)[0]).pvalue > 1e-4
    same = (drawn[:, 0] == drawn[:, 1]).mean()
    chance = ((share / share.sum()) ** 2).sum()
    assert abs(same - chance) < 5 * np.sqrt(chance / ROWS)


@pytest.mark.parametrize("degree", [6, 300])
def test_edges_without_weight_are_never_drawn(degree):
    weights = np.zeros(degree)
    weights[[1, 4]] = 2.0
    graph = copies(weights, 50)
    for fanout in (-1, 5, 200):
        [block] = WeightedNeighborSampler(graph, [fanout]).sample(np.arange(50))
        assert (np.sort(block.edge_ids.numpy().reshape(50, 2) % degree) == [1, 4]).all()
        assert (block.edge_weight == 2).all()
    [block] = ReplacementNeighborSampler(graph, [40], weighted=True).sample(np.arange(50))
    assert set((block.edge_ids % degree).tolist()) == {1, 4}
    nothing = copies(np.zeros(degree), 4)
    assert WeightedNeighborSampler(nothing, [3]).sample([0, 1])[0].num_edges == 0
    sampler = ReplacementNeighborSampler(nothing, [3], weighted=True)
    assert sampler.sample([0, 1])[0].num_edges == 0


def test_the_scale_of_weights_changes_nothing():
    weights = np.random.default_rng(0).random(300).astype(np.float32)
    drawn = [
        WeightedNeighborSampler(copies(weights * scale, 20), [9], seed=3).sample(np.arange(20))
        for scale in (1.0, 2.0**-90, 2.0**100)
    ]
    for [block] in drawn[1:]:
        assert (block.edge_ids == drawn[0][0].edge_ids).all()


def test_every_draw_with_replacement_is_an_edge_of_its_own():
    graph = Graph.from_edges([1, 2, 1], [0, 0, 3], num_nodes=4)
    [block] = ReplacementNeighborSampler(graph, [6], seed=1).sample([0, 2, 3])
    assert block.in_degrees().tolist() == [6, 0, 6]
    assert set(block.edge_ids[:6].tolist()) == {0, 1}
    assert block.src_nodes[block.indices[6:]].tolist() == [1] * 6


@pytest.mark.parametrize(
    ("weights", "words"),
    [(None, "no edge weights"), ([1, -2], "the weight of edge 1 is -2.0"), ([1, np.nan], "is nan")],
)
def test_a_graph_that_cannot_be_sampled_by_weight_is_refused(weights, words):
    array = None if weights is None else np.array(weights, np.float32)
    graph = Graph(np.array([0, 2, 2]), np.array([0, 1], np.int32), edge_weight=array)
    with pytest.raises(InputError, match=words):
        WeightedNeighborSampler(graph, [1])
    with pytest.raises(InputError, match=words):
        ReplacementNeighborSampler(graph, [1], weighted=True)
    ReplacementNeighborSampler(graph, [1])
