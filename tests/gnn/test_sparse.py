"""Models over sparse input rows: the answers, gradients and trainings of the dense twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from gnn import EmbeddingTable, build_model, embed, evaluate, load_model, save_model, train
from gnn.architecture import architecture_for
from gnn.certify import certify
from gnn.convs import CONVS
from gnn.identity import graph_fingerprint
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.recipes import recipe_for
from gnn.sparse import dropped_rows, mapped, row_normalized, stacked
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph
from sampling.errors import InputError
from sampling.graph.sparse_features import SparseTable

COUNT, WIDTH = 50, 120
TASK = "node-classification"
RELATIONAL = {"egnn", "tgat", "rgcn", "hgt"}


def table() -> SparseTable:
    matrix = sparse.random(COUNT, WIDTH, 0.05, "csr", np.float32, rng=np.random.default_rng(1))
    return SparseTable.from_csr(matrix.indptr, matrix.indices, matrix.data, WIDTH)


def data_of(features: SparseTable, dense: bool) -> Dataset:
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(*rng.integers(0, COUNT, (2, 300)), num_nodes=COUNT)
    rows = features.rows(0, COUNT).to_dense().numpy() if dense else features
    splits = np.resize(np.array([1, 1, 2, 3], np.uint8), COUNT)
    labels = rng.integers(0, 3, COUNT)
    return Dataset.in_memory(graph, features=rows, labels=labels, splits=splits)


@pytest.fixture(scope="module")
def twins() -> tuple[Dataset, Dataset]:
    return data_of(table(), dense=True), data_of(table(), dense=False)


def model_of(data: Dataset, conv: str, **chosen):
    torch.manual_seed(0)
    recipe = recipe_for(conv, data)
    return build_model(architecture_for(TASK, data, recipe, {"dropout": 0.0, **chosen}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_of_sparse_rows_has_the_values_and_gradients_of_dense_ones(dtype):
    x = table().rows(0, COUNT)
    grads, rows = [], []
    for each in (x, x.to_dense()):
        torch.manual_seed(0)
        linear = torch.nn.Linear(WIDTH, 7).to(dtype)
        rows.append(mapped(linear, each))
        rows[-1].sin().sum().backward()
        grads.append(linear.weight.grad)
    torch.testing.assert_close(*rows)
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(
        row_normalized(x, dtype).to_dense(), row_normalized(x.to_dense(), dtype)
    )


def test_dropout_leaves_zeros_and_scales_what_it_keeps():
    x = table().rows(0, COUNT)
    torch.manual_seed(0)
    dropped, kept = dropped_rows(x, 0.5).to_dense(), x.to_dense()
    there = dropped != 0
    assert 0.3 < there.sum() / (kept != 0).sum() < 0.7
    torch.testing.assert_close(dropped[there], 2 * kept[there])


def test_dense_rows_are_put_above_sparse_ones():
    x, head = table().rows(0, COUNT), torch.eye(3, WIDTH)
    assert torch.equal(stacked(head, x).to_dense(), torch.cat([head, x.to_dense()]))


@pytest.mark.parametrize(
    ("conv", "chosen"),
    [("gcn", {}), ("gat", {}), ("gcn", {"input_norm": "row"}), ("sage", {"encoder": "linear"}),
     ("appnp", {}), ("gin", {"encoder": "mlp", "norm": "none"}), ("gcn", {"residual_map": True}),
     ("gcn", {"residual_map": True, "norm": "layer", "norm_first": True}),
     ("sage", {"encoder": "linear", "residual": True, "norm": "layer", "norm_first": True})],
)  # fmt: skip
def test_training_on_sparse_rows_is_training_on_dense_ones(twins, conv, chosen, tmp_path):
    results = []
    for data in twins:
        model = model_of(data, conv, **chosen)
        config = TrainConfig(epochs=4, lr=0.01, seed=1, batch_size=8, fanouts=None)
        list(train(model, data, config))
        results.append(infer(model, data))
    scale = results[0].abs().max()
    assert (results[0] - results[1]).abs().max() <= 1e-5 * scale
    saved = load_model(save_model(tmp_path / "m", model, twins[1], config, {}))
    for data, name in zip(twins, ("dense", "sparse"), strict=True):
        list(embed(saved, data, tmp_path / name, tile_rows=17))
        rows = np.array(EmbeddingTable.open(tmp_path / name).embeddings)
        assert np.abs(rows - results[1].numpy()).max() <= 1e-5 * scale
    assert certify(model, twins[1]).passed


@pytest.mark.parametrize("conv", sorted(CONVS.keys() - RELATIONAL))
def test_every_convolution_gets_a_map_that_reads_sparse_rows(twins, conv):
    dense, kept = twins
    model = model_of(kept, conv)
    assert model.config.reads_sparse
    list(train(model, kept, TrainConfig(epochs=1, batch_size=8, fanouts=(3,) * model.num_layers)))
    found, expected = (evaluate(model, data, "test", exact=False) for data in (kept, dense))
    assert found == pytest.approx(expected, abs=1e-5)


def test_training_on_sparse_rows_has_the_same_bits_for_any_number_of_threads(twins):
    results = []
    for threads in (1, 3):
        model = model_of(twins[1], "gcn", dropout=0.5)
        list(train(model, twins[1], TrainConfig(epochs=3, num_threads=threads)))
        results.append(infer(model, twins[1]))
    assert torch.equal(*results)


def test_unsupervised_embeddings_are_learned_from_sparse_rows(twins):
    torch.manual_seed(0)
    chosen = {"decoder": "bilinear", "head": "none", "d_hidden": 8}
    config = architecture_for("unsupervised", twins[1], recipe_for("gcn", twins[1]), chosen)
    settings = TrainConfig(task="unsupervised", epochs=2, objective="dgi")
    reports = list(train(build_model(config), twins[1], settings))
    assert all(np.isfinite(report.loss) for report in reports)


def test_what_reads_dense_rows_refuses_sparse_ones(twins):
    _, kept = twins
    model = model_of(kept, "sage", encoder="none")
    with pytest.raises(InputError, match="--encoder linear"):
        with_inputs(kept, model.config)
    with pytest.raises(InputError, match="--encoder linear"):
        list(train(model, kept, TrainConfig(epochs=1)))


def test_graphs_in_memory_are_told_apart_by_their_sparse_rows(twins):
    other = data_of(table().row_normalized(), dense=False)
    assert graph_fingerprint(other) != graph_fingerprint(twins[1])
