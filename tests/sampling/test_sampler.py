"""Promises of the samplers: prefix, determinism, independence of the batch, full = everything."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from sampling import Block, FullNeighborSampler, Graph, NeighborSampler
from sampling.errors import InputError

settings.register_profile("sampler", max_examples=50, deadline=None)
settings.load_profile("sampler")


def assert_valid_block(graph: Graph, block: Block, fanout: int) -> None:
    """Every edge is an edge of the graph, no position twice, as many as there should be."""
    assert block.indptr[0] == 0
    assert block.indptr[-1] == block.num_edges
    assert torch.equal(block.dst_nodes, block.src_nodes[: block.num_dst])
    degrees = torch.from_numpy(graph.in_degrees())[block.dst_nodes]
    assert torch.equal(block.in_degrees(), degrees if fanout < 0 else degrees.clamp(max=fanout))
    for i, node in enumerate(block.dst_nodes.tolist()):
        row = block.src_nodes[block.indices[block.indptr[i] : block.indptr[i + 1]]].tolist()
        available = graph.in_neighbors(node).tolist()
        for neighbor in set(row):
            assert row.count(neighbor) <= available.count(neighbor)


@given(edge_lists(), st.lists(st.sampled_from([-1, 1, 2, 5]), min_size=1, max_size=3), st.data())
def test_blocks_are_valid_and_chained(edges, fanouts, data):
    graph = edges.graph()
    nodes = st.integers(0, edges.num_nodes - 1)
    seeds = data.draw(st.lists(nodes, max_size=15))
    blocks = NeighborSampler(graph, fanouts, seed=1).sample(seeds)
    assert blocks[-1].dst_nodes.tolist() == seeds
    for block, fanout in zip(blocks, fanouts, strict=True):
        assert_valid_block(graph, block, fanout)
    for lower, upper in pairwise(blocks):
        assert torch.equal(lower.dst_nodes, upper.src_nodes)
    fresh = blocks[0].src_nodes[len(seeds) :].tolist()
    assert len(fresh) == len(set(fresh) - set(seeds))


def big_graph(kind: str = "int32") -> Graph:
    rng = np.random.default_rng(3)
    src, dst = rng.integers(0, 30_000, 600_000), rng.integers(0, 30_000, 600_000)
    dst[:50_000] = 7
    graph = Graph.from_edges(src, dst, num_nodes=30_000)
    return graph if kind == "int32" else Graph(graph.indptr, graph.indices.astype(np.int64))


def drawn(blocks: tuple[Block, ...], layer: int) -> dict[int, list[int]]:
    """Neighbors drawn per destination, as sets of graph nodes in order."""
    block = blocks[layer]
    src = block.src_nodes[block.indices]
    ends = block.indptr.tolist()
    return {
        node: src[ends[i] : ends[i + 1]].tolist() for i, node in enumerate(block.dst_nodes.tolist())
    }


@pytest.mark.parametrize("wide", ["int32", "int64"])
def test_threads_change_nothing(wide):
    graph, seeds = big_graph(wide), np.arange(5000)
    batches = [NeighborSampler(graph, [7, 5], 9, threads).sample(seeds) for threads in (1, 2, 4)]
    for other in batches[1:]:
        for one, two in zip(batches[0], other, strict=True):
            for name in ("src_nodes", "indptr", "indices"):
                assert torch.equal(getattr(one, name), getattr(two, name))


def test_alone_and_in_a_batch_of_a_thousand_the_same_neighbors_are_drawn():
    graph = big_graph()
    sampler = NeighborSampler(graph, [7, 5], seed=4)
    batch = sampler.sample(np.arange(1000))
    together = [drawn(batch, layer) for layer in (0, 1)]
    for node in (0, 7, 500, 999):
        alone = sampler.sample([node])
        for layer in (0, 1):
            for dst, neighbors in drawn(alone, layer).items():
                assert together[layer].get(dst, neighbors) == neighbors
        assert together[1][node] == drawn(alone, 1)[node]


def test_layers_epochs_and_seeds_draw_differently():
    graph = big_graph()
    sampler = NeighborSampler(graph, [5, 5], seed=1)
    first = sampler.sample([7])
    assert drawn(first, 0)[7] != drawn(first, 1)[7]
    assert drawn(first, 1) != drawn(sampler.sample([7], seed=2), 1)
    assert drawn(first, 1) == drawn(NeighborSampler(graph, [5, 5], seed=1).sample([7]), 1)


def test_many_threads_may_share_one_sampler():
    sampler = NeighborSampler(big_graph(), [5, 5], seed=1, num_threads=2)
    expected = [sampler.sample(np.arange(i, i + 600))[0].src_nodes for i in range(8)]
    got: list[torch.Tensor | None] = [None] * 8

    def work(i: int) -> None:
        for _ in range(5):
            got[i] = sampler.sample(np.arange(i, i + 600))[0].src_nodes

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


@given(edge_lists())
def test_the_full_neighborhood_is_the_graph(edges):
    graph = edges.graph()
    [block] = FullNeighborSampler(graph, 1).sample(np.arange(edges.num_nodes))
    whole = graph.block()
    assert torch.equal(block.src_nodes, whole.src_nodes)
    assert torch.equal(block.indptr, whole.indptr)
    assert torch.equal(block.indices.long(), whole.indices.long())


def test_repeated_seeds_are_answered_alike():
    graph = big_graph()
    [block] = NeighborSampler(graph, [5], seed=1).sample([7, 3, 7, 7])
    rows = [block.src_nodes[block.indices[a:b]].tolist()
            for a, b in zip(block.indptr[:-1], block.indptr[1:], strict=True)]  # fmt: skip
    assert rows[0] == rows[2] == rows[3]
    assert block.dst_nodes.tolist() == [7, 3, 7, 7]


def test_edge_data_travels_with_the_edges():
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 200, 5000), rng.integers(0, 200, 5000)
    graph = Graph.from_edges(
        src, dst, num_nodes=200, edge_type=src % 3, edge_time=src * 10,
        edge_weight=(dst * 1000 + src).astype(np.float32),
    )  # fmt: skip
    for block in NeighborSampler(graph, [4, 6], seed=2).sample(np.arange(50)):
        source = block.src_nodes[block.indices]
        target = torch.repeat_interleave(block.dst_nodes, block.in_degrees())
        assert torch.equal(block.edge_type.long(), source % 3)
        assert torch.equal(block.edge_time, source * 10)
        assert torch.equal(block.edge_weight, (target * 1000 + source).float())
        assert torch.equal(torch.from_numpy(graph.indices)[block.edge_ids].long(), source)


def test_a_batch_outgrows_short_slots_and_stays_right():
    """Beyond 2^24 nodes the relabel table changes its slots in the middle of a batch."""
    size = (1 << 24) + 1000
    ring = (np.arange(size, dtype=np.int32) + 1) % size
    graph = Graph(np.arange(size + 1, dtype=np.int64), ring)
    half = size // 2 + 5
    [block] = NeighborSampler(graph, [1], num_threads=2).sample(np.arange(0, 2 * half, 2) % size)
    assert torch.equal(
        block.src_nodes[block.indices.long()], torch.from_numpy(ring[block.dst_nodes]).long()
    )
    assert block.num_src > 1 << 24


@pytest.mark.parametrize(
    ("fanouts", "seeds", "words"),
    [
        ([], [0], "fanouts"),
        ([-2], [0], "fanouts"),
        ([1], [30_000], "seed 30000 is not a node; nodes run from 0 to 29999"),
        ([1], [-1], "seed -1"),
        ([1], [0.5], "list of integers"),
        ([1], [[0]], "list of integers"),
    ],
)
def test_bad_requests_get_one_sentence(fanouts, seeds, words):
    with pytest.raises(InputError, match=words):
        NeighborSampler(big_graph(), fanouts).sample(seeds)
