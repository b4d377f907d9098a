"""Random graphs that a model can read: every kind of model is certified without a graph."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from gnn import certify
from gnn.architecture import data_schema
from gnn.conv.sage import SAGEConv
from gnn.convs import CONVS
from gnn.identity import graph_fingerprint
from gnn.model_config import InputType
from gnn.random_data import random_data
from gnn.recipes import RECIPES
from sampling import Dataset, Graph, GraphCollection, NodeType

GRAPH_CONVS = sorted(set(CONVS) - {"identity"})


def typed() -> Dataset:
    """Two node types, three edge types, weights, times, edge features and positions."""
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(
        *rng.integers(0, 40, (2, 300)),
        num_nodes=40,
        edge_type=rng.integers(0, 3, 300),
        edge_weight=rng.random(300),
        edge_time=rng.integers(0, 5000, 300),
        edge_features=rng.standard_normal((300, 2)),
        node_types=(NodeType("user", 0, 25), NodeType("item", 25, 40)),
        edge_types=("buys", "likes", "sees"),
    )
    rows, places = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
    return Dataset.in_memory(graph, features=rows.astype("f4"), positions=places.astype("f4"))


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_every_convolution_is_certified_on_a_random_graph(conv, make_model):
    config = {**RECIPES[conv].model, "conv": conv, **data_schema(typed(), conv), "d_hidden": 8}
    found = certify(make_model(**config), renumberings=1)
    assert found.passed, found.errors
    assert found.random_graph
    assert found.num_edges > 1000
    assert ("rotation" in found.errors) == (conv == "egnn")


@pytest.mark.parametrize("conv", GRAPH_CONVS)
def test_every_convolution_of_graphs_is_certified_on_random_graphs(conv, make_model):
    parts = [Dataset.in_memory(typed().graph, features=np.ones((40, 5), "f4"),
                               positions=np.ones((40, 3), "f4"))]  # fmt: skip
    schema = data_schema(GraphCollection.from_graphs(parts), conv)
    config = {**RECIPES[conv].model, **schema, "conv": conv, "d_hidden": 8}
    model = make_model(**config | {"readout": "sum", "head": "linear", "jumping": "none"})
    found = certify(model, renumberings=1)
    assert found.passed, found.errors
    _, data = random_data(model)
    assert data.num_graphs > 10
    assert (data.sizes() == 1).any()


@pytest.mark.parametrize("aggregator", ["mean", "weighted", "gcn"])
def test_weights_are_made_for_those_who_read_them(aggregator, make_model):
    _, data = random_data(make_model(aggregator=aggregator))
    assert (data.graph.edge_weight is not None) == (aggregator == "weighted")
    assert certify(make_model(aggregator=aggregator), renumberings=1).passed


def test_codes_lie_within_their_cardinalities(make_model):
    model = make_model(
        conv="gine", encoder="categorical", cardinalities=(3, 1, 9), d_in=3, d_edge=2,
        edge_cardinalities=(2, 5), readout="mean",
    )  # fmt: skip
    _, data = random_data(model)
    codes, bonds = data.nodes.features.array, data.nodes.graph.edge_features
    assert codes.max(axis=0).tolist() == [2, 0, 8]
    assert bonds.max(axis=0).tolist() == [1, 4]
    assert certify(model, renumberings=1).passed


def test_features_are_in_the_units_of_training(make_model):
    model = make_model(input_norm="column")
    model.columns.mean.fill_(1e6)
    model.columns.deviation.fill_(10.0)
    _, data = random_data(model)
    rows = data.features.rows(0, data.features.num_rows)
    assert rows.mean().item() == pytest.approx(1e6, abs=5)
    assert rows.std().item() == pytest.approx(10, rel=0.2)


def test_of_many_embeddings_of_nodes_some_are_taken(make_model):
    ends = [0, 5000, 5001, 9001]
    types = tuple(
        InputType(name=f"t{i}", start=a, end=b, d_in=2 if i == 1 else 0)
        for i, (a, b) in enumerate(pairwise(ends))
    )
    model = make_model(encoder="typed", input_types=types, conv="rgcn", num_relations=3)
    own, data = random_data(model)
    assert 100 < data.graph.num_nodes < 300
    rows = model.encoder.maps[0].weight
    assert all((rows == row).all(dim=1).any() for row in own.encoder.maps[0].weight[:9])
    assert certify(model, renumberings=1).passed
    learned = (InputType(name="all", start=0, end=9001, d_in=0),)
    model = make_model(encoder="typed", input_types=learned, d_in=0)
    assert random_data(model)[1].features is None
    assert certify(model, renumberings=1).passed


def test_the_seed_decides_and_torch_is_left_alone(make_model):
    model, state = make_model(), torch.get_rng_state()
    first, again, other = (graph_fingerprint(random_data(model, s)[1]) for s in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_looks_at_the_numbers_of_nodes_fails(make_model, monkeypatch):
    plain = SAGEConv.combine

    def combine(self, block, x, messages):
        place = torch.arange(block.num_dst, dtype=x.dtype)
        return plain(self, block, x, messages) + (place % 2)[:, None]

    monkeypatch.setattr(SAGEConv, "combine", combine)
    assert not certify(make_model()).passed
    assert not certify(make_model(readout="attention")).passed
