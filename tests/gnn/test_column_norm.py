"""Columns of any unit come to mean 0 and deviation 1, by what is trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnn import ModelConfig, TrainConfig, build_model, load_model, save_model, train
from gnn.column_norm import ColumnNorm
from sampling import Dataset, FeatureTable
from sampling.errors import InputError
from sampling.graph.sparse_features import SparseTable

UNITS = np.array([1e6, 1e-4, 1.0, 0.0])


def rows_in_units(count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(3.0, 1.0, (count, 4)) * UNITS + 7.0).astype(np.float32)


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8"])
def test_statistics_are_those_of_the_rows_as_they_are_read(storage):
    table = FeatureTable.from_rows(rows_in_units() / 1e3, storage)
    rows = table.rows(0, table.num_rows).double().numpy()
    norm = ColumnNorm(4)
    norm.fit(table)
    np.testing.assert_allclose(norm.mean, rows.mean(axis=0), rtol=1e-5)
    changes = rows.std(axis=0) > 1e-6 * np.abs(rows.mean(axis=0))
    np.testing.assert_allclose(norm.deviation, np.where(changes, rows.std(axis=0), 1), rtol=1e-3)


def test_a_column_that_never_changes_becomes_zero():
    table = FeatureTable(rows_in_units())
    norm = ColumnNorm(4)
    norm.fit(table)
    out = norm(table.rows(0, table.num_rows))
    assert out[:, 3].abs().max() == 0
    np.testing.assert_allclose(out[:, 0].std(correction=0), 1, rtol=1e-3)


def test_many_rows_are_sampled_in_pieces(monkeypatch):
    table = FeatureTable(rows_in_units(10_000))
    whole, part = ColumnNorm(4), ColumnNorm(4)
    whole.fit(table)
    monkeypatch.setattr("gnn.column_norm.MOST_ROWS", 2000)
    monkeypatch.setattr("gnn.column_norm.ROWS_AT_ONCE", 77)
    part.fit(table)
    np.testing.assert_allclose(part.mean, rows_in_units(10_000)[::5].mean(axis=0), rtol=1e-4)
    assert not torch.equal(part.mean, whole.mean)


def test_sparse_features_are_refused():
    table = SparseTable.from_csr(np.arange(6), np.arange(5), np.ones(5, np.float32), 5)
    with pytest.raises(InputError, match="sparse features dense; choose row or none"):
        ColumnNorm(5).fit(table)


def test_units_do_not_matter_to_a_training_and_are_kept_with_the_model(data, tmp_path):
    x = data.features.rows(0, 60).numpy()
    logits = []
    for unit in (1.0, 1024.0):
        other = Dataset.in_memory(
            data.graph, features=x * np.float32(unit), labels=data.labels, splits=data.splits,
            classes=["a", "b", "c"],
        )  # fmt: skip
        torch.manual_seed(0)
        config = ModelConfig(d_in=6, d_hidden=8, d_out=3, input_norm="column")
        model = build_model(config)
        list(train(model, other, TrainConfig(epochs=5)))
        path = save_model(tmp_path / f"{unit}" / "m", model, other, TrainConfig(), {"test": {}})
        loaded = load_model(path).model
        with torch.no_grad():
            logits.append(loaded([data.graph.block()] * 2, torch.from_numpy(x * np.float32(unit))))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_columns_of_codes_and_of_types_are_not_one_quantity_each():
    with pytest.raises(InputError, match="not one quantity each"):
        ModelConfig(d_in=1, d_hidden=2, d_out=2, encoder="categorical", cardinalities=(3,),
                    input_norm="column")  # fmt: skip


def test_a_graph_of_no_nodes_changes_nothing():
    norm = ColumnNorm(2)
    norm.fit(FeatureTable(np.zeros((0, 2), np.float32)))
    assert norm.deviation.tolist() == [1, 1]
