"""PNA: several aggregators, each at several scales of the degree."""

from __future__ import annotations

import math

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

from gnn.conv.pna import AGGREGATORS, SCALERS, PNAConv
from sampling.errors import InputError

CASES = [(AGGREGATORS, SCALERS), (("std", "min"), ("attenuation",)), (("max",), ("identity",))]


def conv_of(aggregators=AGGREGATORS, scalers=SCALERS, delta: float = 1.3) -> PNAConv:
    torch.manual_seed(0)
    return randomized(PNAConv(5, 6, delta, aggregators, scalers))


def naive(conv, block, x):
    out = []
    for v in range(block.num_dst):
        sources = [u for _, u in in_edges(block, v)]
        sent = torch.stack([conv.own(x[v]) + conv.neighbors(x[u]) for u in sources or [v]])
        parts = []
        for name in conv.aggregators:
            if not sources:
                parts.append(torch.zeros(5, dtype=x.dtype))
            elif name == "std":
                variance = sent.var(dim=0, correction=0)
                parts.append(torch.where(variance > 1e-5, variance, 1.0).sqrt() * (variance > 1e-5))
            else:
                parts.append(getattr(sent, {"max": "amax", "min": "amin"}.get(name, name))(0))
        log = math.log(max(len(sources), 1) + 1) / conv.mean_log_degree
        factors = {"identity": 1.0, "amplification": log, "attenuation": 1 / log}
        scaled = [torch.cat(parts) * factors[name] for name in conv.scalers]
        out.append(conv.update(torch.cat([x[v], *scaled])))
    return torch.stack(out)


@pytest.mark.parametrize(("aggregators", "scalers"), CASES)
def test_pna_equals_pyg(pyg, aggregators, scalers):
    block = some_world().block()
    histogram = torch.bincount(block.in_degrees())
    logs = (torch.arange(len(histogram)) + 1).log()
    delta = float((logs * histogram).sum() / histogram.sum())
    ours = conv_of(aggregators, scalers, delta)
    theirs = pyg.PNAConv(5, 6, list(aggregators), list(scalers), histogram)
    theirs.load_state_dict({
        **{k: v for k, v in theirs.state_dict().items() if "aggr" in k},
        "pre_nns.0.0.weight": torch.cat([ours.own.weight, ours.neighbors.weight], dim=1),
        "pre_nns.0.0.bias": ours.own.bias,
        "post_nns.0.0.weight": ours.update.weight,
        "post_nns.0.0.bias": ours.update.bias,
        "lin.weight": torch.eye(6),
        "lin.bias": torch.zeros(6),
    })  # fmt: skip
    x = rows_for(block.num_src, 5, torch.float32)
    torch.testing.assert_close(ours(block, x), theirs(x, edge_index(block)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("aggregators", "scalers"), CASES)
def test_rows_and_gradients_are_those_of_a_loop(aggregators, scalers):
    world = some_world(num_edges=60)
    assert_equals_naive(conv_of(aggregators, scalers), naive, world, 5)


def test_derivative_is_that_of_finite_differences():
    assert_derivative(conv_of(), some_world(num_nodes=6, num_edges=12), 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(), world_of(edges), 5)


def test_what_is_no_aggregator_scaler_or_mean_is_refused():
    with pytest.raises(InputError, match="'median' is no aggregator"):
        PNAConv(5, 6, 1.0, aggregators=("mean", "median"))
    with pytest.raises(InputError, match="there is no scaler"):
        PNAConv(5, 6, 1.0, scalers=())
    with pytest.raises(InputError, match="mean_log_degree is 0"):
        PNAConv(5, 6, 0.0)
    with pytest.raises(InputError, match="mean_log_degree is nan"):
        PNAConv(5, 6, math.nan)
