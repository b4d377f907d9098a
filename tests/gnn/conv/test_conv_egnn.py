"""EGNN: coordinates move along with rotations, reflections and translations; features stay."""

from __future__ import annotations

import dgl
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
    without_self_edges,
    world_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from gnn import edges as edges_module
from gnn.conv.egnn import EGNNConv
from sampling.errors import InputError

WIDTH, D_EDGE = 4 + 3, 2


def conv_of(last: bool = False, d_edge: int = D_EDGE) -> EGNNConv:
    torch.manual_seed(0)
    return randomized(EGNNConv(WIDTH, 6, d_edge, last))


def naive(conv, block, x):
    h, p, rows = x[:, :4], x[:, 4:], []
    for v in range(block.num_dst):
        received, steps = torch.zeros(6, dtype=x.dtype), [torch.zeros(3, dtype=x.dtype)]
        for e, u in in_edges(block, v):
            away = p[v] - p[u]
            known = block.edge_features[e].to(x.dtype)
            message = conv.message(torch.cat([h[u], h[v], away.square().sum()[None], known]))
            received = received + message
            if not conv.last:
                steps.append(away / away.norm() * conv.step(message) if u != v else 0 * away)
        new = conv.update(torch.cat([h[v], received]))
        moved = p[v] + sum(steps) / max(len(steps) - 1, 1)
        rows.append(new if conv.last else torch.cat([new, moved]))
    return torch.stack(rows)


def test_egnn_equals_dgl():
    """DGL's step is along p_u - p_v, the paper's along p_v - p_u."""
    ours, block = conv_of(), without_self_edges(some_world(d_edge=D_EDGE)).block()
    theirs = dgl.nn.EGNNConv(4, 6, 6, D_EDGE)
    theirs.edge_mlp.load_state_dict(ours.message.state_dict())
    theirs.node_mlp.load_state_dict(ours.update.state_dict())
    theirs.coord_mlp.load_state_dict(ours.step.state_dict())
    with torch.no_grad():
        theirs.coord_mlp[2].weight.neg_()
    x = rows_for(30, WIDTH, torch.float32)
    graph = dgl.graph(tuple(edge_index(block)), num_nodes=30)
    expected = torch.cat(theirs(graph, x[:, :4], x[:, 4:], block.edge_features), dim=1)
    torch.testing.assert_close(ours(block, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("piece", [1, 1 << 24])
@pytest.mark.parametrize("last", [False, True])
def test_rows_and_gradients_are_those_of_a_loop(monkeypatch, last, piece):
    monkeypatch.setattr(edges_module, "PIECE_ENTRIES", piece)
    assert_equals_naive(conv_of(last), naive, some_world(d_edge=D_EDGE), WIDTH)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=10, d_edge=D_EDGE), WIDTH)


@settings(max_examples=20, deadline=None)
@given(edge_lists(), st.booleans())
def test_numbering_tiles_and_full_samples_change_no_row(edges, last):
    assert_invariant(conv_of(last), world_of(edges, d_edge=D_EDGE), WIDTH)


@settings(max_examples=20, deadline=None)
@given(edge_lists(), st.integers(0, 2**32 - 1), st.booleans())
def test_rigid_motions_move_the_coordinates_and_change_no_feature(edges, seed, reflects):
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    if (torch.linalg.det(turn) < 0) != reflects:
        turn = -turn
    shift = torch.randn(3, generator=generator, dtype=torch.float64)

    def moved(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([rows[:, :-3], rows[:, -3:] @ turn + shift], dim=1)

    block = world_of(edges, d_edge=D_EDGE).block()
    x = rows_for(edges.num_nodes, WIDTH)
    first, last = conv_of().double(), EGNNConv(9, 5, D_EDGE, last=True).double()
    with torch.no_grad():
        h = first(block, x)
        torch.testing.assert_close(first(block, moved(x)), moved(h), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(last(block, moved(h)), last(block, h), rtol=1e-9, atol=1e-9)
        first, last = first.float(), last.float()
        torch.testing.assert_close(
            last(block, first(block, moved(x).float())), last(block, h.float()),
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


def test_nodes_in_the_same_place_have_finite_gradients():
    conv, block = conv_of(), some_world(d_edge=D_EDGE).block()
    x = torch.ones(30, WIDTH, requires_grad=True)
    conv(block, x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_rows_without_room_for_coordinates_are_refused():
    with pytest.raises(InputError, match="rows of 3 columns"):
        EGNNConv(3, 6)
