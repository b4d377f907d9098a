"""Every convolution inside a model does not see how nodes, edges and graphs are numbered.

f(PX, PAPᵀ) = P f(X, A) for models of nodes; models of graphs give each graph the same row in a
batch of any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import EdgeList, edge_lists

from gnn import build_model
from gnn.architecture import data_schema
from gnn.convs import CONVS
from gnn.inputs import with_inputs
from gnn.model import GNN, ModelConfig
from gnn.recipes import RECIPES
from gnn.renumbering import shuffled_within
from sampling import Dataset, Graph, GraphCollection, NodeType

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}
seeds = st.integers(0, 2**32 - 1)
every_conv = pytest.mark.parametrize("conv", sorted(CONVS))
every_type = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


@dataclass(frozen=True)
class World:
    """A graph with all that edges and nodes can carry, under numbers and in an order to choose."""

    edges: EdgeList
    seed: int
    types: tuple[NodeType, ...] = ()

    def data(self, order: NDArray[np.int64] | None = None) -> Dataset:
        """With node `order[i]` as node i, and edges in another order where one is given."""
        random, size = np.random.default_rng(self.seed), len(self.edges.src)
        carried: dict[str, Any] = {
            "edge_type": random.integers(0, 3, size),
            "edge_time": random.integers(0, 9, size),
            "edge_weight": random.uniform(0.5, 1.5, size).astype(np.float32),
            "edge_features": random.normal(size=(size, 2)).astype(np.float32),
        }
        rows = random.normal(size=(self.edges.num_nodes, 4)).astype(np.float32)
        places = random.normal(size=(self.edges.num_nodes, 3)).astype(np.float32)
        place, new = np.arange(size), np.arange(self.edges.num_nodes)
        if order is not None:
            place, new = random.permutation(size), np.argsort(order)
            rows, places = rows[order], places[order]
        about = {"node_types": self.types} if self.types else {}
        graph = Graph.from_edges(
            new[self.edges.src][place],
            new[self.edges.dst][place],
            num_nodes=self.edges.num_nodes,
            edge_types=("a", "b", "c"),
            **about,
            **{name: array[place] for name, array in carried.items()},
        )
        return Dataset.in_memory(graph, features=rows, positions=places)


def model_of(conv: str, data: Dataset | GraphCollection, dtype: torch.dtype, **chosen: Any) -> GNN:
    torch.manual_seed(0)
    config = {**RECIPES[conv].model, **data_schema(data, conv), "conv": conv, "d_hidden": 8}
    return build_model(ModelConfig(**{**config, "d_out": 3, **chosen})).to(dtype)


def answers(model: GNN, data: Dataset, offsets: NDArray[np.int64] | None = None) -> torch.Tensor:
    data = with_inputs(data, model.config)
    x = data.features.rows(0, data.graph.num_nodes).to(model.y_std.dtype)
    starts = None if offsets is None else torch.from_numpy(offsets)
    block = replace(data.graph.block(), graph_offsets=starts)
    with torch.no_grad():
        return model([block] * model.num_layers, x)


def check(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert got.dtype == expected.dtype
    scale = max(1.0, expected.abs().max().item())
    assert (got - expected).abs().max() <= TOLERANCES[got.dtype] * scale


@every_conv
@every_type
@settings(max_examples=15, deadline=None)
@given(edges=edge_lists(), seed=seeds)
def test_renumbered_nodes_and_reordered_edges_have_the_same_answers(conv, dtype, edges, seed):
    half, end = edges.num_nodes // 2, edges.num_nodes
    world = World(edges, seed, (NodeType("u", 0, half), NodeType("v", half, end)))
    model = model_of(conv, world.data(), dtype)
    order = shuffled_within([0, half, end], np.random.default_rng(seed))
    expected = answers(model, world.data())
    assert expected.dtype == dtype
    check(answers(model, world.data(order)), expected[torch.from_numpy(order)])


@every_conv
@every_type
@settings(max_examples=10, deadline=None)
@given(lists=st.lists(edge_lists(max_nodes=8, max_edges=20), min_size=1, max_size=5), seed=seeds)
def test_graphs_have_the_same_answers_in_a_batch_of_any_order(conv, dtype, lists, seed):
    random = np.random.default_rng(seed)
    worlds = [World(edges, seed + i) for i, edges in enumerate(lists)]
    orders = [random.permutation(edges.num_nodes) for edges in lists]
    places = random.permutation(len(lists))
    data = GraphCollection.from_graphs([world.data() for world in worlds])
    other = GraphCollection.from_graphs([worlds[i].data(orders[i]) for i in places])
    model = model_of(conv, data, dtype, readout="sum", head="linear", num_relations=3)
    expected = answers(model, data.nodes, data.offsets)
    check(answers(model, other.nodes, other.offsets), expected[torch.from_numpy(places)])
    alone = [answers(model, world.data(), np.array([0, world.edges.num_nodes])) for world in worlds]
    check(torch.cat(alone), expected)
