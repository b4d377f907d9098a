"""Promises of importance neighborhoods: the most visited, weighted, whatever the batch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from strategies import edge_lists

from gnn import ModelConfig, build_model
from sampling import Block, Dataset, Graph, MiniBatchLoader, PinSAGESampler
from sampling.errors import InputError

settings.register_profile("importance", max_examples=50, deadline=None)
settings.load_profile("importance")


def two_cliques() -> Graph:
    """Nodes 0 … 9 and 10 … 19, all connected within, and one edge both ways between 0 and 10."""
    low = [(a, b) for a in range(10) for b in range(10) if a != b]
    edges = low + [(a + 10, b + 10) for a, b in low] + [(0, 10), (10, 0)]
    return Graph.from_edges(*np.array(edges).T, num_nodes=20)


def rows(block: Block) -> dict[int, dict[int, float]]:
    """Weight of every neighbor of every destination."""
    ends = block.indptr.tolist()
    sources, weights = block.src_nodes[block.indices].tolist(), block.edge_weight.tolist()
    return {
        node: dict(zip(sources[a:b], weights[a:b], strict=True))
        for node, a, b in zip(block.dst_nodes.tolist(), ends[:-1], ends[1:], strict=True)
    }


@given(edge_lists())
def test_blocks_are_chained_and_their_weights_sum_to_one(edges):
    sampler = PinSAGESampler(edges.graph(), 2, 3, num_walks=10, walk_length=3)
    seeds = np.arange(edges.num_nodes)
    blocks = sampler.sample(seeds)
    assert torch.equal(blocks[-1].dst_nodes, torch.arange(edges.num_nodes))
    for lower, upper in pairwise(blocks):
        assert torch.equal(lower.dst_nodes, upper.src_nodes)
    for block in blocks:
        for node, neighbors in rows(block).items():
            assert len(neighbors) <= 3
            assert node not in neighbors
            assert list(neighbors.values()) == sorted(neighbors.values(), reverse=True)
            assert not neighbors or abs(sum(neighbors.values()) - 1) < 1e-6


def test_visits_are_counted_in_proportion_to_the_walk():
    """From the middle of a star with restarts, each leaf is visited equally often."""
    spokes = np.arange(1, 6)
    star = Graph.from_edges(
        np.concatenate([spokes, np.zeros(5, int)]), np.concatenate([np.zeros(5, int), spokes])
    )
    sampler = PinSAGESampler(star, 1, 5, num_walks=20_000, walk_length=2, seed=3)
    weights = np.array(list(rows(sampler.sample([0])[0])[0].values()))
    np.testing.assert_allclose(weights, 0.2, atol=0.006)
    # A leaf's walk is at the middle after one step in 1/2, after two in 1/4, at another leaf
    # (of five, itself included) after two in 1/4.
    [leaf] = rows(PinSAGESampler(star, 1, 5, 20_000, 2).sample([1])[0]).values()
    expected = {0: 0.75, **dict.fromkeys(range(2, 6), 0.05)}
    for node, share in expected.items():
        assert leaf[node] == pytest.approx(share / 0.95, abs=0.01)


def test_the_neighborhood_stays_in_a_clique():
    block = PinSAGESampler(two_cliques(), 1, 9, num_walks=300, walk_length=3).sample([5, 15])[0]
    assert set(rows(block)[5]) == set(range(10)) - {5}
    assert set(rows(block)[15]) == set(range(10, 20)) - {15}


def test_alone_and_in_a_batch_under_any_threads_the_neighbors_are_the_same():
    graph = two_cliques()
    sampler = PinSAGESampler(graph, 2, 4, num_walks=20, walk_length=3, seed=7, num_threads=1)
    together = sampler.sample(np.arange(20))
    threaded = PinSAGESampler(graph, 2, 4, 20, 3, seed=7, num_threads=3).sample(np.arange(20))
    for one, other in zip(together, threaded, strict=True):
        assert torch.equal(one.src_nodes, other.src_nodes)
        assert torch.equal(one.edge_weight, other.edge_weight)
    for node in range(20):
        for alone, batch in zip(sampler.sample([node]), together, strict=True):
            assert rows(alone)[node] == rows(batch)[node]
    assert rows(together[0]) != rows(together[1])
    assert rows(together[1]) != rows(sampler.sample(np.arange(20), seed=8)[1])


def test_a_loader_and_a_model_take_it_like_any_sampler():
    graph = two_cliques()
    data = Dataset.in_memory(graph, features=np.eye(20, dtype=np.float32), labels=np.arange(20) % 2)
    model = build_model(ModelConfig(conv="sage", d_in=20, d_hidden=4, d_out=2, num_layers=2))
    sampler = PinSAGESampler(graph, 2, 3, num_walks=10)
    batches = list(MiniBatchLoader(data, sampler, np.arange(20), batch_size=8))
    assert [model(batch.blocks, batch.x).shape[0] for batch in batches] == [8, 8, 4]
    first = MiniBatchLoader(data, sampler, np.arange(20), batch_size=8, resample=False)
    for batch, block in zip(first, (sampler.sample(b.seeds) for b in batches), strict=True):
        assert torch.equal(batch.blocks[0].edge_weight, block[0].edge_weight)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_layers": 0}, "num_layers is 0"),
        ({"num_neighbors": 0}, "num_neighbors is 0"),
        ({"num_walks": -1}, "num_walks is -1"),
        ({"walk_length": 0}, "walk_length is 0"),
        ({"restart": 2.0}, "give a probability"),
    ],
)
def test_bad_requests_get_one_sentence(options, words):
    with pytest.raises(InputError, match=words):
        PinSAGESampler(two_cliques(), **({"num_layers": 1, "num_neighbors": 2} | options))
    with pytest.raises(InputError, match="seed 20 is not a node"):
        PinSAGESampler(two_cliques(), 1, 2).sample([20])
