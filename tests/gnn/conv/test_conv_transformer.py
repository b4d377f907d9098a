"""Graph transformer: dot products of queries with keys, edge features in both."""

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

from gnn import edges as edges_module
from gnn.conv.transformer import TransformerConv
from sampling.errors import InputError

CASES = [(1, 0), (3, 0), (2, 4), (3, 4)]


def conv_of(heads: int = 3, d_edge: int = 4, **options: float) -> TransformerConv:
    torch.manual_seed(0)
    return randomized(TransformerConv(5, 6, heads, d_edge, **options))


def naive(conv, block, x):
    out = []
    for v in range(block.num_dst):
        edges = in_edges(block, v)
        keys = [conv.key(x[u]) for _, u in edges]
        values = [conv.value(x[u]) for _, u in edges]
        if conv.d_edge:
            known = [conv.edge(block.edge_features[e].to(x.dtype)) for e, _ in edges]
            keys = [a + b for a, b in zip(keys, known, strict=True)]
            values = [a + b for a, b in zip(values, known, strict=True)]
        row = conv.skip(x[v])
        if edges:
            query = conv.query(x[v]).view(conv.heads, -1)
            per_head = torch.stack(keys).view(len(edges), *query.shape)
            logits = (per_head * query).sum(2) / query.shape[1] ** 0.5
            shares = torch.softmax(logits, dim=0)[:, :, None]
            row = row + (shares * torch.stack(values).view_as(per_head)).sum(0).flatten()
        out.append(row)
    return torch.stack(out)


@pytest.mark.parametrize(("heads", "d_edge"), CASES)
def test_transformer_equals_pyg(pyg, heads, d_edge):
    ours, block = conv_of(heads, d_edge), some_world(d_edge=d_edge).block()
    theirs = pyg.TransformerConv(5, 6 // heads, heads, edge_dim=d_edge or None)
    for name in ("query", "key", "value", "skip", *(["edge"] if d_edge else [])):
        getattr(theirs, f"lin_{name}").load_state_dict(getattr(ours, name).state_dict())
    x = rows_for(block.num_src, 5, torch.float32)
    expected = theirs(x, edge_index(block), block.edge_features)
    torch.testing.assert_close(ours(block, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("piece", [1, 1 << 24])
@pytest.mark.parametrize(("heads", "d_edge"), CASES)
def test_rows_and_gradients_are_those_of_a_loop(monkeypatch, heads, d_edge, piece):
    monkeypatch.setattr(edges_module, "PIECE_ENTRIES", piece)
    assert_equals_naive(conv_of(heads, d_edge), naive, some_world(d_edge=d_edge), 5)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=12, d_edge=4), 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges, d_edge=4), 5)


def test_one_thread_and_four_give_the_same_bits():
    block = some_world(num_nodes=500, num_edges=20_000, d_edge=4).block()

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


def test_coefficients_are_dropped_in_training_only():
    conv, block = conv_of(attention_dropout=0.5), some_world(d_edge=4).block()
    x = rows_for(block.num_src, 5, torch.float32)
    exact = conv(block, x)
    assert torch.equal(conv(block, x), exact)
    assert not torch.equal(conv.train()(block, x), exact)


def test_edge_features_of_another_width_are_refused():
    with pytest.raises(InputError, match="width 4; the edges here have none"):
        conv_of()(some_world().block(), rows_for(30, 5, torch.float32))
