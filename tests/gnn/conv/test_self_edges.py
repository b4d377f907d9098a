"""Self edges: exactly one per destination, in tiles too."""

from __future__ import annotations

import pytest
import torch
from conv_checks import edge_index, some_world, world_of
from hypothesis import given, settings
from strategies import edge_lists

from gnn.conv.self_edges import with_self_edges
from sampling.errors import InputError


@settings(max_examples=30, deadline=None)
@given(edge_lists())
def test_every_destination_has_one_self_edge_and_keeps_the_others_in_order(edges):
    block = world_of(edges).block()
    src, dst = edge_index(block).tolist()
    got_src, got_dst = edge_index(with_self_edges(block)).tolist()
    others = [pair for pair in zip(src, dst, strict=True) if pair[0] != pair[1]]
    got = list(zip(got_src, got_dst, strict=True))
    assert [pair for pair in got if pair[0] != pair[1]] == others
    assert [pair for pair in got if pair[0] == pair[1]] == [(v, v) for v in range(block.num_dst)]


def test_self_edges_have_the_mean_of_the_features_that_a_node_receives():
    world = some_world(d_edge=2)
    world.arrays["edge_weight"] = world.arrays["edge_features"][:, 0]
    block = world.graph().block(4, 30)
    looped = with_self_edges(block)
    own = looped.indptr[1:] - 1
    assert torch.equal(looped.indices[own], torch.arange(4, 30, dtype=torch.int32))
    assert torch.equal(looped.edge_weight[own], torch.ones(26))
    src, dst = edge_index(block)
    for v in range(26):
        received = block.edge_features[(dst == v) & (src != v + 4)]
        mean = received.mean(0) if len(received) else torch.zeros(2)
        torch.testing.assert_close(looped.edge_features[own[v]], mean)
    assert not with_self_edges(block, "zeros").edge_features[own].any()


def test_an_unknown_fill_is_refused():
    with pytest.raises(InputError, match="fill is 'median'"):
        with_self_edges(some_world().block(), "median")
