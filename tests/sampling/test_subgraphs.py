"""Promises of subgraph mini-batches: all edges within, components apart, the batch irrelevant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from gnn import ModelConfig, build_model
from sampling import FullNeighborSampler, Graph, ShaDowSampler, induced_block
from sampling.errors import InputError

settings.register_profile("subgraphs", max_examples=50, deadline=None)
settings.load_profile("subgraphs")


def random_graph(num_nodes: int = 60, num_edges: int = 300, **keys: np.ndarray) -> Graph:
    rng = np.random.default_rng(2)
    src, dst = rng.integers(0, num_nodes, (2, num_edges))
    return Graph.from_edges(src, dst, num_nodes=num_nodes, **keys)


@given(edge_lists(), st.integers(0, 2**32 - 1))
def test_an_induced_block_holds_every_edge_within_and_no_other(edges, seed):
    graph, rng = edges.graph(), np.random.default_rng(seed)
    nodes = rng.permutation(edges.num_nodes)[: rng.integers(1, edges.num_nodes + 1)]
    block = induced_block(graph, nodes)
    assert block.src_nodes.tolist() == block.dst_nodes.tolist() == nodes.tolist()
    inside = np.isin(edges.src, nodes) & np.isin(edges.dst, nodes)
    expected = sorted(zip(edges.src[inside].tolist(), edges.dst[inside].tolist(), strict=True))
    dst = torch.repeat_interleave(block.dst_nodes, block.in_degrees())
    found = zip(block.src_nodes[block.indices].tolist(), dst.tolist(), strict=True)
    assert sorted(found) == expected


def test_the_subgraph_of_all_nodes_is_the_graph():
    graph = random_graph()
    block, whole = induced_block(graph, np.arange(60)), graph.block()
    assert torch.equal(block.indptr, whole.indptr)
    assert torch.equal(block.indices.long(), whole.indices.long())
    assert torch.equal(block.edge_ids, torch.arange(graph.num_edges))


def test_edge_data_travels_with_the_edges():
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 50, (2, 900))
    graph = Graph.from_edges(src, dst, num_nodes=50, edge_type=src % 3, edge_time=src * 10,
                             edge_weight=np.float32(dst * 100 + src))  # fmt: skip
    for block in ShaDowSampler(graph, 2, [4, 4], seed=2).sample([3, 9, 3]):
        source = block.src_nodes[block.indices]
        target = torch.repeat_interleave(block.dst_nodes, block.in_degrees())
        assert torch.equal(block.edge_type.long(), source % 3)
        assert torch.equal(block.edge_time, source * 10)
        assert torch.equal(block.edge_weight, (target * 100 + source).float())


@given(edge_lists(), st.lists(st.sampled_from([-1, 0, 1, 3]), max_size=3), st.data())
def test_scopes_are_apart_and_begin_with_their_seeds(edges, fanouts, data):
    graph = edges.graph()
    seeds = data.draw(st.lists(st.integers(0, edges.num_nodes - 1), max_size=8))
    blocks = ShaDowSampler(graph, 3, fanouts, seed=1).sample(seeds)
    assert blocks[-1].dst_nodes.tolist() == seeds
    assert blocks[-1].src_nodes.tolist() == blocks[0].src_nodes.tolist()
    alone = [ShaDowSampler(graph, 3, fanouts, seed=1).sample([node])[0] for node in seeds]
    assert blocks[0].num_src == sum(block.num_src for block in alone)
    assert blocks[0].num_edges == sum(block.num_edges for block in alone)
    names = sorted(node for block in alone for node in block.src_nodes.tolist())
    assert sorted(blocks[0].src_nodes.tolist()) == names


def test_batch_and_threads_change_no_answer_of_a_model():
    graph = random_graph()
    torch.manual_seed(0)
    x = torch.randn(60, 5)
    model = build_model(ModelConfig(conv="sage", d_in=5, d_hidden=7, d_out=3, num_layers=3))
    answers = []
    for threads in (1, 3):
        blocks = ShaDowSampler(graph, 3, [5, 5], seed=4, num_threads=threads).sample(np.arange(60))
        answers.append(model(blocks, x[blocks[0].src_nodes]))
    assert torch.equal(*answers)
    for node in (0, 7, 59):
        blocks = ShaDowSampler(graph, 3, [5, 5], seed=4).sample([node])
        torch.testing.assert_close(model(blocks, x[blocks[0].src_nodes])[0], answers[0][node])


def test_a_scope_as_deep_as_the_model_gives_the_exact_answer():
    """Full fanouts for as many hops as layers reach all that a message passing model can see."""
    graph = random_graph()
    torch.manual_seed(0)
    x = torch.randn(60, 5)
    model = build_model(ModelConfig(conv="sage", d_in=5, d_hidden=7, d_out=3, num_layers=2))
    shadow = ShaDowSampler(graph, 2, [-1, -1]).sample(np.arange(60))
    full = FullNeighborSampler(graph, 2).sample(np.arange(60))
    torch.testing.assert_close(
        model(shadow, x[shadow[0].src_nodes]), model(full, x[full[0].src_nodes])
    )


def test_seeds_draw_different_scopes():
    graph = random_graph(num_edges=2000)
    sampler = ShaDowSampler(graph, 2, [3, 3], seed=1)
    scopes = [sampler.sample([5], seed)[0].src_nodes.tolist() for seed in (None, 1, 2)]
    assert scopes[0] == scopes[1] != scopes[2]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: induced_block(g, np.array([60])), "seed 60 is not a node"),
        (lambda g: induced_block(g, np.array([1, 2, 1])), "twice; give distinct nodes"),
        (lambda g: ShaDowSampler(g, 0, [1]), "num_layers is 0"),
        (lambda g: ShaDowSampler(g, 1, [-2]), "fanouts"),
        (lambda g: ShaDowSampler(g, 1, [1]).sample([-1]), "seed -1"),
    ],
)
def test_bad_requests_get_one_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call(random_graph())
