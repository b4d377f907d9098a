"""GIN: a sum of neighbors under a perceptron."""

from __future__ import annotations

import pytest
import torch
from conv_checks import (
    assert_derivative,
    assert_equals_naive,
    assert_invariant,
    edge_index,
    in_edges,
    randomized,
    rows_for,
    some_world,
    world_of,
)
from hypothesis import given, settings
from strategies import edge_lists
from torch import nn

from gnn.aggregate import aggregate
from gnn.conv.gin import GINConv
from sampling import Block, NeighborSampler
from sampling.errors import InputError


def conv_of(**options: object) -> GINConv:
    torch.manual_seed(0)
    return randomized(GINConv(5, 6, **{"train_eps": True, "d_mlp": 7, **options}))


def naive(conv, block, x):
    rows = [
        (1 + conv.eps) * x[v] + sum((x[u] for _, u in in_edges(block, v)), torch.zeros_like(x[v]))
        for v in range(block.num_dst)
    ]
    h = conv.mlp.first(torch.stack(rows))
    if conv.mlp.norm is not None:
        norm = conv.mlp.norm
        h = (h - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    return conv.mlp.last(h.relu())


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_gin_equals_pyg(pyg, norm):
    ours, block = conv_of(norm=norm), some_world().block()
    mlp = ours.mlp
    layers = [mlp.first, nn.Identity() if mlp.norm is None else mlp.norm, nn.ReLU(), mlp.last]
    theirs = pyg.GINConv(nn.Sequential(*layers), eps=0.0)
    theirs.eps.copy_(ours.eps.detach())
    x = rows_for(block.num_src, 5, torch.float32)
    for training in (False, True):
        ours.train(training)
        torch.testing.assert_close(
            ours(block, x), theirs(x, edge_index(block)), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_rows_and_gradients_are_those_of_a_loop(norm):
    assert_equals_naive(conv_of(norm=norm), naive, some_world(), 5)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=12), 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges), 5)


def test_a_reduced_hop_gives_what_its_edges_give():
    conv, world = conv_of(), some_world()
    x = rows_for(world.num_nodes, 5, torch.float32)
    (block,) = NeighborSampler(world.graph(), [3]).sample(torch.arange(20))
    rows = x[block.src_nodes]
    drawn = aggregate(block, rows, "sum")
    torch.testing.assert_close(
        conv.combine_received(block, block.dst_rows(rows), drawn), conv(block, rows)
    )


def test_epsilon_is_learned_only_when_asked():
    assert not GINConv(5, 6).eps.requires_grad
    assert GINConv(5, 6, train_eps=True).eps.requires_grad


def test_one_row_trains_with_the_running_statistics():
    conv = conv_of().train()
    block = Block(torch.tensor([0]), torch.tensor([0, 0]), torch.zeros(0, dtype=torch.int32))
    x = rows_for(1, 5, torch.float32)
    torch.testing.assert_close(conv(block, x), conv.eval()(block, x))


def test_an_unknown_norm_is_refused():
    with pytest.raises(InputError, match="norm is 'layer'"):
        GINConv(5, 6, norm="layer")
