"""A hop reduced while it is drawn is the hop drawn, gathered and reduced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays, edge_lists

from gnn import aggregate
from sampling import FeatureTable, Graph, InputReduction, NeighborSampler, ReducedNeighborSampler
from sampling.errors import InputError


@given(edge_lists(), st.sampled_from([[3, 2], [-1, 1, 2], [4]]), st.integers(0, 2**40))
def test_the_same_edges_are_drawn_and_reduced(edges, fanouts, seed):
    graph = Graph.from_edges(edges.src, edges.dst, num_nodes=edges.num_nodes)
    table = FeatureTable.from_rows(arrays(seed, (edges.num_nodes, 5)))
    sampler = NeighborSampler(graph, fanouts, num_threads=2)
    reduced = ReducedNeighborSampler(sampler, table, InputReduction("mean"))
    seeds = np.arange(edges.num_nodes)
    plain, fused = sampler.sample(seeds, seed), reduced.sample(seeds, seed)
    first = aggregate(plain[0], table.gather(plain[0].src_nodes), "mean")
    assert torch.equal(fused[0].received, first)
    assert torch.equal(fused[0].indptr, plain[0].indptr)
    assert torch.equal(fused[0].src_nodes, plain[0].dst_nodes)
    for a, b in zip(plain[1:], fused[1:], strict=True):
        assert torch.equal(a.src_nodes, b.src_nodes) and torch.equal(a.indices, b.indices)


def test_weights_of_nodes_are_factors_of_their_rows():
    graph = Graph.from_edges([1, 2, 0], [0, 0, 1], num_nodes=3)
    table = FeatureTable.from_rows(np.array([[1.0], [10.0], [100.0]], np.float32))
    weight = np.array([5.0, 2.0, 3.0], np.float32)
    every = NeighborSampler(graph, [-1])
    [block] = ReducedNeighborSampler(every, table, InputReduction("sum", weight)).sample([0, 1, 2])
    assert block.received.tolist() == [[320.0], [5.0], [0.0]]
    assert block.num_edges == 3 and block.num_src == block.num_dst == 3


@pytest.mark.parametrize(("rows", "weights"), [(2, 3), (3, 4)])
def test_another_number_of_rows_or_weights_is_refused(rows, weights):
    graph = Graph.from_edges([1, 2, 0], [0, 0, 1], num_nodes=3)
    table = FeatureTable.from_rows(np.zeros((rows, 2), np.float32))
    reduction = InputReduction("sum", np.ones(weights, np.float32))
    with pytest.raises(InputError, match="the graph has 3 nodes"):
        ReducedNeighborSampler(NeighborSampler(graph, [1]), table, reduction)
