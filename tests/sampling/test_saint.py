"""Promises of GraphSAINT batches: their law, and that the normalizations undo it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from gnn import ModelConfig, build_model
from sampling import Graph, SAINTSampler
from sampling.errors import InputError

METHODS = ["node", "edge", "walk"]


def symmetric_graph() -> Graph:
    """A hub, a ring and some chords, every edge both ways."""
    rng = np.random.default_rng(0)
    a = np.concatenate([np.zeros(15, int), np.arange(1, 30), rng.integers(1, 30, 25)])
    b = np.concatenate([np.arange(1, 30, 2), np.arange(1, 30) % 29 + 1, rng.integers(1, 30, 25)])
    pairs = np.unique(np.sort(np.stack([a, b]), axis=0)[:, a != b], axis=1)
    return Graph.from_edges(np.concatenate([pairs[0], pairs[1]]),
                            np.concatenate([pairs[1], pairs[0]]), num_nodes=30)  # fmt: skip


@pytest.fixture(scope="module")
def samplers() -> dict[str, SAINTSampler]:
    graph = symmetric_graph()
    return {m: SAINTSampler(graph, 2, m, budget=6, coverage=1500, seed=3) for m in METHODS}


def node_probabilities(graph: Graph) -> np.ndarray:
    """P(u) of the node method, from the dense normalized adjacency."""
    dense = np.zeros((30, 30))
    dst = np.repeat(np.arange(30), graph.in_degrees())
    dense[dst, graph.indices] = 1 / graph.in_degrees()[dst]
    squares = (dense**2).sum(axis=0)
    return squares / squares.sum()


def test_the_node_method_holds_nodes_and_edges_as_often_as_it_should(samplers):
    sampler = samplers["node"]
    graph, p = sampler.graph, node_probabilities(sampler.graph)
    expected = 1 - (1 - p) ** 6
    assert_binomial(sampler.node_counts, sampler.num_counted, expected)
    u, v = graph.indices, np.repeat(np.arange(30), graph.in_degrees())
    both = 1 - (1 - p[u]) ** 6 - (1 - p[v]) ** 6 + (1 - p[u] - p[v]) ** 6
    assert_binomial(sampler.edge_counts, sampler.num_counted, both)


def test_the_edge_method_holds_nodes_as_often_as_it_should(samplers):
    sampler = samplers["edge"]
    graph, degrees = sampler.graph, sampler.graph.in_degrees()
    u, v = graph.indices, np.repeat(np.arange(30), degrees)
    p = 1 / degrees[u] + 1 / degrees[v]
    ends = np.bincount(u, p, minlength=30) + np.bincount(v, p, minlength=30)
    expected = 1 - (1 - ends / p.sum()) ** 6
    assert_binomial(sampler.node_counts, sampler.num_counted, expected)


def test_the_walk_method_holds_nodes_as_often_as_it_should(samplers):
    """No node of one walk of two steps is missed by six walks, by the transition matrix."""
    sampler = samplers["walk"]
    graph, degrees = sampler.graph, sampler.graph.in_degrees()
    step = np.zeros((30, 30))
    step[np.repeat(np.arange(30), degrees), graph.indices] = 1
    step /= degrees[:, None]
    missed = np.empty(30)
    for node in range(30):
        avoid = step.copy()
        avoid[:, node] = 0
        start = np.full(30, 1 / 30)
        start[node] = 0
        missed[node] = (start @ avoid @ avoid).sum()
    assert_binomial(sampler.node_counts, sampler.num_counted, 1 - missed**6)


def assert_binomial(counts: np.ndarray, total: int, probability: np.ndarray) -> None:
    tests = [stats.binomtest(int(c), total, float(p)).pvalue
             for c, p in zip(counts, probability, strict=True)]  # fmt: skip
    assert min(tests) > 1e-3 / len(tests)


@pytest.mark.parametrize("method", METHODS)
def test_weights_undo_the_sampling(samplers, method):
    """Averaged over batches, losses give the mean loss, messages the full neighborhood's mean."""
    sampler, graph = samplers[method], samplers[method].graph
    rng = np.random.default_rng(1)
    loss, x = rng.random(30), rng.random(30)
    batch_losses, received, times = [], np.zeros(30), np.zeros(30)
    for number in range(6000):
        batch = sampler.sample(number)
        nodes, block = batch.nodes.numpy(), batch.blocks[0]
        batch_losses.append((batch.node_weight.numpy() * loss[nodes]).sum())
        dst = np.repeat(nodes, block.in_degrees().numpy())
        np.add.at(received, dst, block.edge_weight.numpy() * x[nodes[block.indices.numpy()]])
        times[nodes] += 1
    error = np.std(batch_losses) / np.sqrt(len(batch_losses))
    assert abs(np.mean(batch_losses) - loss.mean()) < 5 * error + 0.01 * loss.mean()
    full = np.array([x[graph.in_neighbors(v)].mean() for v in range(30)])
    frequent = times > 1000
    assert frequent.any()
    np.testing.assert_allclose((received / times)[frequent], full[frequent], rtol=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_depends_on_its_number_and_the_seed_alone(method):
    graph = symmetric_graph()
    one, other = (SAINTSampler(graph, 2, method, 6, coverage=5, seed=1) for _ in range(2))
    first = [one.sample(number) for number in range(4)]
    again = [other.sample(number) for number in (3, 2, 1, 0)][::-1]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.nodes, b.nodes)
        assert torch.equal(a.blocks[0].edge_weight, b.blocks[0].edge_weight)
        assert torch.equal(a.node_weight, b.node_weight)
    assert len({tuple(batch.nodes.tolist()) for batch in first}) > 1
    changed = SAINTSampler(graph, 2, method, 6, coverage=5, seed=2)
    assert any(changed.sample(i).nodes.tolist() != first[i].nodes.tolist() for i in range(4))


def test_a_model_runs_on_a_batch_and_own_weights_are_kept():
    graph = symmetric_graph()
    weighted = Graph(graph.indptr, graph.indices, edge_weight=np.full(graph.num_edges, 2.0, "f4"))
    plain, doubled = (
        SAINTSampler(g, 3, "edge", 5, coverage=9).sample(0) for g in (graph, weighted)
    )
    assert torch.equal(plain.blocks[0].edge_weight * 2, doubled.blocks[0].edge_weight)
    model = build_model(ModelConfig(conv="gcn", d_in=4, d_hidden=5, d_out=2, num_layers=3))
    assert model(plain.blocks, torch.ones(len(plain.nodes), 4)).shape == (len(plain.nodes), 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_layers": 0}, "num_layers is 0"),
        ({"budget": 0}, "budget is 0"),
        ({"walk_length": 0}, "walk_length is 0"),
        ({"coverage": 0.0}, "coverage is 0"),
        ({"method": "mrw"}, "choose one of node, edge, walk"),
        ({"graph": Graph.from_edges([], [], num_nodes=3)}, "no edges"),
    ],
)
def test_bad_requests_get_one_sentence(options, words):
    wanted = {"graph": symmetric_graph(), "num_layers": 1, "method": "node", "budget": 2}
    with pytest.raises(InputError, match=words):
        SAINTSampler(**(wanted | options))
