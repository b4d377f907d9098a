"""Pooling by matching: which pairs merge follows from the rows, and not from numbers of nodes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from collections_made import made_collections
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from gnn import certify
from gnn.graph_evaluate import graph_logits
from gnn.matching import MAX_ROUNDS, MatchingPool, match_nodes, merge_nodes
from sampling import Block, Dataset, Graph, GraphCollection
from sampling.coarsen import coarsen, merge_edges
from sampling.errors import InputError

seeds = st.integers(0, 2**32 - 1)
POOLED_CONVS = ["gat", "gatv2", "gcn", "gin", "lightgcn", "pna", "sage", "sgc", "transformer"]


def rows(seed: int, count: int, width: int = 3) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.standard_normal((count, width)))


def destinations(block: Block) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(block.num_dst), block.in_degrees())


def edges_of(block: Block, names: list[Any]) -> dict[tuple[Any, Any], float]:
    ends = zip(block.indices.tolist(), destinations(block).tolist(), strict=True)
    weights = block.edge_weight.tolist()
    found = {(names[s], names[d]): w for (s, d), w in zip(ends, weights, strict=True)}
    assert len(found) == block.num_edges, "parallel edges are one"
    return found


def clusters(first: torch.Tensor, names: torch.Tensor) -> list[frozenset[int]]:
    """The nodes that each merged node stands for, by the names that they had."""
    members: dict[int, set[int]] = {}
    for node, of in enumerate(first.tolist()):
        members.setdefault(of, set()).add(int(names[node]))
    return [frozenset(members[of]) for of in sorted(members)]


def moved(part: Graph, order: np.ndarray) -> Dataset:
    """The same graph with node `order[i]` as its node i, its edges in another order."""
    new = np.argsort(order)
    dst = np.repeat(np.arange(part.num_nodes), part.in_degrees())
    weight = part.edge_weight
    return Dataset.in_memory(
        Graph.from_edges(
            new[part.indices][::-1],
            new[dst][::-1],
            num_nodes=part.num_nodes,
            edge_weight=None if weight is None else weight[::-1],
        )
    )


@settings(max_examples=60, deadline=None)
@given(collection=made_collections(), seed=seeds, rounded=st.sampled_from([None, 1, 2, 3]))
def test_renumbered_nodes_give_renumbered_clusters(collection, seed, rounded):
    """Of any rows and of those of few values, whatever rounding makes of them."""
    random = np.random.default_rng(seed)
    parts = [part.graph for part in collection.parts]
    numbers = np.arange(len(parts))
    offsets = np.cumsum([0, *(graph.num_nodes for graph in parts)])
    x = rows(seed, int(offsets[-1]))
    if rounded is not None:
        x = (x[:, :1] * rounded).round().repeat(1, 3)
    plain_batch = GraphCollection.from_graphs([Dataset.in_memory(g) for g in parts]).batch(numbers)
    orders = [random.permutation(graph.num_nodes) for graph in parts]
    graphs = [moved(part, order) for part, order in zip(parts, orders, strict=True)]
    batch = GraphCollection.from_graphs(graphs).batch(numbers)
    names = torch.from_numpy(
        np.concatenate([o + s for o, s in zip(orders, offsets[:-1], strict=True)])
    )
    pool = MatchingPool()
    expected = pool(plain_batch.block, x, plain_batch.graph_indptr)
    again = x[names] * (1 + 1e-8 * rows(seed + 1, len(x)))
    got = pool(batch.block, again, batch.graph_indptr)
    every = torch.arange(len(x))
    of_expected = clusters(match_nodes(plain_batch.block, x), every)
    of_got = clusters(match_nodes(batch.block, again), names)
    assert torch.equal(got.graph_indptr, expected.graph_indptr)
    assert set(of_got) == set(of_expected)
    place = [of_expected.index(cluster) for cluster in of_got]
    torch.testing.assert_close(got.x, expected.x[place], rtol=0, atol=1e-6)
    here, there = edges_of(got.block, of_got), edges_of(expected.block, of_expected)
    assert here.keys() == there.keys()
    assert all(here[edge] == pytest.approx(there[edge], rel=1e-6, abs=1e-6) for edge in here)


@settings(max_examples=40, deadline=None)
@given(collection=made_collections(), seed=seeds)
def test_a_batch_is_each_of_its_graphs_alone(collection, seed):
    data, pool = collection.collection, MatchingPool()
    batch = data.batch(np.arange(data.num_graphs))
    x = rows(seed, batch.num_nodes)
    pooled = pool(batch.block, x, batch.graph_indptr)
    bounds = batch.graph_indptr.tolist()
    alone = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        one = data.batch([number])
        alone.append(pool(one.block, x[start:end], one.graph_indptr))
    assert torch.equal(pooled.x, torch.cat([one.x for one in alone]))
    sizes = torch.tensor([len(one.x) for one in alone])
    assert torch.equal(pooled.graph_indptr[1:] - pooled.graph_indptr[:-1], sizes)
    shifted = [
        one.block.indices + int(start)
        for one, start in zip(alone, pooled.graph_indptr[:-1], strict=True)
    ]
    assert torch.equal(pooled.block.indices.long(), torch.cat(shifted).long())
    weights = torch.cat([one.block.edge_weight for one in alone])
    assert torch.equal(pooled.block.edge_weight, weights)


@settings(max_examples=60, deadline=None)
@given(edges=edge_lists(), seed=seeds)
def test_pairs_and_edges_are_those_of_the_coarsening_by_these_weights(edges, seed):
    """Where weights differ by more than rounding; parallel edges have shares of a pair's."""
    random, x = np.random.default_rng(seed), rows(seed, edges.num_nodes)
    plain = edges.graph()
    block = plain.block()
    src, dst = block.indices.long(), destinations(block)
    key = torch.minimum(src, dst) * edges.num_nodes + torch.maximum(src, dst)
    _, pair, count = torch.unique(key, return_inverse=True, return_counts=True)
    heavy = torch.from_numpy(1.05 ** random.permutation(len(count)))[pair] / count[pair]
    size = x.square().sum(dim=1)
    away = (x[src] - x[dst]).square().sum(dim=1) / (size[src] + size[dst])
    own = (heavy * (1 + away)).float()
    expected = coarsen(Graph(plain.indptr, plain.indices, edge_weight=heavy.float().numpy()))
    block = replace(block, edge_weight=own)
    pooled = MatchingPool()(block, x, torch.tensor([0, edges.num_nodes]))
    assert pooled.graph_indptr.tolist() == [0, len(expected.sizes)]
    cluster = torch.from_numpy(expected.cluster)
    means = torch.zeros(len(pooled.x), 3, dtype=torch.float64).index_add(0, cluster, x)
    means /= torch.from_numpy(expected.sizes)[:, None]
    torch.testing.assert_close(pooled.x, means)
    ends = cluster[src].numpy(), cluster[dst].numpy()
    small = merge_edges(*ends, own.numpy(), len(expected.sizes), 1)
    assert np.array_equal(pooled.block.indptr, small.indptr)
    assert np.array_equal(pooled.block.indices, small.indices)
    np.testing.assert_allclose(pooled.block.edge_weight, small.edge_weight, rtol=1e-6)


def test_the_nearest_rows_merge_whatever_their_length():
    block = Graph.from_edges([0, 1, 2], [1, 2, 3], num_nodes=4).block()
    x = torch.tensor([[0.0, 1.0], [9.0, 1.0], [8.0, 1.0], [-8.0, 0.0]])
    for scale in (1e-6, 1.0, 1e6):
        assert match_nodes(block, scale * x).tolist() == [0, 1, 1, 3]


@pytest.mark.parametrize("size", [2, 5, 6, 400])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_ring_of_equal_rows_becomes_one_node(size, value):
    src = np.random.default_rng(size).permutation(size)
    block = Graph.from_edges(src, np.roll(src, 1), num_nodes=size).block()
    pooled = MatchingPool()(block, torch.full((size, 2), value), torch.tensor([0, size]))
    assert pooled.x.tolist() == [[value, value]]
    assert (pooled.block.num_edges, pooled.graph_indptr.tolist()) == (0, [0, 1])


def test_a_chain_of_rising_weights_is_merged_in_a_bounded_time():
    src = np.arange(400)
    weight = (1.05**src).astype(np.float32)
    block = Graph.from_edges(src, src + 1, num_nodes=401, edge_weight=weight).block()
    first = match_nodes(block, torch.ones(401, 1))
    assert (first != torch.arange(401)).sum() == MAX_ROUNDS
    assert first[-1] == 399


def test_negative_weights_are_the_lightest():
    weight = np.array([-1.0, -2.0, 1.0], np.float32)
    block = Graph.from_edges([0, 1, 3], [1, 2, 4], num_nodes=5, edge_weight=weight).block()
    assert match_nodes(block, torch.ones(5, 1)).tolist() == [0, 0, 2, 3, 3]


def test_the_mean_of_a_pair_gets_gradients():
    block = Graph.from_edges([0, 1], [1, 2], num_nodes=3).block()
    x = torch.tensor([[0.0], [5.0], [6.0]], requires_grad=True)
    pooled = MatchingPool()(block, x, torch.tensor([0, 3]))
    assert pooled.x.tolist() == [[0.0], [5.5]]
    (pooled.x * torch.tensor([[2.0], [3.0]])).sum().backward()
    assert x.grad.tolist() == [[2.0], [1.5], [1.5]]


def test_weights_of_merged_edges_grow_from_level_to_level():
    """Four nodes in two pairs with three edges between the pairs: one edge of weight 3."""
    src, dst = np.array([0, 2, 0, 1, 0]), np.array([1, 3, 2, 3, 3])
    block = Graph.from_edges(src, dst, num_nodes=4).block()
    small = merge_nodes(block, torch.tensor([0, 0, 1, 1]), 2)
    assert edges_of(small, [0, 1]) == {(0, 1): 3.0}
    with_type = replace(block, edge_type=torch.zeros(5), edge_ids=torch.arange(5))
    other = merge_nodes(with_type, torch.tensor([0, 0, 1, 1]), 2)
    assert other.edge_type is None is other.edge_ids


def test_a_graph_without_nodes_or_edges_stays_as_it_is():
    parts = [Dataset.in_memory(Graph.from_edges([], [], num_nodes=n)) for n in (0, 3, 1)]
    batch = GraphCollection.from_graphs(parts).batch(np.arange(3))
    x = rows(0, 4)
    pooled = MatchingPool()(batch.block, x, batch.graph_indptr)
    assert torch.equal(pooled.x, x)
    assert pooled.graph_indptr.tolist() == [0, 0, 3, 4]


def test_a_hop_of_a_sample_is_refused():
    hop = Block(torch.arange(3), torch.tensor([0, 1]), torch.tensor([2]))
    with pytest.raises(InputError, match="whole graphs"):
        match_nodes(hop, rows(0, 3))


# --- models -----------------------------------------------------------------------------------


def made_of_parts(has_weight: bool) -> GraphCollection:
    parts = []
    for number in range(20):
        random = np.random.default_rng(number)
        size = int(random.integers(1, 20))
        weight = random.random(3 * size).astype("f4") if has_weight else None
        graph = Graph.from_edges(
            *random.integers(0, size, (2, 3 * size)), num_nodes=size, edge_weight=weight
        )
        features = random.normal(size=(size, 6)).astype("f4")
        parts.append(Dataset.in_memory(graph, features=features))
    return GraphCollection.from_graphs(parts)


def pooled_model(make_model, conv: str, **chosen: Any) -> Any:
    return make_model(conv=conv, num_layers=3, readout="mean", pooling="matching", **chosen)


@pytest.mark.parametrize("conv", POOLED_CONVS)
@pytest.mark.parametrize("norm", ["none", "graph"])
def test_models_that_match_are_certified(conv, norm, make_model):
    model = pooled_model(make_model, conv, norm=norm if conv not in ("lightgcn", "sgc") else "none")
    found = certify(model, made_of_parts(has_weight=False))
    assert found.passed, found.errors
    assert found.errors["permutation_float64"] < 1e-10
    assert certify(model).passed


def test_convolutions_that_read_weights_read_those_of_merged_edges(make_model):
    data = made_of_parts(has_weight=True)
    model = pooled_model(make_model, "sage", aggregator="weighted")
    assert certify(model, data).passed
    every = np.arange(data.num_graphs)
    together = graph_logits(model, data, every)
    alone = torch.cat([graph_logits(model, data, np.array([g])) for g in every])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    plain = pooled_model(make_model, "sage")
    plain.load_state_dict(model.state_dict())
    assert not torch.allclose(graph_logits(plain, data, every), together, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        {"conv": "gine", "d_edge": 2},
        {"conv": "transformer", "d_edge": 2},
        {"conv": "rgcn", "num_relations": 2},
        {"conv": "hgt", "num_relations": 2},
        {"conv": "tgat"},
    ],
    ids=lambda config: config["conv"],
)
def test_what_reads_more_of_edges_than_their_weights_is_refused(config, make_model):
    with pytest.raises(InputError, match="cannot be merged; choose another"):
        make_model(readout="mean", pooling="matching", **config)
    assert make_model(readout="mean", pooling="topk", **config)
