"""The graph at rest: order of edges, rows, blocks, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from sampling import Graph, NodeType
from sampling.errors import InputError

settings.register_profile("graph", max_examples=50, deadline=None)
settings.load_profile("graph")


@given(edge_lists(), st.randoms(use_true_random=False))
def test_the_order_of_edges_changes_nothing(edges, random):
    order = list(range(len(edges.src)))
    random.shuffle(order)
    kinds, times = edges.src % 3, edges.dst.astype(np.int64) * 7
    weights = (edges.src % 2).astype(np.float32)
    graphs = [
        Graph.from_edges(
            edges.src[o], edges.dst[o], num_nodes=edges.num_nodes, edge_type=kinds[o],
            edge_time=times[o], edge_weight=weights[o], edge_types=("a", "b", "c"),
        )
        for o in (np.arange(len(order)), np.array(order, np.int64))
    ]  # fmt: skip
    for name in ("indptr", "indices", "edge_type", "edge_time", "edge_weight"):
        first, second = (getattr(graph, name) for graph in graphs)
        assert first.dtype == second.dtype
        assert first.tobytes() == second.tobytes()


def test_zero_weights_of_either_sign_are_one_weight():
    a = Graph.from_edges([1, 1], [0, 0], num_nodes=2, edge_weight=[0.0, -0.0])
    b = Graph.from_edges([1, 1], [0, 0], num_nodes=2, edge_weight=[-0.0, 0.0])
    assert a.edge_weight.tobytes() == b.edge_weight.tobytes()


@given(edge_lists())
def test_every_edge_is_in_its_row(edges):
    graph = edges.graph()
    rows = [[] for _ in range(edges.num_nodes)]
    for s, d in zip(edges.src.tolist(), edges.dst.tolist(), strict=True):
        rows[d].append(s)
    assert [graph.in_neighbors(v).tolist() for v in range(edges.num_nodes)] == [
        sorted(row) for row in rows
    ]


@given(edge_lists(), st.data())
def test_tiles_together_are_the_whole_block(edges, data):
    graph = edges.graph()
    cut = data.draw(st.integers(0, edges.num_nodes))
    whole, parts = graph.block(), (graph.block(0, cut), graph.block(cut))
    assert torch.equal(torch.cat([p.indices for p in parts]), whole.indices)
    assert torch.equal(torch.cat([p.in_degrees() for p in parts]), whole.in_degrees())
    assert torch.equal(torch.cat([p.dst_nodes for p in parts]), whole.dst_nodes)
    assert torch.equal(whole.src_degrees(), whole.in_degrees())


def test_tensors_and_arrays_of_both_widths_make_one_graph():
    src, dst = [2, 0, 1], [0, 1, 1]
    graphs = [
        Graph.from_edges(make(src), make(dst))
        for make in (
            list,
            lambda v: np.array(v, np.int32),
            lambda v: torch.tensor(v),
            lambda v: torch.tensor(v, dtype=torch.int32),
        )
    ]
    assert len({(g.indptr.tobytes(), g.indices.tobytes(), g.indices.dtype) for g in graphs}) == 1


def test_a_graph_without_edges_or_nodes_is_a_graph():
    assert Graph.from_edges([], [], num_nodes=4).in_degrees().tolist() == [0, 0, 0, 0]
    empty = Graph.from_edges([], [])
    assert (empty.num_nodes, empty.num_edges) == (0, 0)
    assert empty.node_types == (NodeType("node", 0, 0),)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0, 1], [0]), "src has 2 entries and dst has 1"),
        (([0, 5], [0, 1], 3), "names node 5, but nodes run from 0 to 2"),
        (([0, -1], [0, 1], 3), "names node -1"),
        (([0.5], [1]), "one-dimensional integer array, got float64"),
        (([[0]], [[1]]), "with shape"),
        ((np.array([2**63], np.uint64), np.array([0], np.uint64)), "9223372036854775808"),
        (([0], [0], 1, [1, 2]), "edge_type has shape"),
        (([0], [0], 1, [-1]), "edge_type holds codes"),
        (([0], [0], 1, None, [np.nan]), r"edge_weight\[0\] is nan"),
    ],
)
def test_bad_edges_get_one_sentence(arguments, words):
    names = ("num_nodes", "edge_type", "edge_weight")
    options = dict(zip(names, arguments[2:], strict=False))
    with pytest.raises(InputError, match=words):
        Graph.from_edges(arguments[0], arguments[1], **options)


@pytest.mark.parametrize("num_nodes", [2**40, 2**45, None])
def test_more_nodes_than_memory_holds_are_refused_in_words(num_nodes):
    src = np.array([0, 2**40 - 1 if num_nodes is None else 1])
    with pytest.raises(InputError, match=r"offsets of \d+ nodes take \d+ GiB"):
        Graph.from_edges(src, src, num_nodes=num_nodes)
