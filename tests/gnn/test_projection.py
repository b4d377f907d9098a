"""Maps of embedding tables: neighbors stay neighbors, equal rows give equal maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn import EmbeddingTable, ModelConfig, build_model, embed, load_model, save_model
from gnn.evaluate import using_threads
from gnn.projection import evenly, project
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph
from sampling.errors import DamagedError, InputError


def mapped(rows: np.ndarray) -> np.ndarray:
    work = project(lambda nodes: rows[nodes], len(rows))
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def clusters(num_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((5, 16))
    which = rng.integers(0, 5, num_rows)
    rows = centers[which] + 0.2 * rng.standard_normal((num_rows, 16))
    return rows.astype(np.float32), which


@pytest.mark.parametrize("num_rows", [400, 6000])
def test_nearest_on_the_map_are_of_one_cluster(num_rows: int):
    rows, which = clusters(num_rows)
    places = torch.from_numpy(mapped(rows))
    assert places.shape == (num_rows, 2)
    assert places.abs().max() <= 1
    asked = torch.arange(0, num_rows, max(1, num_rows // 300))
    distance = torch.cdist(places[asked], places)
    distance[torch.arange(len(asked)), asked] = torch.inf
    near = distance.argmin(1).numpy()
    assert (which[near] == which[asked.numpy()]).mean() > 0.97


def test_a_map_does_not_depend_on_threads():
    rows, _ = clusters(500)
    one = mapped(rows)
    with using_threads(2):
        assert np.array_equal(one, mapped(rows))


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 1), (9, 3), (40, 2), (300, 1)])
def test_tables_of_any_shape_have_a_map(shape: tuple[int, int]):
    rng = np.random.default_rng(1)
    for rows in (rng.standard_normal(shape), np.zeros(shape), np.full(shape, 3e38)):
        places = mapped(rows.astype(np.float32))
        assert places.shape == (shape[0], 2)
        assert np.isfinite(places).all()


@pytest.mark.parametrize(("num_rows", "count"), [(0, 5), (5, 5), (6, 5), (10_001, 100)])
def test_an_even_draw_has_distinct_rows_in_order(num_rows: int, count: int):
    chosen = evenly(num_rows, count)
    assert len(chosen) == min(num_rows, count)
    assert (np.diff(chosen) > 0).all()
    assert chosen.size == 0 or (chosen.min() >= 0 and chosen.max() < num_rows)


def test_a_table_has_the_map_of_its_rows_with_a_checksum(tmp_path: Path):
    rng = np.random.default_rng(0)
    data = Dataset.in_memory(
        Graph.from_edges(*rng.integers(0, 300, (2, 900)), num_nodes=300),
        features=rng.standard_normal((300, 8)).astype(np.float32),
        labels=rng.integers(0, 3, 300),
        classes=["a", "b", "c"],
    )
    torch.manual_seed(0)
    model = build_model(ModelConfig(conv="sage", d_in=8, d_hidden=8, d_out=3, num_layers=2))
    saved = load_model(save_model(tmp_path / "model", model, data, TrainConfig(), {}))
    reports = list(embed(saved, data, tmp_path / "table", make_map=True))
    assert reports[-1].stage == "map"
    assert reports[-1].rows_done == 300
    table = EmbeddingTable.open(tmp_path / "table")
    assert table.map is not None
    assert np.array_equal(table.map, mapped(np.asarray(table.embeddings)))
    with pytest.raises(InputError, match="npy"):
        list(embed(saved, data, tmp_path / "other", make_map=True, format="parquet"))
    file = tmp_path / "table" / "map.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedError, match="map"):
        EmbeddingTable.open(tmp_path / "table")
    manifest = tmp_path / "table" / "embeddings.json"
    assert json.loads(manifest.read_text())["arrays"]["map"]["shape"] == [300, 2]
