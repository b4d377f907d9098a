"""Coarsening: weights are kept or disappear into nodes, and threads change nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from sampling import Graph, coarsen


@settings(max_examples=50, deadline=None)
@given(edge_lists(), st.booleans(), st.integers(0, 1000))
def test_coarse_edges_are_the_edges_between_clusters_added_up(edges, weighted, seed):
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 9, len(edges.src)).astype(np.float32) if weighted else None
    graph = edges.graph(edge_weight=weight)
    made = coarsen(graph, seed=seed, num_threads=1)
    expected: Counter[tuple[int, int]] = Counter()
    for i, (s, d) in enumerate(zip(edges.src, edges.dst, strict=True)):
        a, b = int(made.cluster[s]), int(made.cluster[d])
        if a != b:
            expected[a, b] += 1.0 if weight is None else float(weight[i])
    small = made.graph
    dst = np.repeat(np.arange(small.num_nodes), small.in_degrees())
    pairs = zip(small.indices.tolist(), dst.tolist(), strict=True)
    got = dict(zip(pairs, small.edge_weight.tolist(), strict=True))
    assert len(got) == small.num_edges
    assert got == dict(expected)
    assert made.sizes.tolist() == np.bincount(made.cluster).tolist()


def test_threads_change_nothing_and_seeds_decide_between_equals():
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(rng.integers(0, 3000, 20000), rng.integers(0, 3000, 20000))
    one, four = (coarsen(graph, seed=5, num_threads=t) for t in (1, 4))
    assert np.array_equal(one.cluster, four.cluster)
    assert np.array_equal(one.graph.edge_weight, four.graph.edge_weight)
    assert not np.array_equal(one.cluster, coarsen(graph, seed=6).cluster)
    assert one.graph.num_nodes < 0.6 * graph.num_nodes


@settings(max_examples=30, deadline=None)
@given(edge_lists(), st.integers(0, 1000))
def test_edges_both_ways_are_matched_as_one_way_edges_are(edges, seed):
    ends = zip(edges.src.tolist(), edges.dst.tolist(), strict=True)
    pairs = {(min(s, d), max(s, d)) for s, d in ends if s != d}
    low, high = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    weight = np.random.default_rng(seed).integers(1, 4, len(low)).astype(np.float32)
    n = edges.num_nodes
    one = Graph.from_edges(low, high, num_nodes=n, edge_weight=weight)
    both = np.r_[low, high], np.r_[high, low]
    two = Graph.from_edges(*both, num_nodes=n, edge_weight=np.tile(weight, 2))
    assert np.array_equal(coarsen(one, seed=seed).cluster, coarsen(two, seed=seed).cluster)


def test_a_graph_without_edges_or_nodes_stays_as_it_is():
    for n in (0, 3):
        made = coarsen(Graph.from_edges([], [], num_nodes=n))
        assert made.cluster.tolist() == list(range(n))
        assert made.graph.num_nodes == n


def test_a_long_path_of_rising_weights_is_matched_in_linear_time():
    n = 200_000
    low = np.arange(n - 1)
    weight = np.tile(np.arange(1, n, dtype=np.float32), 2)
    graph = Graph.from_edges(np.r_[low, low + 1], np.r_[low + 1, low], edge_weight=weight)
    made = coarsen(graph, num_threads=1)
    assert made.graph.num_nodes == n // 2
