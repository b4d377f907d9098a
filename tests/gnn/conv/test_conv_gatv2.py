"""GATv2: the query can change which neighbor weighs most."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
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

from gnn import edges as edges_module
from gnn.conv.gatv2 import GATv2Conv

CASES = [(1, True), (3, True), (2, False)]


def conv_of(heads: int = 3, concat: bool = True, **options: float) -> GATv2Conv:
    torch.manual_seed(0)
    return randomized(GATv2Conv(5, 6, heads=heads, concat=concat, **options))


def naive(conv, block, x):
    sources = conv.source(x).view(len(x), conv.heads, -1)
    queries = conv.destination(x).view(len(x), conv.heads, -1)
    out = []
    for v in range(block.num_dst):
        among = [u for _, u in in_edges(block, v) if u != v] + [v]
        sums = torch.stack([sources[u] + queries[v] for u in among])
        shares = torch.softmax((F.leaky_relu(sums, conv.slope) * conv.attention).sum(2), dim=0)
        received = (shares[:, :, None] * sources[among]).sum(0)
        out.append(received.flatten() if conv.concat else received.mean(0))
    return torch.stack(out) + conv.bias


@pytest.mark.parametrize(("heads", "concat"), CASES)
def test_gatv2_equals_pyg(pyg, heads, concat):
    ours, block = conv_of(heads, concat), some_world().block()
    theirs = pyg.GATv2Conv(5, 6 // heads if concat else 6, heads=heads, concat=concat)
    theirs.load_state_dict({
        "lin_l.weight": ours.source.weight,
        "lin_l.bias": ours.source.bias,
        "lin_r.weight": ours.destination.weight,
        "lin_r.bias": ours.destination.bias,
        "att": ours.attention[None],
        "bias": ours.bias,
    })  # fmt: skip
    x = rows_for(block.num_src, 5, torch.float32)
    torch.testing.assert_close(ours(block, x), theirs(x, edge_index(block)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("heads", "concat"), CASES)
def test_rows_and_gradients_are_those_of_a_loop(heads, concat):
    assert_equals_naive(conv_of(heads, concat), naive, some_world(), 5)


def test_many_pieces_give_what_one_gives(monkeypatch):
    monkeypatch.setattr(edges_module, "PIECE_ENTRIES", 1)
    assert_equals_naive(conv_of(), naive, some_world(), 5)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=12), 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges), 5)


def test_coefficients_are_dropped_in_training_only():
    conv, block = conv_of(attention_dropout=0.5), some_world().block()
    x = rows_for(block.num_src, 5, torch.float32)
    exact = conv(block, x)
    assert torch.equal(conv(block, x), exact)
    assert not torch.equal(conv.train()(block, x), exact)
