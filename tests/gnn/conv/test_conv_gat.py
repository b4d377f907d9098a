"""GAT: a node attends to its neighbors and once to itself."""

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

from gnn.conv.gat import GATConv
from sampling.errors import InputError

CASES = [(1, True), (3, True), (2, False)]


def conv_of(heads: int = 3, concat: bool = True, **options: float) -> GATConv:
    torch.manual_seed(0)
    return randomized(GATConv(5, 6, heads=heads, concat=concat, **options))


def naive(conv, block, x):
    rows = conv.linear(x).view(len(x), conv.heads, -1)
    out = []
    for v in range(block.num_dst):
        sources = [u for _, u in in_edges(block, v) if u != v] + [v]
        logits = [
            (rows[u] * conv.src_attention + rows[v] * conv.dst_attention).sum(1) for u in sources
        ]
        shares = torch.softmax(F.leaky_relu(torch.stack(logits), conv.slope), dim=0)
        received = sum(share[:, None] * rows[u] for share, u in zip(shares, sources, strict=True))
        out.append(received.flatten() if conv.concat else received.mean(0))
    return torch.stack(out) + conv.bias


@pytest.mark.parametrize(("heads", "concat"), CASES)
def test_gat_equals_pyg(pyg, heads, concat):
    ours, block = conv_of(heads, concat), some_world().block()
    theirs = pyg.GATConv(5, 6 // heads if concat else 6, heads=heads, concat=concat)
    theirs.load_state_dict({
        "lin.weight": ours.linear.weight,
        "att_src": ours.src_attention[None],
        "att_dst": ours.dst_attention[None],
        "bias": ours.bias,
    })  # fmt: skip
    x = rows_for(block.num_src, 5, torch.float32)
    torch.testing.assert_close(ours(block, x), theirs(x, edge_index(block)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("heads", "concat"), CASES)
def test_rows_and_gradients_are_those_of_a_loop(heads, concat):
    assert_equals_naive(conv_of(heads, concat), naive, some_world(), 5)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=12), 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges), 5)


def test_a_node_without_edges_attends_to_itself_alone():
    conv, block = conv_of(), some_world().block()
    x = rows_for(block.num_src, 5, torch.float32)
    expected = conv.linear(x[-2:]) + conv.bias
    torch.testing.assert_close(conv(block, x)[-2:], expected)


@pytest.mark.parametrize("what", ["attention_dropout", "message_dropout"])
def test_what_is_dropped_in_training_keeps_its_mean(what):
    conv, block = conv_of(**{what: 0.5}), some_world().block()
    x = rows_for(block.num_src, 5, torch.float32)
    with torch.no_grad():
        exact = conv(block, x)
        assert torch.equal(conv(block, x), exact)
        conv.train()
        torch.manual_seed(0)
        first = conv(block, x)
        draws = torch.stack([first, *(conv(block, x) for _ in range(400))])
        torch.manual_seed(0)
        assert torch.equal(conv(block, x), first)
    error = (draws.mean(0) - exact).abs()
    assert (draws.std(0) > 0).any()
    assert (error <= 6 * draws.std(0) / 400**0.5 + 1e-4).all()


def test_heads_that_do_not_divide_the_columns_are_refused():
    with pytest.raises(InputError, match="4 heads do not divide 6 columns"):
        GATConv(5, 6, heads=4)
    with pytest.raises(InputError, match="heads is 0"):
        GATConv(5, 6, heads=0)
