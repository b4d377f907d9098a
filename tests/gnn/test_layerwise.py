"""Layers as passes over the whole graph equal the model on one block, in any storage type."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnn import ModelConfig, aggregate, build_model
from gnn.layerwise import Passes, infer
from gnn.storage import empty_rows
from sampling import Block, Dataset, FeatureTable, Graph, NodeView
from sampling.errors import InputError
from sampling.graph.features import STORAGE_TYPES

KINDS = [("gcn", "mean"), *(("sage", how) for how in ("mean", "sum", "max", "gcn"))]
BOUNDS = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2, "int8": 6e-2}
"""Largest error of three layers, in parts of the largest value of the output."""


def skewed_data(num_nodes: int, num_edges: int, width: int, storage: str = "float32") -> Dataset:
    """A few sources send most of the messages; some nodes have no edges."""
    rng = np.random.default_rng(0)
    src = (rng.random(num_edges) ** 3 * num_nodes).astype(np.int64)
    dst = (rng.random(num_edges) ** 2 * (num_nodes - 5)).astype(np.int64)
    x = rng.normal(size=(num_nodes, width)).astype(np.float32)
    graph = Graph.from_edges(src, dst, num_nodes=num_nodes)
    return Dataset.in_memory(graph, features=FeatureTable.from_rows(x, storage))


def model_for(data: Dataset, **changes):
    torch.manual_seed(0)
    settings = {"d_in": data.features.dim, "d_hidden": 32, "d_out": 3, "num_layers": 3} | changes
    model = build_model(ModelConfig(**settings))
    if model.columns is not None:
        model.columns.fit(data.features)
    return model


def in_float64(model, data: Dataset) -> Tensor:
    """The same model on one block, all of it in double precision."""
    x = data.features.rows(0, data.graph.num_nodes).double()
    double = build_model(model.config).double()
    double.load_state_dict(model.state_dict())
    with torch.no_grad():
        return double.encode([data.graph.block()] * model.num_layers, x)


@pytest.mark.parametrize("storage", STORAGE_TYPES)
@pytest.mark.parametrize(("conv", "aggregator"), KINDS)
def test_every_storage_agrees_with_double_precision(conv, aggregator, storage):
    data = skewed_data(3000, 60_000, 48)
    model = model_for(data, conv=conv, aggregator=aggregator)
    nodes = np.random.default_rng(1).choice(3000, 1000, replace=False)
    expected = in_float64(model, data)
    error = (infer(model, data, storage)[nodes] - expected[nodes]).abs().max()
    assert error <= BOUNDS[storage] * expected.abs().max()


@pytest.mark.parametrize(("conv", "aggregator"), KINDS)
@pytest.mark.parametrize("width", [5, 100])
def test_what_follows_a_convolution_is_kept(conv, aggregator, width):
    for norm, added, input_norm, stored, storage in product(
        ("none", "layer"), ({}, {"residual": True}, {"residual_map": True}, {"norm_first": True}),
        ("none", "row", "column"), ("float32", "int8"), STORAGE_TYPES,
    ):  # fmt: skip
        if norm == "none" and "norm_first" in added:
            continue
        data = skewed_data(70, 400, width, stored)
        model = model_for(
            data, conv=conv, aggregator=aggregator, norm=norm, input_norm=input_norm, **added
        )  # fmt: skip
        expected = in_float64(model, data)
        error = (infer(model, data, storage) - expected).abs().max()
        assert error <= BOUNDS[storage] * expected.abs().max()


@pytest.mark.parametrize("storage", STORAGE_TYPES)
def test_rows_do_not_depend_on_threads_or_tiles(storage, monkeypatch):
    data = skewed_data(500, 9000, 20)
    model, before = model_for(data), torch.get_num_threads()
    rows = []
    for threads, step in ((1, 500), (4, 500), (3, 37)):
        monkeypatch.setattr("gnn.layerwise.tile_rows_for", lambda _, step=step: step)
        torch.set_num_threads(threads)
        rows.append(infer(model, data, storage))
    torch.set_num_threads(before)
    assert all(torch.equal(rows[0], other) for other in rows)


def transforms_first(data: Dataset, d_hidden: int, storage: str = "float32") -> bool:
    passes = Passes.of(model_for(data, d_hidden=d_hidden, num_layers=1), data, storage)
    return passes.sends(0)


def test_products_go_first_where_that_moves_fewer_bytes():
    dense, sparse = skewed_data(50, 2000, 128), skewed_data(50, 40, 128)
    assert transforms_first(dense, 64)
    assert not transforms_first(sparse, 64), "one row per node is written, hardly any is read"
    assert not transforms_first(dense, 128)
    compact = skewed_data(50, 2000, 128, "int8")
    assert not transforms_first(compact, 64), "64 float32 are more bytes than 128 int8"
    assert transforms_first(compact, 64, "int8")


class Squares(nn.Module):
    """A convolution of a kind that has no linear form."""

    def __init__(self, d_in: int, d_out: int, sends_input: bool) -> None:
        super().__init__()
        self.linear, self.sends_input = nn.Linear(d_in, d_out), sends_input
        self.d_out, self.activates = d_out, True

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        return x if self.sends_input else x.float() ** 2 + nodes.degrees()[:, None]

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        received: Tensor = aggregate(block, messages, "mean")
        return self.linear(received + x_dst.float())


@pytest.mark.parametrize("sends_input", [False, True])
@pytest.mark.parametrize("storage", STORAGE_TYPES)
@pytest.mark.parametrize("stored", ["float32", "int8"])
def test_other_convolutions_run_as_they_are(storage, stored, sends_input):
    data = skewed_data(200, 1500, 12, stored)
    model = model_for(data, d_hidden=12)
    model.convs[1] = Squares(12, 12, sends_input)
    first = model_for(data, d_hidden=12)
    first.convs[0] = Squares(12, 12, sends_input)
    for changed in (model, first):
        x = data.features.rows(0, 200)
        expected = changed.encode([data.graph.block()] * 3, x).detach()
        error = (infer(changed, data, storage) - expected).abs().max()
        assert error <= 2 * BOUNDS[storage] * expected.abs().max()


def test_a_tile_at_a_time_is_the_whole():
    data = skewed_data(100, 900, 30)
    model = model_for(data, num_layers=1)
    passes = Passes.of(model, data, "float32")
    whole = empty_rows(100, 32, "float32")
    passes.rows(0, passes.features, passes.features, 0, whole)
    tile = empty_rows(7, 32, "float32")
    passes.rows(0, passes.features, passes.features, 60, tile)
    np.testing.assert_array_equal(tile.array, whole.array[60:67])


def test_no_edges_and_one_node_are_graphs_too():
    for n in (1, 3):
        empty = np.empty(0, np.int64)
        graph = Graph.from_edges(empty, empty, num_nodes=n)
        data = Dataset.in_memory(graph, features=np.ones((n, 4), np.float32))
        for conv, storage in product(("sage", "gcn"), STORAGE_TYPES):
            model = model_for(data, conv=conv)
            error = infer(model, data, storage) - in_float64(model, data)
            assert error.abs().max() <= 0.03


def test_rows_between_layers_that_do_not_fit_are_named():
    data = skewed_data(100, 900, 4)
    huge = replace(data, features=FeatureTable.from_rows(data.features.array * 1e7))
    with pytest.raises(InputError, match=r"rows of dense node .* do not fit float16"):
        infer(model_for(huge), huge, "float16")
