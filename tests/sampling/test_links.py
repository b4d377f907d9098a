"""Promises of link batches: no leak, true pairs, labels, and no dependence on workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from gnn import ModelConfig, build_model
from sampling import (
    Block,
    Dataset,
    FullNeighborSampler,
    Graph,
    LinkBatch,
    LinkLoader,
    NegativeSampler,
    NeighborSampler,
    ShaDowSampler,
    without_edges,
)
from sampling.errors import InputError
from sampling.exclusion import EdgePlaces, keep_edges

settings.register_profile("links", max_examples=50, deadline=None)
settings.load_profile("links")

EXCLUDES = ["target", "reverse", "none"]


def random_graph(num_nodes: int = 80, num_edges: int = 500, **keys: np.ndarray) -> Graph:
    src, dst = np.random.default_rng(3).integers(0, num_nodes, (2, num_edges))
    return Graph.from_edges(src, dst, num_nodes=num_nodes, **keys)


def edges_of(graph: Graph) -> np.ndarray:
    return np.stack([graph.indices, np.repeat(np.arange(graph.num_nodes), graph.in_degrees())])


def pairs_in(block: Block) -> list[tuple[int, int]]:
    """Source and destination of every edge, in order."""
    dst = torch.repeat_interleave(block.dst_nodes, block.in_degrees())
    return list(zip(block.src_nodes[block.indices].tolist(), dst.tolist(), strict=True))


def positives(batch: LinkBatch) -> list[tuple[int, int]]:
    nodes = batch.seeds[batch.pairs[:, batch.labels == 1]]
    return list(zip(*nodes.tolist(), strict=True))


@pytest.mark.parametrize("exclude", EXCLUDES)
@given(edge_lists(max_nodes=25, max_edges=80), st.integers(4, 40), st.booleans(), st.data())
def test_no_block_holds_an_edge_that_is_excluded(exclude, edges, batch_size, shadow, data):
    graph = edges.graph()
    sampler = ShaDowSampler(graph, 2, [3]) if shadow else NeighborSampler(graph, [4, 3])
    free = NegativeSampler(graph, 2, exclude_edges=False)
    loader = LinkLoader(
        Dataset.in_memory(graph), sampler, edges_of(graph), batch_size, exclude=exclude,
        negatives=free, num_workers=0, seed=data.draw(st.integers(0, 99)),
    )  # fmt: skip
    for batch in loader:
        hidden = set() if exclude == "none" else set(positives(batch))
        if exclude == "reverse":
            hidden |= {(v, u) for u, v in hidden}
        whole = sampler.sample(batch.seeds, seed=_epoch_seed(loader))
        for block, full in zip(batch.blocks, whole, strict=True):
            assert pairs_in(block) == [pair for pair in pairs_in(full) if pair not in hidden]
            assert torch.equal(block.src_nodes, full.src_nodes)
            assert block.indptr[-1] == block.num_edges


def _epoch_seed(loader: LinkLoader) -> int:
    from sampling.kernels.reference import GOLDEN, MASK, mix

    return mix((loader.seed + GOLDEN * loader.epoch) & MASK)


def test_pairs_are_the_edges_in_order_and_then_negatives_of_their_sources():
    graph = random_graph()
    edges, linked = edges_of(graph), set(zip(*edges_of(graph).tolist(), strict=True))
    loader = LinkLoader(Dataset.in_memory(graph), NeighborSampler(graph, [3]), edges, 64, 3)
    batches = list(loader)
    assert len(batches) == len(loader) == 8
    assert [p for b in batches for p in positives(b)] == list(zip(*edges.tolist(), strict=True))
    for batch in batches:
        size = int(batch.labels.sum())
        assert batch.labels.tolist() == [1.0] * size + [0.0] * (3 * size)
        src, dst = batch.seeds[batch.pairs].tolist()
        assert src[size:] == np.repeat(src[:size], 3).tolist()
        assert not linked & set(zip(src[size:], dst[size:], strict=True))
        assert len(torch.unique(batch.seeds)) == len(batch.seeds)
        assert torch.equal(batch.seeds, batch.blocks[-1].dst_nodes)


def assert_equal(one: LinkBatch, other: LinkBatch) -> None:
    for name in ("seeds", "pairs", "labels"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    for a, b in zip(one.blocks, other.blocks, strict=True):
        assert torch.equal(a.src_nodes, b.src_nodes)
        assert torch.equal(a.indices, b.indices)


def test_workers_change_nothing_and_epochs_do():
    graph = random_graph()
    data, edges = Dataset.in_memory(graph), edges_of(graph)
    loaders = [
        LinkLoader(data, NeighborSampler(graph, [3, 3]), edges, 50, shuffle=True, seed=4,
                   num_workers=workers, prefetch=3)
        for workers in (0, 1, 3)
    ]  # fmt: skip
    epochs = [[list(loader), list(loader)] for loader in loaders]
    for others in epochs[1:]:
        for one, other in zip(epochs[0], others, strict=True):
            for a, b in zip(one, other, strict=True):
                assert_equal(a, b)
    first, second = epochs[0]
    assert positives(first[0]) != positives(second[0])
    assert sorted(p for b in first for p in positives(b)) == sorted(
        zip(*edges.tolist(), strict=True)
    )


def test_parts_of_a_batch_are_its_edges_once_with_their_negatives_and_without_any_of_the_batch():
    rng = np.random.default_rng(3)
    edges = np.unique(rng.integers(0, 40, (2, 300)), axis=1)
    graph = Graph.from_edges(*edges, num_nodes=40)
    data, sampler = Dataset.in_memory(graph), FullNeighborSampler(graph, num_layers=1)
    types = rng.integers(0, 3, edges.shape[1])

    def batches(part=None):
        return list(LinkLoader(data, sampler, edges, 50, 3, relations=types, shuffle=True, seed=2,
                               part=part))  # fmt: skip

    def pairs_of(batch):
        """Every edge with its relation and its negatives."""
        ends, size = batch.seeds[batch.pairs].T, int(batch.labels.sum())
        drawn, kinds = ends[size:].view(size, 3, 2), batch.relations
        assert (kinds[size:].view(size, 3) == kinds[:size, None]).all()
        rows = zip(ends[:size].tolist(), kinds[:size].tolist(), drawn.tolist(), strict=True)
        return sorted((tuple(edge), kind, str(negatives)) for edge, kind, negatives in rows)

    shares = [batches(lambda count, rank=rank: slice(rank, None, 3)) for rank in range(3)]
    for whole, *parts in zip(batches(), *shares, strict=True):
        assert pairs_of(whole) == sorted(pair for part in parts for pair in pairs_of(part))
        hidden = {edge for edge, *_ in pairs_of(whole)}
        for part in parts:
            assert 16 <= part.labels.sum() <= 17 or len(hidden) < 50
            [block] = part.blocks
            dst = np.repeat(block.dst_nodes.numpy(), np.diff(block.indptr))
            src = block.src_nodes[block.indices.long()].numpy()
            assert not hidden & set(zip(src.tolist(), dst.tolist(), strict=True))


def test_an_edge_has_the_same_negatives_in_any_batch():
    graph = random_graph()
    data, edges = Dataset.in_memory(graph), edges_of(graph)
    drawn = []
    for batch_size in (7, 500):
        loader = LinkLoader(data, NeighborSampler(graph, [3]), edges, batch_size, 2, seed=1)
        drawn.append([
            pair for b in loader
            for pair in zip(*b.seeds[b.pairs[:, b.labels == 0]].tolist(), strict=True)
        ])  # fmt: skip
    assert drawn[0] == drawn[1]


def test_a_model_scores_the_pairs_of_a_batch():
    graph = random_graph()
    x = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    data = Dataset.in_memory(graph, features=x)
    model = build_model(ModelConfig(conv="sage", d_in=6, d_hidden=8, d_out=4, num_layers=2))
    sampler = FullNeighborSampler(graph, 2)
    for batch in LinkLoader(data, sampler, torch.from_numpy(edges_of(graph)), 128):
        assert torch.equal(batch.x, torch.from_numpy(x)[batch.blocks[0].src_nodes])
        h = model(batch.blocks, batch.x)
        scores = (h[batch.pairs[0]] * h[batch.pairs[1]]).sum(dim=1)
        assert scores.shape == batch.labels.shape


def test_edge_data_leaves_with_the_edges():
    src, dst = np.random.default_rng(0).integers(0, 20, (2, 300))
    graph = Graph.from_edges(src, dst, num_nodes=20, edge_type=src % 3, edge_time=src * 10,
                             edge_weight=np.float32(dst * 100 + src))  # fmt: skip
    [block] = NeighborSampler(graph, [8]).sample(np.arange(20))
    less = without_edges(block, np.arange(10), np.full(10, 4))
    assert less.num_edges < block.num_edges
    source = less.src_nodes[less.indices]
    target = torch.repeat_interleave(less.dst_nodes, less.in_degrees())
    assert torch.equal(less.edge_type.long(), source % 3)
    assert torch.equal(less.edge_time, source * 10)
    assert torch.equal(less.edge_weight, (target * 100 + source).float())
    assert torch.equal(torch.from_numpy(graph.indices)[less.edge_ids].long(), source)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_negatives": 0}, "num_negatives is 0"),
        ({"exclude": "all"}, "choose one of target, reverse, none"),
        ({"edges": [1, 2]}, "give \\(2, num_edges\\)"),
        ({"edges": [[1], [80]]}, "seed 80 is not a node"),
        ({"edges": [[0.5], [1.0]]}, "list of integers"),
    ],
)
def test_bad_requests_get_one_sentence(options, words):
    graph = random_graph()
    wanted = {"data": Dataset.in_memory(graph), "sampler": NeighborSampler(graph, [2]),
              "edges": edges_of(graph)}  # fmt: skip
    with pytest.raises(InputError, match=words):
        LinkLoader(**(wanted | options))


def test_sources_that_are_drawn_are_alike_and_their_pairs_no_edges():
    star = Graph.from_edges(np.zeros(8, int), np.arange(1, 9), num_nodes=10)
    sampler = NegativeSampler(star, num_negatives=500, replace_sources=True)
    src, dst = sampler.pairs([0, 0], [1, 2], seed=3).numpy()
    assert len(src) == 1000
    assert np.bincount(src, minlength=10).min() > 60
    assert (dst[src == 0] == 9).all()
    kept = NegativeSampler(star, num_negatives=2)
    pairs = kept.pairs([1, 2], [3, 4], seed=3)
    assert pairs[0].tolist() == [1, 1, 2, 2]
    assert pairs[1].view(2, 2).tolist() == kept.sample([1, 2], [3, 4], seed=3).tolist()


def test_edges_are_found_in_a_graph_as_they_are_compared_in_a_block():
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(*rng.integers(0, 12, (2, 90)), num_nodes=12)
    src, dst = rng.integers(0, 12, (2, 20))
    block = graph.block()
    found = keep_edges(block, EdgePlaces(block).absent(src, dst))
    wanted = without_edges(block, src, dst)
    assert found.indptr.tolist() == wanted.indptr.tolist()
    assert found.indices.tolist() == wanted.indices.tolist()
