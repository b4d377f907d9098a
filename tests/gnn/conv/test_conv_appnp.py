"""APPNP: propagation that returns to the prediction."""

from __future__ import annotations

import pytest
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

from gnn.conv.appnp import APPNPConv
from sampling.errors import InputError

ENDS = [(True, True), (True, False), (False, False), (False, True)]


def width_in(conv: APPNPConv) -> int:
    return 4 if conv.first else 8


def naive(conv, block, x):
    root = (block.in_degrees() + 1).double().rsqrt()
    z, h = x[:, :4], x[:, -4:]
    out = [z[v] * root[v] ** 2 for v in range(block.num_dst)]
    for _, u, v in edges_of(block):
        out[v] = out[v] + z[u] * root[u] * root[v]
    new = (1 - conv.alpha) * torch.stack(out) + conv.alpha * h
    return new if conv.last else torch.cat([new, h], dim=1)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_stack_equals_pyg(pyg, steps):
    block = without_self_edges(some_world()).block()
    h = rows_for(30, 4, torch.float32)
    rows = h
    for k in range(steps):
        rows = APPNPConv(4, 0.2, first=k == 0, last=k == steps - 1)(block, rows)
    expected = pyg.APPNP(steps, 0.2)(h, edge_index(block))
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("first", "last"), ENDS)
def test_rows_and_gradients_are_those_of_a_loop(first, last):
    conv = APPNPConv(4, 0.2, first, last)
    assert_equals_naive(conv, naive, some_world(), width_in(conv))


@pytest.mark.parametrize(("first", "last"), ENDS)
def test_derivative_is_that_of_finite_differences(first, last):
    conv = APPNPConv(4, 0.2, first, last)
    assert_derivative(conv, some_world(num_nodes=6, num_edges=12), width_in(conv))


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    for first, last in ENDS:
        conv = APPNPConv(4, 0.2, first, last)
        assert_invariant(conv, world_of(edges), width_in(conv))


def test_a_share_outside_of_0_and_1_is_refused():
    with pytest.raises(InputError, match=r"alpha is 1\.5"):
        APPNPConv(4, 1.5)
