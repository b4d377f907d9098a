"""GraphSAGE by edge weight, and with one map; other reductions have twins in `tests/gnn`."""

from __future__ import annotations

import numpy as np
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

from gnn import ModelConfig, TrainConfig, build_model, train
from gnn.aggregate import aggregate
from gnn.architecture import architecture_for
from gnn.conv.sage import SAGEConv
from gnn.errors import SchemaMismatchError, TrainingError
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.recipes import recipe_for
from sampling import Dataset, NeighborSampler


def conv_of(d_out: int = 6, aggregator: str = "weighted") -> SAGEConv:
    torch.manual_seed(0)
    return randomized(SAGEConv(5, d_out, aggregator))


def naive(conv, block, x):
    rows = []
    for v in range(block.num_dst):
        weights = [(block.edge_weight[e].to(x.dtype), x[u]) for e, u in in_edges(block, v)]
        total = sum((w.abs() for w, _ in weights), torch.zeros((), dtype=x.dtype))
        mean = sum((w * row for w, row in weights), torch.zeros_like(x[v]))
        rows.append(mean / (total if total > 0 else 1))
    received = torch.stack(rows)
    return x[: block.num_dst] @ conv.own.weight.T + conv.own.bias + conv.neighbors(received)


def naive_gcn(conv, block, x):
    joined = [[x[v], *(x[u] for _, u in in_edges(block, v))] for v in range(block.num_dst)]
    means = torch.stack([torch.stack(rows).mean(0) for rows in joined])
    return means @ conv.neighbors.weight.T + conv.neighbors.bias


NAIVE = {"weighted": naive, "gcn": naive_gcn}


@pytest.mark.parametrize("aggregator", NAIVE)
@pytest.mark.parametrize("d_out", [3, 6])
def test_rows_and_gradients_are_those_of_a_loop(d_out, aggregator):
    conv = conv_of(d_out, aggregator)
    assert_equals_naive(conv, NAIVE[aggregator], some_world(weights=True), 5)


@pytest.mark.parametrize("aggregator", NAIVE)
@pytest.mark.parametrize("d_out", [3, 6])
def test_derivative_is_that_of_finite_differences(d_out, aggregator):
    conv = conv_of(d_out, aggregator)
    assert_derivative(conv, some_world(num_nodes=6, num_edges=12, weights=True), 5)


@pytest.mark.parametrize("aggregator", NAIVE)
@pytest.mark.parametrize("d_out", [3, 6])
@settings(max_examples=20, deadline=None)
@given(edges=edge_lists())
def test_numbering_tiles_and_full_samples_change_no_row(edges, d_out, aggregator):
    assert_invariant(conv_of(d_out, aggregator), world_of(edges, weights=True), 5)


def test_one_map_has_no_weights_that_nothing_reads():
    assert set(conv_of(aggregator="gcn").state_dict()) == {"neighbors.weight", "neighbors.bias"}


@pytest.mark.parametrize("d_out", [3, 6])
@pytest.mark.parametrize("aggregator", ["mean", "sum", "gcn"])
def test_a_reduced_hop_gives_what_its_edges_give(aggregator, d_out):
    conv, world = conv_of(d_out, aggregator), some_world()
    x = rows_for(world.num_nodes, 5, torch.float32)
    (block,) = NeighborSampler(world.graph(), [3]).sample(torch.arange(world.num_nodes))
    rows = x[block.src_nodes]
    drawn = aggregate(block, rows, conv.linear_reduction)
    torch.testing.assert_close(
        conv.combine_received(block, block.dst_rows(rows), drawn), conv(block, rows)
    )


def test_equal_weights_and_none_are_the_mean():
    world, plain = some_world(weights=True), some_world()
    world.arrays["edge_weight"][:] = 3.0
    x, mean = rows_for(30, 5, torch.float32), SAGEConv(5, 6)
    mean.load_state_dict(conv_of().state_dict())
    for block in (world.block(), plain.block()):
        torch.testing.assert_close(conv_of()(block, x), mean(block, x))


def weighted_data() -> Dataset:
    world = some_world(num_nodes=60, num_edges=400, weights=True)
    x = rows_for(60, 5, torch.float32).numpy()
    return Dataset.in_memory(world.graph(), features=x, labels=np.arange(60) % 2)


def test_whole_graphs_are_embedded_as_they_are_forwarded_and_weights_matter():
    data = weighted_data()
    torch.manual_seed(0)
    model = build_model(ModelConfig(d_in=5, d_hidden=4, d_out=2, aggregator="weighted"))
    list(train(model, data, TrainConfig(epochs=2, fanouts=(3, 3))))
    x = data.features.tensor()
    with torch.no_grad():
        whole = model.encode([data.graph.block()] * 2, x)
        torch.testing.assert_close(infer(model, data), whole, rtol=1e-5, atol=1e-5)
        model.convs[0].aggregator = "mean"
        assert not torch.allclose(model.encode([data.graph.block()] * 2, x), whole)


def test_a_graph_without_weights_is_refused():
    data = Dataset.in_memory(some_world().graph(), features=np.ones((30, 5), np.float32),
                             labels=np.arange(30) % 2)  # fmt: skip
    chosen = {"aggregator": "weighted"}
    with pytest.raises(TrainingError, match="choose mean, or ingest the edges with --weight"):
        architecture_for("node-classification", data, recipe_for("sage", data), chosen)
    config = ModelConfig(d_in=5, d_hidden=4, d_out=2, aggregator="weighted")
    with pytest.raises(SchemaMismatchError, match="with weights"):
        with_inputs(data, config)
