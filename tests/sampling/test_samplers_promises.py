"""What every sampler promises: independence of batch and threads, edge data, one sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from sampling import (
    Block,
    Dataset,
    Graph,
    LaborSampler,
    MiniBatchLoader,
    NodeIds,
    ReplacementNeighborSampler,
    TemporalNeighborSampler,
    TypedNeighborSampler,
    WeightedNeighborSampler,
)
from sampling.errors import InputError
from sampling.sampler import Sampler

NODES = 3000


def make_graph(wide: bool = False) -> Graph:
    rng = np.random.default_rng(3)
    src, dst = rng.integers(0, NODES, 60_000), rng.integers(0, NODES, 60_000)
    dst[:5000] = 7
    graph = Graph.from_edges(
        src, dst, num_nodes=NODES, edge_type=rng.integers(0, 3, 60_000),
        edge_time=rng.integers(0, 1000, 60_000), edge_weight=rng.random(60_000),
        edge_types=("cites", "follows", "likes"),
    )  # fmt: skip
    if not wide:
        return graph
    return Graph(
        graph.indptr, graph.indices.astype(np.int64), graph.edge_type, graph.edge_weight,
        graph.edge_time, graph.node_types, graph.edge_types,
    )  # fmt: skip


def temporal(strategy: str) -> Callable[..., Sampler]:
    def make(graph: Graph, fanouts: list[int], **options: int) -> Sampler:
        sampler = TemporalNeighborSampler(graph, fanouts, strategy, **options)
        return sampler.at_node_times(np.arange(graph.num_nodes) % 4 * 300)

    return make


def weighted_with_replacement(graph: Graph, fanouts: list[int], **options: int) -> Sampler:
    return ReplacementNeighborSampler(graph, fanouts, weighted=True, **options)


MAKERS = {
    "weighted": WeightedNeighborSampler,
    "with replacement": ReplacementNeighborSampler,
    "weighted with replacement": weighted_with_replacement,
    "typed": TypedNeighborSampler,
    "labor": LaborSampler,
    "temporal": temporal("uniform"),
    "recent": temporal("recent"),
}
every_sampler = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def edges_of(block: Block) -> dict[int, list[int]]:
    ends, edge_ids = block.indptr.tolist(), block.edge_ids.tolist()
    return {
        node: edge_ids[ends[i] : ends[i + 1]] for i, node in enumerate(block.dst_nodes.tolist())
    }


def assert_same(one: tuple[Block, ...], other: tuple[Block, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        for name in ("src_nodes", "indptr", "indices", "edge_ids", "edge_weight"):
            assert torch.equal(getattr(a, name), getattr(b, name))


@every_sampler
@pytest.mark.parametrize("wide", [False, True])
def test_threads_change_nothing(make, wide):
    graph, seeds = make_graph(wide), np.arange(2000)
    batches = [make(graph, [7, 5], seed=9, num_threads=n).sample(seeds) for n in (1, 2, 4)]
    for other in batches[1:]:
        assert_same(batches[0], other)


@every_sampler
def test_blocks_are_chained_and_hold_edges_of_the_graph(make):
    graph = make_graph()
    seeds = [5, 7, 5, 2999]
    blocks = make(graph, [4, 6], seed=2).sample(seeds)
    assert blocks[-1].dst_nodes.tolist() == seeds
    for lower, upper in pairwise(blocks):
        assert torch.equal(lower.dst_nodes, upper.src_nodes)
    for block in blocks:
        owner = np.repeat(block.dst_nodes.numpy(), block.in_degrees().numpy())
        edges = block.edge_ids.numpy()
        assert ((graph.indptr[owner] <= edges) & (edges < graph.indptr[owner + 1])).all()
        sources = block.src_nodes[block.indices.long()].numpy()
        np.testing.assert_array_equal(graph.indices[edges], sources)
        np.testing.assert_array_equal(graph.edge_type[edges], block.edge_type.numpy())
        np.testing.assert_array_equal(graph.edge_time[edges], block.edge_time.numpy())


@every_sampler
def test_alone_and_in_a_batch_the_same_edges_are_drawn(make):
    sampler = make(make_graph(), [7], seed=4)
    [batch] = sampler.sample(np.arange(1000))
    together = edges_of(batch)
    for node in (0, 7, 500, 999):
        [alone] = sampler.sample([node])
        assert edges_of(alone)[node] == together[node]
    [backwards] = sampler.sample(np.arange(1000)[::-1].copy())
    assert edges_of(backwards) == together


@pytest.mark.parametrize("name", sorted(MAKERS.keys() - {"recent"}))
def test_layers_and_seeds_draw_differently(name):
    sampler = MAKERS[name](make_graph(), [5, 5], seed=1)
    first = sampler.sample([7])
    assert edges_of(first[0])[7] != edges_of(first[1])[7]
    assert edges_of(first[1]) != edges_of(sampler.sample([7], seed=2)[1])
    assert_same(first, MAKERS[name](make_graph(), [5, 5], seed=1).sample([7]))


@every_sampler
def test_many_threads_may_share_one_sampler(make):
    sampler = make(make_graph(), [5, 5], seed=1, num_threads=2)
    expected = [sampler.sample(np.arange(i, i + 600))[0].edge_ids for i in range(4)]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(5):
            if not torch.equal(sampler.sample(np.arange(i, i + 600))[0].edge_ids, expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@every_sampler
def test_the_loader_takes_it(make):
    data = Dataset.in_memory(
        make_graph(), features=np.arange(NODES, dtype=np.float32)[:, None], ids=NodeIds.range(NODES)
    )
    loader = MiniBatchLoader(data, make(data.graph, [3, 3]), np.arange(500), batch_size=128)
    batches = list(loader)
    assert torch.cat([batch.seeds for batch in batches]).tolist() == list(range(500))
    for batch in batches:
        assert torch.equal(batch.x[:, 0].long(), batch.blocks[0].src_nodes)


@every_sampler
def test_no_seeds_make_empty_blocks(make):
    for block in make(make_graph(), [3, 3]).sample([]):
        assert (block.num_src, block.num_dst, block.num_edges) == (0, 0, 0)


@every_sampler
@pytest.mark.parametrize(
    ("fanouts", "options", "seeds", "words"),
    [
        ([], {}, [0], "fanouts"),
        ([-2], {}, [0], "a fanout is -2; give an integer of 0"),
        ([2**63], {}, [0], "a fanout is 9223372036854775808; give an integer of 0"),
        ([1.5], {}, [0], "a fanout is 1.5"),
        ([1], {}, [NODES], f"seed {NODES} is not a node; nodes run from 0 to {NODES - 1}"),
        ([1], {}, [0.5], "list of integers"),
        ([1], {"num_threads": 0}, [0], "num_threads is 0"),
        ([1], {"seed": "x"}, [0], "seed is 'x'; give an integer"),
    ],
)
def test_bad_requests_get_one_sentence(make, fanouts, options, seeds, words):
    with pytest.raises(InputError, match=words):
        make(make_graph(), fanouts, **options).sample(seeds)


def test_a_batch_without_room_gets_one_sentence():
    graph = Graph(np.array([0, 2**40]), np.zeros(1, np.int32))
    with pytest.raises(InputError, match="the batch cannot be drawn: indptr does not span"):
        TypedNeighborSampler(graph, [3]).sample([0])
    with pytest.raises(InputError, match="a fanout is 1048577; give an integer of 0 … 1048576"):
        ReplacementNeighborSampler(make_graph(), [2**20 + 1])
