"""R-GCN: a mean and a matrix for every relation."""

from __future__ import annotations

import pytest
import torch
from conv_checks import (
    assert_derivative,
    assert_equals_naive,
    assert_invariant,
    edge_index,
    edges_of,
    randomized,
    rows_for,
    some_world,
    world_of,
)
from hypothesis import given, settings
from strategies import edge_lists

from gnn.conv.rgcn import RGCNConv
from sampling.errors import InputError

RELATIONS = 4


def conv_of(num_bases: int | None = None) -> RGCNConv:
    torch.manual_seed(0)
    return randomized(RGCNConv(5, 6, RELATIONS, num_bases))


def naive(conv, block, x):
    weight = conv.weight
    if conv.coefficients is not None:
        weight = torch.stack([
            sum(a * basis for a, basis in zip(row, conv.weight, strict=True))
            for row in conv.coefficients
        ])  # fmt: skip
    received = {}
    for e, u, v in edges_of(block):
        received.setdefault((v, int(block.edge_type[e])), []).append(x[u])
    out = list(conv.own(x))
    for (v, r), rows in received.items():
        out[v] = out[v] + torch.stack(rows).mean(0) @ weight[r]
    return torch.stack(out)


@pytest.mark.parametrize("num_bases", [None, 2])
def test_rgcn_equals_pyg(pyg, num_bases):
    ours, block = conv_of(num_bases), some_world(num_relations=RELATIONS).block()
    theirs = pyg.RGCNConv(5, 6, RELATIONS, num_bases=num_bases)
    weights = {"weight": ours.weight, "root": ours.own.weight.T, "bias": ours.own.bias}
    theirs.load_state_dict(weights | ({"comp": ours.coefficients} if num_bases else {}))
    x = rows_for(block.num_src, 5, torch.float32)
    torch.testing.assert_close(
        ours(block, x), theirs(x, edge_index(block), block.edge_type.long()), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("num_bases", [None, 2])
def test_rows_and_gradients_are_those_of_a_loop(num_bases):
    assert_equals_naive(conv_of(num_bases), naive, some_world(num_relations=RELATIONS), 5)


def test_derivative_is_that_of_finite_differences():
    world = some_world(num_nodes=6, num_edges=12, num_relations=RELATIONS)
    assert_derivative(conv_of(), world, 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges, num_relations=RELATIONS), 5)


def test_a_graph_of_one_edge_type_has_the_first_relation():
    world, x = some_world(), rows_for(30, 5, torch.float32)
    typed = some_world(num_relations=2)
    typed.arrays["edge_type"][:] = 0
    torch.testing.assert_close(conv_of()(world.block(), x), conv_of()(typed.block(), x))


def test_a_relation_that_the_model_does_not_know_is_refused():
    block = some_world(num_relations=RELATIONS + 1).block()
    with pytest.raises(InputError, match="run from 0 to 4; this model knows 4 edge types"):
        conv_of()(block, rows_for(30, 5, torch.float32))
    with pytest.raises(InputError, match="num_relations is 0"):
        RGCNConv(5, 6, 0)
    with pytest.raises(InputError, match="num_bases is 0"):
        RGCNConv(5, 6, 3, num_bases=0)
