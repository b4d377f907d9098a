"""Pooling: renumbering the nodes renumbers what is kept; edges stay where their ends stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from collections_made import made_collections
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn.pooling import SAGPool, TopKPool, best_nodes, keep_nodes
from sampling import Block, Dataset, Graph, GraphCollection
from sampling.errors import InputError

POOLS = {"topk": TopKPool, "sag": SAGPool}
every_pool = pytest.mark.parametrize("name", sorted(POOLS))


def made(name: str, ratio: float = 0.5) -> torch.nn.Module:
    torch.manual_seed(3)
    return POOLS[name](3, ratio).double()


def edges_of(block: Block) -> set[tuple[int, int]]:
    dst = np.repeat(np.arange(block.num_dst), block.in_degrees().numpy())
    return set(zip(block.indices.tolist(), dst.tolist(), strict=True))


@every_pool
@settings(max_examples=30, deadline=None)
@given(collection=made_collections(), seed=st.integers(0, 1000))
def test_renumbered_nodes_give_renumbered_nodes(name, collection, seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    parts = [part.graph for part in collection.parts]
    rows = [torch.randn(graph.num_nodes, 3, dtype=torch.float64) for graph in parts]
    orders = [rng.permutation(graph.num_nodes) for graph in parts]
    pool = made(name)
    results = []
    for renumber in (False, True):
        graphs, xs = [], []
        for graph, x, order in zip(parts, rows, orders, strict=True):
            new = np.argsort(order) if renumber else np.arange(graph.num_nodes)
            dst = np.repeat(np.arange(graph.num_nodes), graph.in_degrees())
            moved = Graph.from_edges(new[graph.indices], new[dst], num_nodes=graph.num_nodes)
            graphs.append(Dataset.in_memory(moved))
            xs.append(x[torch.from_numpy(order)] if renumber else x)
        batch = GraphCollection.from_graphs(graphs).batch(np.arange(len(graphs)))
        results.append(pool(batch.block, torch.cat(xs), batch.graph_indptr))
    plain, moved = results
    offsets = np.cumsum([0, *(graph.num_nodes for graph in parts)])
    back = torch.from_numpy(
        np.concatenate([o + s for o, s in zip(orders, offsets[:-1], strict=True)]).astype(np.int64)
    )
    assert torch.equal(plain.graph_indptr, moved.graph_indptr)
    origin = back[moved.kept]
    assert sorted(origin.tolist()) == plain.kept.tolist()
    place = torch.searchsorted(plain.kept, origin)
    torch.testing.assert_close(moved.x, plain.x[place])
    names = place.tolist()
    assert {(names[s], names[d]) for s, d in edges_of(moved.block)} == edges_of(plain.block)


@settings(max_examples=40, deadline=None)
@given(collection=made_collections(), seed=st.integers(0, 1000))
def test_kept_edges_are_those_between_kept_nodes_with_all_that_they_carry(collection, seed):
    block = collection.collection.batch(np.arange(len(collection.parts))).block
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero(rng.random(block.num_src) < 0.6)
    small = keep_nodes(block, torch.from_numpy(kept))
    dst = np.repeat(np.arange(block.num_dst), block.in_degrees().numpy())
    src = block.indices.numpy()
    edges = np.flatnonzero(np.isin(src, kept) & np.isin(dst, kept))
    assert kept[small.indices.numpy()].tolist() == src[edges].tolist()
    new_dst = np.repeat(np.arange(small.num_dst), small.in_degrees().numpy())
    assert kept[new_dst].tolist() == dst[edges].tolist()
    for name in ("edge_weight", "edge_features"):
        array = getattr(block, name)
        if array is not None:
            assert torch.equal(getattr(small, name), array[torch.from_numpy(edges)])


@every_pool
def test_every_graph_keeps_its_share_rounded_up(name):
    sizes = [1, 0, 30, 7]
    parts = [Dataset.in_memory(Graph.from_edges([], [], num_nodes=n)) for n in sizes]
    batch = GraphCollection.from_graphs(parts).batch(np.arange(4))
    torch.manual_seed(0)
    x = torch.randn(38, 3, dtype=torch.float64)
    pooled = made(name, 0.1)(batch.block, x, batch.graph_indptr)
    assert pooled.graph_indptr.tolist() == [0, 1, 1, 4, 5]
    whole = made(name, 1.0)(batch.block, x, batch.graph_indptr)
    assert whole.kept.tolist() == list(range(38))


def test_equal_scores_are_decided_by_rows_and_not_by_places():
    score = torch.zeros(4)
    rows = torch.tensor([[3.0], [1.0], [2.0], [0.0]])
    kept, indptr = best_nodes(score, rows, torch.tensor([0, 4]), 0.5)
    assert (kept.tolist(), indptr.tolist()) == ([1, 3], [0, 2])
    order = torch.tensor([2, 0, 3, 1])
    moved, _ = best_nodes(score, rows[order], torch.tensor([0, 4]), 0.5)
    assert sorted(order[moved].tolist()) == [1, 3]


def test_scores_get_gradients():
    batch = GraphCollection.from_graphs(
        [Dataset.in_memory(Graph.from_edges([0, 1, 2], [1, 2, 0]))]
    ).batch([0])  # fmt: skip
    for name in POOLS:
        pool = made(name)
        pooled = pool(batch.block, torch.randn(3, 3, dtype=torch.float64), batch.graph_indptr)
        pooled.x.sum().backward()
        assert all(p.grad is not None for p in pool.parameters())


@pytest.mark.parametrize("ratio", [0, -1, 1.5, float("nan")])
def test_a_ratio_that_is_none_is_refused(ratio):
    with pytest.raises(InputError, match="ratio"):
        TopKPool(3, ratio)


def test_a_hop_of_a_sample_is_refused():
    hop = Block(torch.arange(3), torch.tensor([0, 1]), torch.tensor([2]))
    with pytest.raises(InputError, match="whole graphs"):
        keep_nodes(hop, torch.tensor([0]))
