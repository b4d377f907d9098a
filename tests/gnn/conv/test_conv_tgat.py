"""TGAT: attention that reads how long ago an edge was."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conv_checks import (
    assert_derivative,
    assert_equals_naive,
    assert_invariant,
    in_edges,
    randomized,
    rows_for,
    some_world,
    world_of,
)
from hypothesis import given, settings
from strategies import edge_lists

from gnn.conv.tgat import TGATConv
from sampling import TemporalNeighborSampler
from sampling.errors import InputError

CASES = [(1, 0), (3, 0), (2, 4)]


def conv_of(heads: int = 3, d_edge: int = 0, **options: float) -> TGATConv:
    torch.manual_seed(0)
    return randomized(TGATConv(5, 6, heads, 7, d_edge, time_scale=10.0, **options))


def naive(conv, block, x):
    def encoded(age: float) -> torch.Tensor:
        return torch.cos(math.log1p(age / conv.time_scale) * conv.frequencies + conv.phases)

    out = []
    for v in range(block.num_dst):
        edges, attended = in_edges(block, v), torch.zeros(6, dtype=x.dtype)
        if edges:
            times = [int(block.edge_time[e]) for e, _ in edges]
            now = max(times) + 1 if block.dst_times is None else int(block.dst_times[v])
            seen = [encoded(now - time) for time in times]
            if conv.d_edge:
                known = block.edge_features.to(x.dtype)
                seen = [torch.cat([z, known[e]]) for z, (e, _) in zip(seen, edges, strict=True)]
            pairs = list(zip(seen, edges, strict=True))
            keys = torch.stack([conv.key(x[u]) + conv.edge_key(z) for z, (_, u) in pairs])
            values = torch.stack([conv.value(x[u]) + conv.edge_value(z) for z, (_, u) in pairs])
            query = conv.query(torch.cat([x[v], encoded(0)])).view(conv.heads, -1)
            logits = (keys.view(len(edges), *query.shape) * query).sum(2) / query.shape[1] ** 0.5
            shares = torch.softmax(logits, dim=0)[:, :, None]
            attended = (shares * values.view(len(edges), *query.shape)).sum(0).flatten()
        out.append(conv.update(torch.cat([attended, x[v]])))
    return torch.stack(out)


@pytest.mark.parametrize(("heads", "d_edge"), CASES)
def test_rows_and_gradients_are_those_of_a_loop(heads, d_edge):
    assert_equals_naive(conv_of(heads, d_edge), naive, some_world(times=True, d_edge=d_edge), 5)


def test_derivative_is_that_of_finite_differences():
    world = some_world(num_nodes=6, num_edges=12, times=True, d_edge=2)
    assert_derivative(conv_of(d_edge=2), world, 5)


@settings(max_examples=20, deadline=None)
@given(edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges):
    assert_invariant(conv_of(d_edge=2), world_of(edges, times=True, d_edge=2), 5)


def test_only_differences_of_times_count():
    world, x = some_world(times=True), rows_for(30, 5, torch.float32)
    before = conv_of()(world.block(), x)
    world.arrays["edge_time"] += 1_700_000_000_000
    torch.testing.assert_close(conv_of()(world.block(), x), before)


def test_a_later_prediction_sees_older_edges():
    block, x = some_world(times=True).block(), rows_for(30, 5)
    conv = conv_of().double()
    rows = []
    for now in (51, 80):
        asked = replace(block, dst_times=torch.full((30,), now))
        rows.append(conv(asked, x))
        torch.testing.assert_close(rows[-1], naive(conv, asked, x))
    has_edges = block.in_degrees() > 1
    changed = (rows[0] != rows[1])[has_edges].any(dim=1)
    assert changed.float().mean() > 0.8  # a row whose hidden units are all off sees no time


def test_sampled_histories_are_those_before_the_time_asked_for():
    world = some_world(times=True)
    seeds, times = torch.arange(30), torch.full((30,), 25)
    batch = TemporalNeighborSampler(world.graph(), [100]).sample(seeds, times)
    x = rows_for(30, 5)
    (block,) = batch.blocks
    conv = conv_of().double()
    got = conv(replace(block, dst_times=times), x[block.src_nodes])
    keep = world.arrays["edge_time"] < 25
    past = replace(
        world,
        src=world.src[keep],
        dst=world.dst[keep],
        arrays={"edge_time": world.arrays["edge_time"][keep]},
    )
    torch.testing.assert_close(got, conv(replace(past.block(), dst_times=times), x))


def test_edges_without_times_and_a_scale_of_zero_are_refused():
    with pytest.raises(InputError, match="reads edge times"):
        conv_of()(some_world().block(), rows_for(30, 5, torch.float32))
    with pytest.raises(InputError, match="time_scale is 0"):
        TGATConv(5, 6, time_scale=0)
