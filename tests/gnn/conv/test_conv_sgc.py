"""SGC: propagation and nothing else."""

from __future__ import annotations

import torch
from conv_checks import (
    assert_derivative,
    assert_equals_naive,
    assert_invariant,
    edge_index,
    edges_of,
    rows_for,
    some_world,
    without_self_edges,
    world_of,
)
from hypothesis import given, settings
from strategies import edge_lists

from gnn.aggregate import aggregate
from gnn.conv.gcn import GCNConv
from gnn.conv.sgc import SGCConv
from sampling import NeighborSampler


def naive(conv, block, x):
    root = (block.in_degrees() + 1).double().rsqrt()
    out = [x[v] * root[v] ** 2 for v in range(block.num_dst)]
    for _, u, v in edges_of(block):
        out[v] = out[v] + x[u] * root[u] * root[v]
    return torch.stack(out)


def test_three_layers_equal_pyg(pyg):
    block = without_self_edges(some_world()).block()
    x, ours = rows_for(30, 5, torch.float32), SGCConv(5)
    theirs = pyg.SGConv(5, 5, K=3, bias=False)
    theirs.lin.load_state_dict({"weight": torch.eye(5)})
    got = ours(block, ours(block, ours(block, x)))
    torch.testing.assert_close(got, theirs(x, edge_index(block)), rtol=1e-5, atol=1e-5)


def test_it_is_gcn_with_the_identity_for_weights():
    gcn = GCNConv(5, 5)
    gcn.linear.load_state_dict({"weight": torch.eye(5)})
    block, x = some_world().block(), rows_for(30, 5, torch.float32)
    torch.testing.assert_close(SGCConv(5)(block, x), gcn(block, x))


def test_rows_and_gradients_are_those_of_a_loop():
    assert_equals_naive(SGCConv(5), naive, some_world(), 5)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(SGCConv(5), some_world(num_nodes=6, num_edges=12), 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(SGCConv(5), world_of(edges), 5)


def test_a_reduced_hop_gives_what_its_edges_give():
    conv, world = SGCConv(5), some_world()
    x = rows_for(30, 5, torch.float32)
    (block,) = NeighborSampler(world.graph(), [3]).sample(torch.arange(20))
    rows = x[block.src_nodes]
    drawn = aggregate(block, conv.messages(rows, block.sources), "sum")
    torch.testing.assert_close(
        conv.combine_received(block, block.dst_rows(rows), drawn), conv(block, rows)
    )
