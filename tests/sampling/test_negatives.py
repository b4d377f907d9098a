"""Promises of negative sampling: never an edge, the law that was asked for, batch irrelevant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import edge_lists

from sampling import Graph, NegativeSampler, NodeType
from sampling.errors import InputError

settings.register_profile("negatives", max_examples=50, deadline=None)
settings.load_profile("negatives")


def skewed_graph(**keys: object) -> Graph:
    rng = np.random.default_rng(1)
    src, dst = rng.integers(0, 50, 400), (50 * rng.random(400) ** 2).astype(int)
    return Graph.from_edges(src, dst, num_nodes=50, **keys)


def edges_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    return graph.indices, np.repeat(np.arange(graph.num_nodes), graph.in_degrees())


@given(edge_lists(max_nodes=12), st.integers(0, 2**64 - 1), st.booleans())
def test_a_negative_is_never_an_edge_nor_its_source(edges, seed, typed):
    kind = {"edge_type": np.arange(len(edges.src)) % 3} if typed and len(edges.src) else {}
    graph = edges.graph(**kind)
    linked = np.eye(edges.num_nodes, dtype=bool)
    linked[edges.src, edges.dst] = True
    src = np.flatnonzero(~linked.all(axis=1))
    sampler = NegativeSampler(graph, 5, seed=seed)
    negatives = sampler.sample(src, np.zeros_like(src)).numpy()
    assert not linked[src[:, None], negatives].any()
    for node in np.flatnonzero(linked.all(axis=1))[:1]:
        with pytest.raises(InputError, match=f"node {node} has an edge to every candidate"):
            sampler.sample([node], [0])


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("exclude_edges", [True, False])
def test_candidates_come_as_often_as_they_should(power, exclude_edges):
    graph = skewed_graph()
    sampler = NegativeSampler(graph, 40_000, power=power, exclude_edges=exclude_edges, seed=2)
    for node in (0, 7, 31):
        weights = graph.in_degrees() ** power
        if exclude_edges:
            weights[[node, *(v for v in range(50) if node in graph.in_neighbors(v))]] = 0
        counts = np.bincount(sampler.sample([node], [3]).numpy()[0], minlength=50)
        possible = weights > 0
        assert counts[~possible].sum() == 0
        expected = weights[possible] * counts.sum() / weights.sum()
        assert stats.chisquare(counts[possible], expected).pvalue > 1e-4


def test_negatives_of_an_edge_and_of_different_edges_are_independent():
    empty = Graph.from_edges([], [], num_nodes=8)
    src, dst = np.divmod(np.arange(64), 8)
    draws = torch.stack([NegativeSampler(empty, 3, exclude_edges=False).sample(src, dst, seed)
                         for seed in range(400)]).numpy()  # fmt: skip
    for a, b in [
        (draws[..., 0], draws[..., 1]),
        (draws[:, 1:, 0], draws[:, :-1, 0]),
        (draws[1:, :, 0], draws[:-1, :, 0]),
    ]:
        table = np.histogram2d(a.ravel(), b.ravel(), bins=8)[0]
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_batch_order_and_threads_change_nothing():
    graph = skewed_graph()
    src, dst = edges_of(graph)
    order = np.random.default_rng(0).permutation(len(src))
    whole = NegativeSampler(graph, 3, power=0.75, seed=5, num_threads=1).sample(src, dst)
    sampler = NegativeSampler(graph, 3, power=0.75, seed=5, num_threads=3)
    assert torch.equal(whole[order], sampler.sample(src[order], dst[order]))
    assert torch.equal(whole[:1], sampler.sample(src[:1], dst[:1]))
    assert torch.equal(whole, NegativeSampler(graph, 3, power=0.75).sample(src, dst, seed=5))
    assert not torch.equal(whole, sampler.sample(src, dst, seed=6))


def test_candidates_are_of_the_type_asked_for():
    users, items = NodeType("user", 0, 30), NodeType("item", 30, 50)
    rng = np.random.default_rng(2)
    graph = Graph.from_edges(
        rng.integers(0, 30, 200), rng.integers(30, 50, 200), node_types=(users, items)
    )
    src, dst = edges_of(graph)
    for power in (0, 0.75):
        negatives = NegativeSampler(graph, 8, node_type="item", power=power).sample(src, dst)
        assert 30 <= negatives.min() <= negatives.max() < 50


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_negatives": 0}, "num_negatives is 0"),
        ({"power": -1.0}, "power is -1.0; give a number from 0 to 2"),
        ({"power": float("nan")}, "power is nan"),
        ({"node_type": "car"}, "no node type 'car'; choose one of node"),
        ({"graph": Graph.from_edges([], [], num_nodes=0)}, "no nodes to draw"),
        ({"graph": Graph.from_edges([], [], num_nodes=4), "power": 0.75}, "has an in-edge"),
    ],
)
def test_bad_options_get_one_sentence(options, words):
    with pytest.raises(InputError, match=words):
        NegativeSampler(**({"graph": skewed_graph()} | options))


@pytest.mark.parametrize(
    ("src", "dst", "words"),
    [
        ([50], [0], "seed 50 is not a node"),
        ([0], [-1], "seed -1 is not a node"),
        ([0, 1], [0], "src has 2 entries and dst has 1"),
        ([0.5], [0], "list of integers"),
    ],
)
def test_bad_edges_get_one_sentence(src, dst, words):
    with pytest.raises(InputError, match=words):
        NegativeSampler(skewed_graph()).sample(src, dst)
