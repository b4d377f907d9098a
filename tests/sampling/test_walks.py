"""Promises of random walks: edges of the graph, the right law, no dependence on the call."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import edge_lists

from sampling import Graph, random_walks
from sampling.errors import InputError

settings.register_profile("walks", max_examples=50, deadline=None)
settings.load_profile("walks")


def undirected(num_nodes: int, num_edges: int, seed: int = 0, **keys: np.ndarray) -> Graph:
    """A simple random graph, every edge both ways."""
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(num_nodes, 1)
    kept = rng.permutation(len(a))[:num_edges]
    src, dst = np.concatenate([a[kept], b[kept]]), np.concatenate([b[kept], a[kept]])
    return Graph.from_edges(src, dst, num_nodes=num_nodes, **keys)


@given(edge_lists(), st.integers(0, 2**64 - 1), st.sampled_from([(1, 1), (0.5, 3), (4, 0.1)]))
def test_a_walk_goes_to_in_neighbors_until_it_can_not(edges, seed, p_q):
    graph = edges.graph()
    walks = random_walks(graph, np.arange(graph.num_nodes), 6, p=p_q[0], q=p_q[1], seed=seed)
    for walk in walks.tolist():
        for at, following in pairwise(walk):
            neighbors = graph.in_neighbors(at).tolist() if at >= 0 else []
            assert following in neighbors if neighbors else following == -1


@pytest.mark.parametrize("options", [{}, {"restart": 0.3}, {"p": 0.25, "q": 4.0}])
def test_batch_order_and_threads_change_nothing(options):
    graph = undirected(3000, 20_000)
    starts = np.random.default_rng(1).permutation(3000)
    whole = random_walks(graph, starts, 8, seed=3, num_threads=1, **options)
    assert torch.equal(whole, random_walks(graph, starts, 8, seed=3, num_threads=3, **options))
    parts = [random_walks(graph, part, 8, seed=3, **options) for part in np.split(starts, 10)]
    assert torch.equal(whole, torch.cat(parts))
    backwards = random_walks(graph, starts[::-1].copy(), 8, seed=3, **options)
    assert torch.equal(whole, backwards.flip(0))
    assert not torch.equal(whole, random_walks(graph, starts, 8, seed=4, **options))


def test_a_longer_walk_begins_with_the_shorter_one():
    graph = undirected(300, 2000)
    long = random_walks(graph, np.arange(300), 12, seed=1)
    assert torch.equal(long[:, :6], random_walks(graph, np.arange(300), 5, seed=1))


def test_repeated_starts_walk_differently_and_keep_their_numbers():
    graph = undirected(300, 3000)
    walks = random_walks(graph, np.repeat([5, 9], 50), 6, seed=1)
    assert len(torch.unique(walks[:50], dim=0)) > 45
    mixed = random_walks(graph, np.tile([9, 5], 50), 6, seed=1)
    assert torch.equal(mixed[1::2], walks[:50])
    assert torch.equal(mixed[0::2], walks[50:])


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """p-value of counts against probabilities that sum to one."""
    assert counts[expected == 0].sum() == 0
    possible = expected > 0
    return float(stats.chisquare(counts[possible], counts.sum() * expected[possible]).pvalue)


def test_every_in_neighbor_is_the_next_equally_often():
    graph = undirected(12, 40)
    walks = random_walks(graph, np.repeat(np.arange(12), 20_000), 5, seed=2).numpy()
    for step in range(5):
        pairs = np.zeros((12, 12))
        np.add.at(pairs, (walks[:, step], walks[:, step + 1]), 1)
        for node in range(12):
            expected = np.bincount(graph.in_neighbors(node), minlength=12) / len(
                graph.in_neighbors(node)
            )
            assert chi_square(pairs[node], expected) > 1e-5


def test_long_walks_visit_nodes_in_proportion_to_their_degree():
    graph = undirected(20, 90)
    walks = random_walks(graph, np.zeros(40_000, np.int64), 40, seed=5).numpy()
    visits = np.bincount(walks[:, -1], minlength=20)
    assert chi_square(visits, graph.in_degrees() / graph.num_edges) > 1e-4


def test_steps_and_walks_are_independent():
    star = Graph.from_edges(np.tile(np.arange(8), 8), np.repeat(np.arange(8), 8), num_nodes=8)
    walks = random_walks(star, np.zeros(30_000, np.int64), 4, seed=6).numpy()
    for a, b in [(walks[:, 1], walks[:, 2]), (walks[:, 1], walks[:, 3]),
                 (walks[1:, 1], walks[:-1, 1])]:  # fmt: skip
        assert stats.chi2_contingency(np.histogram2d(a, b, bins=8)[0]).pvalue > 1e-4


@pytest.mark.parametrize("restart", [0.1, 0.5, 0.85])
def test_walks_restart_as_often_as_asked(restart):
    size = 1000
    ring = Graph.from_edges(np.roll(np.arange(size), -1), np.arange(size), num_nodes=size)
    walks = random_walks(ring, np.arange(size).repeat(40), 10, restart=restart, seed=8).numpy()
    back = (walks[:, 1:] == walks[:, :1]).sum()
    assert stats.binomtest(int(back), walks[:, 1:].size, restart).pvalue > 1e-4
    forward = walks[:, 1:] == (walks[:, :-1] + 1) % size
    assert (forward | (walks[:, 1:] == walks[:, :1])).all()


def test_a_dead_end_is_left_only_by_a_restart():
    graph = Graph.from_edges([1], [0], num_nodes=2)
    assert random_walks(graph, [0, 1], 3).tolist() == [[0, 1, -1, -1], [1, -1, -1, -1]]
    assert random_walks(graph, [0], 3, restart=1.0).tolist() == [[0, 0, 0, 0]]


def node2vec_law(graph: Graph, before: int, at: int, p: float, q: float) -> np.ndarray:
    """Exact transition probabilities, (num_nodes,), as the paper writes them."""
    weight = np.zeros(graph.num_nodes)
    for node in graph.in_neighbors(at).tolist():
        near = node in graph.in_neighbors(before).tolist()
        weight[node] += 1 / p if node == before else 1.0 if near else 1 / q
    return weight / weight.sum()


@pytest.mark.parametrize(("p", "q"), [(0.25, 4), (4, 0.25), (1, 0.5), (2, 1), (1e-3, 1), (50, 60)])
@pytest.mark.parametrize("typed", [False, True])
def test_node2vec_follows_its_transition_probabilities(p, q, typed):
    graph = undirected(9, 20, seed=4)
    if typed:  # rows sorted by type first, so no longer by source
        dst = np.repeat(np.arange(9), graph.in_degrees())
        kind = (graph.indices * 7 + dst * 5) % 3
        graph = Graph.from_edges(graph.indices, dst, num_nodes=9, edge_type=kind)
    starts = np.repeat(np.arange(9), 12_000)
    walks = random_walks(graph, starts, 3, p=p, q=q, seed=11).numpy()
    triples = np.zeros((9, 9, 9))
    np.add.at(triples, (walks[:, 1], walks[:, 2], walks[:, 3]), 1)
    tested = 0
    for before in range(9):
        for at in graph.in_neighbors(before).tolist():
            counts = triples[before, at]
            law = node2vec_law(graph, before, at, p, q)
            if counts.sum() * law[law > 0].min() > 5:
                tested += 1
                assert chi_square(counts, law) > 1e-5
    assert tested > 10 or p == 1e-3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"starts": [12]}, "seed 12 is not a node"),
        ({"starts": [0.5]}, "list of integers"),
        ({"length": -1}, "length is -1"),
        ({"restart": 1.5}, "restart is 1.5; give a probability"),
        ({"restart": float("nan")}, "give a probability"),
        ({"p": 0.0}, "p is 0.0; give a positive number"),
        ({"q": float("inf")}, "q is inf"),
        ({"restart": 0.5, "p": 2.0}, "do not restart"),
    ],
)
def test_bad_requests_get_one_sentence(options, words):
    wanted = {"starts": [0], "length": 3} | options
    with pytest.raises(InputError, match=words):
        random_walks(undirected(12, 20), **wanted)
