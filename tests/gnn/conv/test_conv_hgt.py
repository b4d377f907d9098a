"""HGT: weights per node type and per relation, one softmax over all of them."""

from __future__ import annotations

from itertools import product

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

from gnn.conv.hgt import HGTConv
from sampling.errors import InputError

TYPES, RELATIONS = 3, 4
OPTIONS = {"num_relations": RELATIONS, "num_types": TYPES}


def conv_of(heads: int = 3, d_out: int = 6, **options: float) -> HGTConv:
    torch.manual_seed(0)
    return randomized(HGTConv(6, d_out, TYPES, RELATIONS, heads, **options))


def naive(conv, block, x):
    types, heads = block.sources.types().tolist(), conv.heads

    def mapped(linear, row, kind):
        return row @ linear.weight[kind] + linear.bias[kind]

    out = []
    for v in range(block.num_dst):
        query = mapped(conv.query, x[v], types[v]).view(heads, -1)
        logits, values = [], []
        for e, u in in_edges(block, v):
            r = int(block.edge_type[e])
            key = mapped(conv.key, x[u], types[u]).view(heads, 1, -1) @ conv.relation_key[r]
            value = mapped(conv.value, x[u], types[u]).view(heads, 1, -1) @ conv.relation_value[r]
            logits.append((key[:, 0] * query).sum(1) * conv.prior[r] / query.shape[1] ** 0.5)
            values.append(value[:, 0])
        received = torch.zeros_like(query)
        if logits:
            shares = torch.softmax(torch.stack(logits), dim=0)[:, :, None]
            received = (shares * torch.stack(values)).sum(0)
        row = mapped(conv.update, torch.nn.functional.gelu(received.flatten()), types[v])
        if conv.gate is not None:
            share = torch.sigmoid(conv.gate[types[v]])
            row = share * row + (1 - share) * x[v]
        if not isinstance(conv.norm, torch.nn.Identity):
            centered = row - row.mean()
            row = centered / (centered.square().mean() + conv.norm.eps).sqrt()
            row = row * conv.norm.weight + conv.norm.bias
        out.append(row)
    return torch.stack(out)


@pytest.mark.parametrize("d_out", [6, 12])
def test_hgt_equals_pyg(pyg, d_out):
    world = some_world(num_relations=4, num_types=2)
    world.arrays["edge_type"] = 2 * (world.src >= world.starts[1]) + (world.dst >= world.starts[1])
    torch.manual_seed(0)
    ours, block = randomized(HGTConv(6, d_out, 2, 4, heads=3)), world.block()
    relations = [("ab"[i], "to", "ab"[j]) for i, j in product(range(2), repeat=2)]
    theirs = pyg.HGTConv(6, d_out, (["a", "b"], relations), heads=3)
    copy_weights(ours, theirs, relations)
    x = rows_for(30, 6, torch.float32)
    start = {"a": 0, "b": world.starts[1]}
    edges = {
        (a, name, b): edge_index(block)[:, block.edge_type == r]
        - torch.tensor([[start[a]], [start[b]]])
        for r, (a, name, b) in enumerate(relations)
    }
    expected = theirs({"a": x[: start["b"]], "b": x[start["b"] :]}, edges)
    torch.testing.assert_close(
        ours(block, x), torch.cat([expected["a"], expected["b"]]), rtol=1e-5, atol=1e-5
    )


def copy_weights(ours, theirs, relations):
    with torch.no_grad():
        for i, name in enumerate("ab"):
            kqv = theirs.kqv_lin.lins[name]
            linears = (ours.key, ours.query, ours.value)
            kqv.weight.copy_(torch.cat([linear.weight[i].T for linear in linears]))
            kqv.bias.copy_(torch.cat([linear.bias[i] for linear in linears]))
            theirs.out_lin.lins[name].weight.copy_(ours.update.weight[i].T)
            theirs.out_lin.lins[name].bias.copy_(ours.update.bias[i])
            if ours.gate is not None:
                theirs.skip[name].copy_(ours.gate[i : i + 1])
        theirs.k_rel.weight.copy_(ours.relation_key.transpose(0, 1).flatten(0, 1))
        theirs.v_rel.weight.copy_(ours.relation_value.transpose(0, 1).flatten(0, 1))
        for r, relation in enumerate(relations):
            theirs.p_rel["__".join(relation)].copy_(ours.prior[r : r + 1])


@pytest.mark.parametrize("normalizes", [False, True])
@pytest.mark.parametrize(("heads", "d_out"), [(1, 6), (3, 6), (2, 4)])
def test_rows_and_gradients_are_those_of_a_loop(heads, d_out, normalizes):
    conv = conv_of(heads, d_out, normalizes=normalizes)
    assert_equals_naive(conv, naive, some_world(**OPTIONS), 6)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=12, **OPTIONS), 6)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges, **OPTIONS), 6)


def test_types_that_the_model_does_not_know_are_refused():
    x = rows_for(30, 6, torch.float32)
    with pytest.raises(InputError, match="this model knows 4 edge types"):
        conv_of()(some_world(num_relations=RELATIONS + 1, num_types=TYPES).block(), x)
    with pytest.raises(InputError, match="node of type 4; this model knows 3 node types"):
        conv_of()(some_world(num_relations=RELATIONS, num_types=5).block(), x)
    with pytest.raises(InputError, match="num_types is 0"):
        HGTConv(6, 6, 0, 1)
    with pytest.raises(InputError, match="num_relations is 0"):
        HGTConv(6, 6, 1, 0)
