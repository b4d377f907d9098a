"""LABOR: fewer sources than neighbor sampling, the promised in-degree, unbiased estimates."""

from __future__ import annotations

import numpy as np

from sampling import Graph, LaborSampler, NeighborSampler


def clustered(weights: bool = False) -> Graph:
    """Forty communities of fifty; nodes have most in-neighbors in their own."""
    rng = np.random.default_rng(0)
    dst = rng.integers(0, 2000, 60_000)
    inside = rng.random(60_000) < 0.9
    src = np.where(
        inside, dst // 50 * 50 + rng.integers(0, 50, 60_000), rng.integers(0, 2000, 60_000)
    )
    return Graph.from_edges(
        src, dst, num_nodes=2000, edge_weight=rng.random(60_000) if weights else None
    )


def estimates(graph: Graph, x: np.ndarray, fanout: int, rounds: int) -> np.ndarray:
    """(rounds, num_nodes) estimated sums over the neighborhood of every node."""
    sampler, rows = LaborSampler(graph, [fanout], num_threads=1), []
    for seed in range(rounds):
        [block] = sampler.sample(np.arange(graph.num_nodes), seed)
        owner = np.repeat(np.arange(block.num_dst), block.in_degrees().numpy())
        messages = block.edge_weight.numpy() * x[block.src_nodes[block.indices].numpy()]
        rows.append(np.bincount(owner, messages, minlength=block.num_dst))
    return np.stack(rows)


def test_weighted_by_their_factors_the_sums_are_unbiased():
    for weights in (False, True):
        graph = clustered(weights)
        x = np.random.default_rng(1).normal(size=2000) + 1
        owner = np.repeat(np.arange(2000), graph.in_degrees())
        factor = graph.edge_weight if weights else 1.0
        exact = np.bincount(owner, x[graph.indices] * factor, minlength=2000)
        got = estimates(graph, x, 5, 150)
        error = (got.mean(0) - exact) / (got.std(0) / 150**0.5)
        assert (error**2).mean() < 1.3
        assert np.abs(error).max() < 6


def test_the_number_kept_is_the_fanout_in_expectation():
    graph, sampler = clustered(), LaborSampler(clustered(), [6], num_threads=1)
    counts = np.stack(
        [sampler.sample(np.arange(2000), seed)[0].in_degrees().numpy() for seed in range(300)]
    )
    expected = np.minimum(graph.in_degrees(), 6)
    assert (np.abs(counts.mean(0) - expected) < 6 * np.sqrt(6 / 300)).all()
    share = 6 / graph.in_degrees()
    # Parallel edges are kept or left together, which only adds to the variance.
    assert counts.var(0).mean() > 0.9 * (6 * (1 - share)).mean()


def test_there_are_fewer_sources_than_with_neighbor_sampling():
    graph, seeds = clustered(), np.arange(0, 2000, 5)
    labor, neighbor = LaborSampler(graph, [5]), NeighborSampler(graph, [5])
    ours = [labor.sample(seeds, seed)[0] for seed in range(5)]
    theirs = [neighbor.sample(seeds, seed)[0] for seed in range(5)]
    assert max(b.num_src for b in ours) < 0.75 * min(b.num_src for b in theirs)
    assert sum(b.num_edges for b in ours) > 0.9 * sum(b.num_edges for b in theirs)


def test_rows_agree_on_whom_they_keep():
    """All rows of one degree and fanout keep the same of the neighbors they share."""
    rows, degree = 30, 200
    graph = Graph(
        np.r_[np.arange(rows + 1) * degree, np.full(degree, rows * degree)],
        np.tile(np.arange(rows, rows + degree, dtype=np.int32), rows),
    )
    [block] = LaborSampler(graph, [10], seed=1).sample(np.arange(rows))
    assert block.num_src - rows == block.num_edges / rows
    assert (block.edge_weight == 20).all()


def test_short_rows_are_whole_and_have_factor_one():
    graph = clustered()
    [block] = LaborSampler(graph, [10_000]).sample(np.arange(2000))
    assert block.num_edges == graph.num_edges
    assert (block.edge_weight == 1).all()
    [nothing] = LaborSampler(graph, [0]).sample(np.arange(2000))
    assert nothing.num_edges == 0
