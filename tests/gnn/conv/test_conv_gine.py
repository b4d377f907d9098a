"""GINE: edge features inside of the sum."""

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

from gnn import edges as edges_module
from gnn.conv.gin import GINConv
from gnn.conv.gine import GINEConv
from sampling import NeighborSampler
from sampling.errors import InputError

D_EDGE = 3


def conv_of(**options: object) -> GINEConv:
    torch.manual_seed(0)
    return randomized(GINEConv(5, 6, D_EDGE, **{"train_eps": True, "norm": "none", **options}))


def naive(conv, block, x):
    features, out = block.edge_features.to(x.dtype), []
    for v in range(block.num_dst):
        sent = [(x[u] + conv.edge_encoder(features[e])).relu() for e, u in in_edges(block, v)]
        out.append((1 + conv.eps) * x[v] + sum(sent, torch.zeros_like(x[v])))
    return conv.mlp.last(conv.mlp.first(torch.stack(out)).relu())


def test_gine_equals_pyg(pyg):
    ours, block = conv_of(), some_world(d_edge=D_EDGE).block()
    weights = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    layers = (ours.mlp.first, nn.ReLU(), ours.mlp.last)
    theirs = pyg.GINEConv(nn.Sequential(*layers), edge_dim=D_EDGE)
    ours.load_state_dict(weights)  # their constructor draws new ones
    theirs.lin.load_state_dict(ours.edge_encoder.state_dict())
    theirs.eps.copy_(ours.eps.detach())
    x = rows_for(block.num_src, 5, torch.float32)
    torch.testing.assert_close(
        ours(block, x), theirs(x, edge_index(block), block.edge_features), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("piece", [1, 1 << 24])
def test_rows_and_gradients_are_those_of_a_loop_in_one_piece_or_many(monkeypatch, piece):
    monkeypatch.setattr(edges_module, "PIECE_ENTRIES", piece)
    assert_equals_naive(conv_of(), naive, some_world(d_edge=D_EDGE), 5)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=12, d_edge=D_EDGE), 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges, d_edge=D_EDGE), 5)


def test_one_thread_and_four_give_the_same_bits():
    block = some_world(num_nodes=500, num_edges=20_000, d_edge=D_EDGE).block()

    def results(num_threads: int) -> list[torch.Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        x = rows_for(500, 5, torch.float32).requires_grad_()
        out = conv_of()(block, x)
        (grad,) = torch.autograd.grad(out.square().sum(), x)
        torch.set_num_threads(before)
        return [out, grad]

    for one, four in zip(results(1), results(4), strict=True):
        assert torch.equal(one, four)


class Categories(nn.Module):
    """Embeds the first feature as a category."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.table(features[:, 0].long())


def test_an_encoder_of_categories_replaces_the_linear_map():
    world = some_world(d_edge=1)
    world.arrays["edge_features"][:] = torch.arange(150).remainder(4)[:, None].numpy()
    conv = GINEConv(5, 6, 1, edge_encoder=Categories(), norm="none").eval()
    block, x = world.block(), rows_for(30, 5, torch.float32)
    v = int(torch.argmax(block.in_degrees()))
    codes = block.edge_features[:, 0].long()
    received = sum(
        (x[u] + conv.edge_encoder.table.weight[codes[e]]).relu() for e, u in in_edges(block, v)
    )
    torch.testing.assert_close(conv(block, x)[v], conv.mlp(x[v] + received))


def test_without_edge_features_messages_are_rectified_rows():
    conv, block = GINEConv(5, 6, 0, norm="none").eval(), some_world().block()
    plain = GINConv(5, 6, norm="none").eval()
    plain.mlp.load_state_dict(conv.mlp.state_dict())
    x = rows_for(30, 5, torch.float32).abs()
    torch.testing.assert_close(conv(block, x), plain(block, x))


def test_samples_estimate_the_sum_of_the_whole_neighborhood():
    world, conv = some_world(num_edges=400, d_edge=D_EDGE), conv_of()
    conv.mlp = nn.Identity()
    x = rows_for(30, 5, torch.float32)
    exact = conv(world.block(), x)
    sampler, seeds = NeighborSampler(world.graph(), [4]), torch.arange(30)
    with torch.no_grad():
        draws = torch.stack([
            conv(block, x[block.src_nodes])
            for (block,) in (sampler.sample(seeds, seed=s) for s in range(200))
        ])  # fmt: skip
    assert ((draws.mean(0) - exact).abs() <= 5 * draws.std(0) / 200**0.5 + 1e-5).all()


def test_edge_features_of_another_width_are_refused():
    x = rows_for(30, 5, torch.float32)
    with pytest.raises(InputError, match="width 3; the edges here have none"):
        conv_of()(some_world().block(), x)
    with pytest.raises(InputError, match="width 3; the edges here have 2"):
        conv_of()(some_world(d_edge=2).block(), x)
