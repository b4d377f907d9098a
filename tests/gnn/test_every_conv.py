"""Every convolution inside a model: one forward pass, however a graph is cut into Blocks."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from gnn import build_model, load_model, save_model, train
from gnn.architecture import architecture_for
from gnn.convs import CONVS
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.model import GNN
from gnn.model_config import CARRYING, UNFOLLOWED
from gnn.recipes import Recipe, recipe_for
from gnn.train_config import TrainConfig
from sampling import Dataset, FullNeighborSampler, Graph, NodeType
from sampling.errors import InputError

NODES, EDGES = 70, 400


def typed_data(features: bool = True, order: np.ndarray | None = None) -> Dataset:
    """Two node types, three edge types, weights, times, features of edges, and positions."""
    rng = np.random.default_rng(1)
    src, dst = rng.integers(0, NODES, (2, EDGES))
    number = np.arange(NODES) if order is None else order  # new number of every old node
    back = np.argsort(number)
    graph = Graph.from_edges(
        number[src],
        number[dst],
        num_nodes=NODES,
        edge_type=rng.integers(0, 3, EDGES),
        edge_time=rng.permutation(EDGES),
        edge_features=rng.normal(size=(EDGES, 2)).astype(np.float32),
        node_types=(NodeType("a", 0, 30), NodeType("b", 30, NODES)),
    )
    rows = rng.normal(size=(NODES, 5)).astype(np.float32)
    positions = rng.normal(size=(NODES, 3)).astype(np.float32)
    return Dataset.in_memory(
        graph,
        features=rows[back] if features else None,
        positions=positions[back],
        labels=rng.integers(0, 3, NODES)[back],
        splits=rng.choice([1, 2, 3], NODES).astype(np.uint8)[back],
    )


def model_of(conv: str, data: Dataset, **chosen) -> GNN:
    torch.manual_seed(0)
    layers = 3 if "num_layers" not in chosen else chosen.pop("num_layers")
    recipe = recipe_for(conv, data, layers)
    recipe = Recipe({**recipe.model, "d_hidden": 16, "heads": 2}, recipe.train)
    return build_model(architecture_for("node-classification", data, recipe, chosen))


def whole(model: GNN, data: Dataset) -> torch.Tensor:
    data = with_inputs(data, model.config)
    x = data.features.rows(0, data.graph.num_nodes)
    with torch.no_grad():
        return model.encode([data.graph.block()] * model.num_layers, x)


def answers(model: GNN, data: Dataset) -> torch.Tensor:
    with torch.no_grad():
        return model.head(whole(model, data))


INPUTS = [(conv, "features") for conv in sorted(CONVS)]
# positions stand beside features, so egnn has no learned input
INPUTS += [(conv, "learned") for conv in sorted(CONVS.keys() - {"egnn"})]


@pytest.mark.parametrize(("conv", "inputs"), INPUTS)
def test_tiles_of_a_whole_graph_give_what_the_whole_graph_gives(conv, inputs, monkeypatch):
    data = typed_data(inputs == "features")
    jumps = [] if conv in CARRYING else [{"jumping": "cat"}, {"jumping": "max"}]
    norm = {} if conv in UNFOLLOWED and conv != "hgt" else {"norm": "layer"}
    first = {} if conv in UNFOLLOWED else {"norm": "batch", "norm_first": True, "residual": True}
    for chosen in ({}, *jumps, {"head": "mlp", **norm}, first):
        model = model_of(conv, data, **chosen)
        expected = whole(model, data)
        assert expected.shape == (NODES, model.d_embedding)
        for step in (NODES, 23):
            monkeypatch.setattr("gnn.layerwise.tile_rows_for", lambda _, step=step: step)
            rows = infer(model, with_inputs(data, model.config))
            assert (rows - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max())


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_what_would_not_follow_a_convolution_is_refused(conv):
    data = typed_data()
    assert model_of(conv, data).conv(0).activates == (conv not in UNFOLLOWED)
    for chosen in ({"residual": True}, {"residual_map": True}, {"activation": "elu"},
                   {"norm": "batch"}, {"norm_first": True, "norm": "layer"}):  # fmt: skip
        refused = pytest.raises(InputError, match=f"{next(iter(chosen))} is .* leave it out")
        with refused if conv in UNFOLLOWED else nullcontext():
            model_of(conv, data, **chosen)


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_aggregators_are_of_sage(conv):
    data = typed_data()
    model_of(conv, data, aggregator="mean")
    refused = pytest.raises(InputError, match=f"aggregator is 'gcn', .* model is {conv}; leave it")
    with refused if conv != "sage" else nullcontext():
        model_of(conv, data, aggregator="gcn")


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_all_neighbors_of_some_seeds_give_their_rows_of_the_whole_graph(conv):
    data = typed_data()
    model = model_of(conv, data)
    expected, inputs = whole(model, data), with_inputs(data, model.config)
    seeds = torch.tensor([5, 60, 31, 0])
    blocks = FullNeighborSampler(data.graph, model.num_layers).sample(seeds)
    with torch.no_grad():
        rows = model.encode(blocks, inputs.features.gather(blocks[0].src_nodes))
    assert (rows - expected[seeds]).abs().max() <= 1e-5 * max(1.0, expected.abs().max())


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_renumbered_nodes_have_the_same_answers(conv):
    rng = np.random.default_rng(3)
    order = np.concatenate([rng.permutation(30), 30 + rng.permutation(NODES - 30)])
    data, other = typed_data(), typed_data(order=order)
    model = model_of(conv, data)
    expected, rows = whole(model, data), whole(model, other)
    error = (rows[torch.from_numpy(order)] - expected).abs().max()
    assert error <= 1e-5 * max(1.0, expected.abs().max())


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_a_model_trains_is_written_and_reads_back_equal(conv, tmp_path):
    data = typed_data()
    model = model_of(conv, data, num_layers=2)
    config = TrainConfig(epochs=2, batch_size=16, fanouts=(4, 4), lr=0.01)
    before = answers(model, data)
    reports = list(train(model, data, config))
    assert all(np.isfinite(report.loss) for report in reports)
    after = answers(model, data)
    assert not torch.equal(before, after)
    path = save_model(tmp_path / "m", model, data, config, {})
    assert torch.equal(answers(load_model(path).model, data), after)


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_training_twice_gives_the_same_bits(conv):
    data = typed_data()
    rows = []
    for _ in range(2):
        model = model_of(conv, data, num_layers=2)
        list(train(model, data, TrainConfig(epochs=2, batch_size=16, fanouts=(4, 4))))
        rows.append(answers(model, data))
    assert torch.equal(*rows)
