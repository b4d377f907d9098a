"""Tasks on whole graphs: training, evaluation and files; what a renumbering must not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnn import build_model, evaluate, load_model, save_model, train
from gnn.architecture import architecture_for
from gnn.certify import certify
from gnn.convs import CONVS
from gnn.encoder import CategoricalEncoder
from gnn.errors import SchemaMismatchError, TrainingError
from gnn.graph_evaluate import graph_logits
from gnn.model import GNN
from gnn.model_config import CARRYING, ModelConfig
from gnn.recipes import recipe_for
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph, GraphCollection
from sampling.errors import InputError

CLASSES, VALUES = "graph-classification", "graph-regression"
COUNT = 40


def rings_and_stars(shuffled: int | None = None, real: bool = False) -> GraphCollection:
    """Half of the graphs are rings, half are stars; features are a one and noise."""
    parts, labels = [], []
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        size, star = int(rng.integers(5, 12)), number % 2
        src = np.arange(1, size) if star else np.arange(size)
        dst = np.zeros(size - 1, np.int64) if star else (src + 1) % size
        rows = 0.1 * rng.normal(size=(size, 3)).astype(np.float32)
        rows[:, 0] = 1.0
        places = rng.normal(size=(size, 3)).astype(np.float32)
        of_edges = rng.normal(size=(len(src), 2)).astype(np.float32)
        order = np.arange(size)
        if shuffled is not None:
            order = np.random.default_rng((shuffled, number)).permutation(size)
        back = np.argsort(order)
        graph = Graph.from_edges(
            np.concatenate([order[src], order[dst]]), np.concatenate([order[dst], order[src]]),
            num_nodes=size, edge_features=np.concatenate([of_edges, of_edges]),
        )  # fmt: skip
        parts.append(Dataset.in_memory(graph, features=rows[back], positions=places[back]))
        labels.append(float(size) if real else star)
    splits = np.resize(np.array([1, 1, 1, 1, 2, 2, 3, 3], np.uint8), COUNT)[:, None]
    kind = np.float32 if real else np.int64
    about: dict[str, Any] = {} if real else {"classes": ["ring", "star"]}
    return GraphCollection.from_graphs(parts, labels=np.array(labels, kind), splits=splits, **about)


def model_of(data: GraphCollection, conv: str = "gin", task: str = CLASSES, **chosen) -> GNN:
    torch.manual_seed(0)
    recipe = recipe_for(conv, data, 2, task)
    return build_model(architecture_for(task, data, recipe, {"d_hidden": 16, **chosen}))


def settings(task: str = CLASSES, epochs: int = 30) -> TrainConfig:
    return TrainConfig(task=task, epochs=epochs, batch_size=8, lr=0.01, weight_decay=0.0)


@pytest.fixture(scope="module")
def shapes() -> GraphCollection:
    return rings_and_stars()


def test_rings_and_stars_are_told_apart(shapes):
    model = model_of(shapes)
    list(train(model, shapes, settings()))
    assert evaluate(model, shapes, task=CLASSES)["accuracy"] == 1.0


def test_the_size_of_a_graph_is_learned_in_its_own_unit():
    data = rings_and_stars(real=True)
    model = model_of(data, "sage", VALUES, norm="none")
    list(train(model, data, settings(VALUES, 150)))
    assert evaluate(model, data, "train", task=VALUES)["rmse"] < 0.5 * np.std(data.labels)


def test_columns_are_measured_on_the_training_graphs(shapes):
    model = model_of(shapes, input_norm="column")
    list(train(model, shapes, settings(epochs=1)))
    rows = shapes.batch(shapes.in_part("train")).x
    np.testing.assert_allclose(model.columns.mean, rows.mean(dim=0), rtol=1e-4, atol=1e-6)
    assert not np.allclose(model.columns.mean, shapes.batch(np.arange(COUNT)).x.mean(dim=0))


@pytest.mark.parametrize("conv", sorted(CONVS.keys() - {"hgt", "rgcn", "tgat"}))
def test_renumbered_nodes_and_shuffled_graphs_have_the_same_answers(shapes, conv):
    other, order = rings_and_stars(shuffled=1), np.random.default_rng(0).permutation(COUNT)
    for readout in ("sum", "mean", "max", "attention", "set2set"):
        model = model_of(shapes, conv, readout=readout)
        expected = graph_logits(model, shapes, np.arange(COUNT))
        got = graph_logits(model, other, order)
        assert (got - expected[order]).abs().max() <= 1e-5 * max(1.0, expected.abs().max())


@pytest.mark.parametrize(
    ("conv", "pooling"),
    [("gcn", "topk"), ("gcn", "sag"), ("gcn", "matching"), ("sgc", "topk"), ("lightgcn", "sag")],
)
def test_pooled_models_train_and_do_not_see_the_order_of_nodes(shapes, conv, pooling):
    model = model_of(shapes, conv, pooling=pooling, jumping="none")
    list(train(model, shapes, settings(epochs=3)))
    other = rings_and_stars(shuffled=2)
    every = np.arange(COUNT)
    error = (graph_logits(model, shapes, every) - graph_logits(model, other, every)).abs().max()
    assert error <= 1e-4


@pytest.mark.parametrize(("conv", "jumping"), [("gin", "cat"), ("gat", "none"), ("sage", "max")])
def test_virtual_nodes_see_neither_the_order_of_nodes_nor_other_graphs(shapes, conv, jumping):
    model = model_of(shapes, conv, virtual_node=True, jumping=jumping)
    list(train(model, shapes, settings(epochs=3)))
    assert model.virtual.first.abs().max() > 0
    every = np.arange(COUNT)
    together = graph_logits(model, shapes, every)
    moved = graph_logits(model, rings_and_stars(shuffled=3), every)
    alone = torch.cat([graph_logits(model, shapes, np.array([g])) for g in every])
    scale = together.abs().max()
    assert (moved - together).abs().max() <= 1e-5 * scale
    assert (alone - together).abs().max() <= 1e-5 * scale
    assert certify(model, shapes).passed


@pytest.mark.parametrize(
    "chosen",
    [
        {"pooling": "topk", "jumping": "none"},
        {"pooling": "matching", "jumping": "none", "readout": "max"},
        {"virtual_node": True, "jumping": "cat", "norm": "layer"},
        {"jumping": "mean", "encoder": "linear", "readout": "attention"},
        {"jumping": "max", "readout": "set2set"},
    ],
)
def test_norms_that_come_first_see_neither_the_order_of_nodes_nor_other_graphs(shapes, chosen):
    model = model_of(shapes, "gcn", **{"norm": "batch", **chosen}, norm_first=True, residual=True)
    list(train(model, shapes, settings(epochs=3)))
    every = np.arange(COUNT)
    together = graph_logits(model, shapes, every)
    moved = graph_logits(model, rings_and_stars(shuffled=3), every)
    alone = torch.cat([graph_logits(model, shapes, np.array([g])) for g in every])
    scale = together.abs().max()
    assert together.std() > 1e-3 * scale
    assert (moved - together).abs().max() <= 1e-5 * scale
    assert (alone - together).abs().max() <= 1e-5 * scale
    assert certify(model, shapes).passed


def test_a_virtual_node_carries_news_further_than_the_layers():
    """Two components, one layer: what is in one reaches the rows of the other by it alone."""
    rows = np.zeros((4, 1), np.float32)
    changed = rows.copy()
    changed[3] = 5.0
    block = Graph.from_edges([0, 1, 2, 3], [1, 0, 3, 2]).block()
    for has in (False, True):
        torch.manual_seed(0)
        config = ModelConfig(
            d_in=1, d_hidden=8, d_out=2, conv="gin", readout="sum", virtual_node=has
        )
        read: list[torch.Tensor] = []
        model = build_model(config)
        combine = model.convs[1].combine
        model.convs[1].combine = lambda b, x, m, c=combine, r=read: (r.append(x), c(b, x, m))[1]
        for x in (rows, changed):
            model.encode_graphs(block, torch.from_numpy(x))
        assert torch.equal(read[0][:2], read[1][:2]) != has


def test_a_virtual_node_is_written_with_the_model(shapes, tmp_path):
    model = model_of(shapes, virtual_node=True)
    list(train(model, shapes, settings(epochs=1)))
    saved = load_model(save_model(tmp_path / "m", model, shapes, settings(), {}))
    assert saved.info.config.virtual_node
    every = np.arange(COUNT)
    assert torch.equal(graph_logits(saved.model, shapes, every), graph_logits(model, shapes, every))


def test_batches_of_one_graph_train_with_a_virtual_node(shapes):
    model = model_of(shapes, virtual_node=True)
    config = replace(settings(epochs=1), batch_size=1)
    assert all(np.isfinite(report.loss) for report in train(model, shapes, config))


@pytest.mark.parametrize(("conv", "readout"), [("gin", "none"), ("appnp", "sum"), ("egnn", "sum")])
def test_virtual_nodes_need_graphs_and_layers_without_state(conv, readout):
    with pytest.raises(InputError, match="virtual node"):
        ModelConfig(
            d_in=8, d_hidden=8, d_out=2, conv=conv, readout=readout, virtual_node=True,
            d_position=3 if conv == "egnn" else 0,
        )  # fmt: skip


def test_turned_and_moved_molecules_have_the_same_answers(shapes):
    model = model_of(shapes, "egnn")
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    moved = rings_and_stars()
    moved.nodes.positions[:] = (moved.nodes.positions @ q + [3, -1, 2]).astype(np.float32)
    every = np.arange(COUNT)
    error = (graph_logits(model, shapes, every) - graph_logits(model, moved, every)).abs().max()
    assert error <= 1e-4


def test_a_graph_is_answered_alone_as_among_others(shapes):
    model = model_of(shapes, norm="graph")
    together = graph_logits(model, shapes, np.arange(COUNT))
    alone = torch.cat([graph_logits(model, shapes, np.array([g])) for g in range(COUNT)])
    assert (together - alone).abs().max() <= 1e-5


def test_training_twice_and_resumed_gives_the_same_bits(shapes, tmp_path):
    results = []
    for _ in range(2):
        model = model_of(shapes, dropout=0.3)
        list(train(model, shapes, settings(epochs=4)))
        results.append(graph_logits(model, shapes, np.arange(COUNT)))
    model = model_of(shapes, dropout=0.3)
    list(train(model, shapes, settings(epochs=2), resume_dir=tmp_path))
    model = model_of(shapes, dropout=0.3)
    list(train(model, shapes, settings(epochs=4), resume_dir=tmp_path, resume=True))
    results.append(graph_logits(model, shapes, np.arange(COUNT)))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_written_model_answers_as_before(shapes, tmp_path):
    model = model_of(shapes)
    path = save_model(tmp_path / "m", model, shapes, settings(), {})
    saved = load_model(path)
    every = np.arange(COUNT)
    assert torch.equal(graph_logits(saved.model, shapes, every), graph_logits(model, shapes, every))
    assert saved.info.classes == ["ring", "star"]


def test_data_of_the_other_kind_are_refused(shapes):
    single = shapes.nodes
    with pytest.raises(InputError, match="one graph"):
        architecture_for(CLASSES, single, recipe_for("gin", single), {})
    with pytest.raises(InputError, match="collection"):
        architecture_for("node-classification", shapes, recipe_for("gin", shapes), {})
    model = model_of(shapes)
    with pytest.raises(InputError, match="ingest-graphs"):
        list(train(model, single, settings()))


def test_a_collection_with_other_columns_is_refused(shapes):
    model = model_of(shapes)
    narrow = GraphCollection.from_graphs(
        [Dataset.in_memory(Graph.from_edges([0], [1], num_nodes=2), features=np.ones((2, 1), "f4"))]
    )
    with pytest.raises(SchemaMismatchError, match="features of width 3"):
        graph_free = evaluate(model, narrow, task=CLASSES)
        assert not graph_free


def test_graphs_without_labels_cannot_be_trained_on(shapes):
    unlabeled = GraphCollection.from_graphs(
        [Dataset.in_memory(Graph.from_edges([0], [1], num_nodes=2), features=np.ones((2, 3), "f4"))]
    )
    with pytest.raises(TrainingError, match="no labels"):
        list(train(model_of(shapes), unlabeled, settings()))


def test_state_in_rows_excludes_jumping(shapes):
    for conv in CARRYING:
        with pytest.raises(InputError, match="carry"):
            model_of(shapes, conv, jumping="cat")


def test_few_combinations_of_codes_are_summed_once_and_looked_up():
    torch.manual_seed(0)
    encoder = CategoricalEncoder((3, 2), 4)
    codes = torch.cartesian_prod(torch.arange(3), torch.arange(2)).repeat(4, 1)
    many, few = encoder(codes.float()), torch.cat([encoder(row[None]) for row in codes])
    assert torch.equal(many, few)
    grads = [torch.autograd.grad(rows.sin().sum(), encoder.parameters()) for rows in (many, few)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(InputError, match="column 1 holds the code 2"):
        encoder(torch.tensor([[0.0, 2.0]]).repeat(30, 1))
