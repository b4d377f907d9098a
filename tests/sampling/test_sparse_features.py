"""Sparse rows at rest: the rows of their dense twin, kept by ingest, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sampling import Dataset, Graph, GraphCollection, GraphStore
from sampling.errors import DamagedError, FeatureError, InputError
from sampling.graph.arrays import write_array
from sampling.graph.ingest import IngestConfig, ingest, rows
from sampling.graph.sparse_features import SparseTable

ROWS, WIDTH = 9, 40


def words(
    seed: int = 0, count: int = ROWS, width: int = WIDTH, density: float = 0.1
) -> sparse.csr_matrix:
    dense = sparse.random_array((count, width), density=density, rng=np.random.default_rng(seed))
    rows = dense.toarray().astype(np.float32)
    rows[count // 2] = 0
    return sparse.csr_matrix(rows)


def table_of(matrix: sparse.csr_matrix) -> SparseTable:
    return SparseTable.from_csr(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])


def path_graph(count: int) -> Graph:
    return Graph.from_edges(np.arange(count - 1), np.arange(1, count), num_nodes=count)


@given(nodes=st.lists(st.integers(0, ROWS - 1)), seed=st.integers(0, 100))
def test_gathered_rows_are_those_of_the_dense_matrix(nodes, seed):
    matrix = words(seed)
    table, dense = table_of(matrix), matrix.toarray()
    chosen = np.array(nodes, np.int64)
    assert (table.gather(torch.from_numpy(chosen)).to_dense().numpy() == dense[chosen]).all()
    assert (table.take(chosen).rows(0, len(chosen)).to_dense().numpy() == dense[chosen]).all()
    assert (table.rows(2, 7).to_dense().numpy() == dense[2:7]).all()
    sums = np.maximum(np.abs(dense).sum(axis=1, keepdims=True), 1e-12)
    normalized = table.row_normalized().rows(0, ROWS).to_dense().numpy()
    np.testing.assert_allclose(normalized, dense / sums, rtol=1e-6)


def test_entries_that_repeat_add_up_and_zeros_are_left_out():
    table = SparseTable.from_csr(
        np.array([0, 3, 4]), np.array([2, 0, 2, 2]), np.array([200, 5, 100, 0], np.uint8), 3
    )
    assert table.rows(0, 2).to_dense().tolist() == [[5, 0, 300], [0, 0, 0]]
    assert table.columns.tolist() == [0, 2]


def test_values_that_are_not_finite_are_named():
    with pytest.raises(FeatureError, match=r"features\[1, 4\] is nan"):
        SparseTable.from_csr(np.array([0, 0, 1]), np.array([4]), np.array([np.nan]), 9)


def test_a_written_graph_has_the_same_rows_and_version_of_its_content(tmp_path: Path):
    matrix = words()
    data = Dataset.in_memory(path_graph(ROWS), features=table_of(matrix))
    GraphStore.write(tmp_path / "g", data)
    opened = GraphStore.open(tmp_path / "g")
    assert (opened.meta.feature_storage, opened.meta.feature_dim) == ("sparse", WIDTH)
    assert (opened.features.rows(0, ROWS).to_dense().numpy() == matrix.toarray()).all()
    assert not (tmp_path / "g" / "features.npy").exists()


DAMAGES = [
    ("feature_columns", lambda a: np.full_like(a, WIDTH), "outside"),
    ("feature_columns", lambda a: a[::-1].copy(), "ascend"),
    ("feature_indptr", lambda a: np.r_[a[:-1], a[-1] + 5], "spans"),
    ("feature_indptr", lambda a: np.r_[a[0], a[-1], a[2:]], "falls"),
    ("feature_values", lambda a: np.full_like(a, np.inf), "finite"),
    ("feature_values", lambda a: a.astype(np.float64), "holds"),
]


@pytest.mark.parametrize(("name", "damage", "what"), DAMAGES)
def test_a_hostile_directory_with_right_checksums_is_refused(tmp_path, name, damage, what):
    data = Dataset.in_memory(path_graph(ROWS), features=table_of(words()))
    GraphStore.write(tmp_path / "g", data)
    manifest = tmp_path / "g" / "graph.json"
    info = write_array(tmp_path / "g" / f"{name}.npy", damage(data.features.arrays()[name]))
    content = json.loads(manifest.read_text())
    content["arrays"][name] = info.model_dump(mode="json")
    meta = GraphStore.meta(tmp_path / "g").model_validate(content)
    from sampling.graph.store import fingerprint

    content["fingerprint"] = fingerprint(meta)
    manifest.write_text(json.dumps(content))
    with pytest.raises(DamagedError, match=what):
        GraphStore.open(tmp_path / "g")


def files(folder: Path, matrix: sparse.csr_matrix) -> dict[str, object]:
    """A path whose node list is in another order than its ids."""
    count = matrix.shape[0]
    edges = "".join(f"{i},{i + 1}\n" for i in range(count - 1))
    (folder / "edges.csv").write_text("src,dst\n" + edges)
    (folder / "nodes.csv").write_text("id\n" + "".join(f"{i}\n" for i in range(count)[::-1]))
    sparse.save_npz(folder / "words.npz", matrix)
    np.save(folder / "words.npy", matrix.toarray())
    return {"edges": [folder / "edges.csv"], "nodes": [folder / "nodes.csv"]}


def ingested(out: Path, **settings: object) -> Dataset:
    for _ in ingest(IngestConfig(out=out, **settings)):
        pass
    return GraphStore.open(out)


@pytest.mark.parametrize("order", ["none", "degree"])
def test_a_sparse_file_is_kept_sparse_with_the_rows_of_its_nodes(tmp_path, order):
    given_files = files(tmp_path, words())
    twins = [
        ingested(tmp_path / kept, features=tmp_path / "words.npz", sparse_features=kept,
                 reorder=order, **given_files)
        for kept in ("no", "yes")
    ]  # fmt: skip
    dense, kept = (data.features.rows(0, ROWS) for data in twins)
    assert [data.features.storage for data in twins] == ["float32", "sparse"]
    assert torch.equal(kept.to_dense(), dense)


def test_wide_rows_of_mostly_zeros_stay_sparse_by_themselves(tmp_path, monkeypatch):
    given_files = files(tmp_path, words(width=400, density=0.02))
    given_files["features"] = tmp_path / "words.npz"
    assert ingested(tmp_path / "small", **given_files).features.storage == "float32"
    monkeypatch.setattr(rows, "SPARSE_FROM_BYTES", 1 << 10)
    assert ingested(tmp_path / "wide", **given_files).features.storage == "sparse"
    half = ingested(tmp_path / "half", feature_storage="float16", **given_files)
    assert half.features.storage == "float16"


def test_what_cannot_be_kept_sparse_says_so(tmp_path):
    given_files = files(tmp_path, words())
    with pytest.raises(FeatureError, match="not sparse"):
        ingested(tmp_path / "a", features=tmp_path / "words.npy", sparse_features="yes",
                 **given_files)  # fmt: skip
    with pytest.raises(InputError, match="float16"):
        ingested(tmp_path / "b", features=tmp_path / "words.npz", sparse_features="yes",
                 feature_storage="float16", **given_files)  # fmt: skip
    part = Dataset.in_memory(path_graph(ROWS), features=table_of(words()))
    with pytest.raises(InputError, match="collection holds dense"):
        GraphCollection.from_graphs([part, part])
    with pytest.raises(InputError, match="collection holds dense"):
        GraphCollection.in_memory(part, [0, ROWS])
