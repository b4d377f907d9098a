"""Collections of graphs: a batch is its graphs one by one, and files come back or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from collections_made import made_collections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampling import Dataset, FeatureTable, Graph, GraphCollection, NodeIds
from sampling.errors import DamagedError, ExistsError, FutureFormatError, InputError
from sampling.graph.collections.store import _fingerprint
from sampling.graph.ids import encode_strings
from sampling.graph.meta import LabelInfo

quick = settings(max_examples=40, deadline=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


def small(name: str = "graphs") -> GraphCollection:
    """Three graphs of 2, 0 and 3 nodes."""
    graph = Graph.from_edges([0, 1, 2, 4], [1, 0, 3, 2], num_nodes=5,
                             edge_features=np.arange(4)[:, None] % 2)  # fmt: skip
    nodes = Dataset.in_memory(graph, features=np.array([[0.0], [1], [2], [0], [1]]))
    return GraphCollection.in_memory(
        nodes,
        [0, 2, 2, 5],
        labels=np.array([1, -1, 0]),
        splits=np.array([1, 2, 3], np.uint8),
        ids=NodeIds.from_strings(*encode_strings(["a", "b", "c"])),
        node_cardinalities=[3],
        edge_cardinalities=[2],
        node_feature_names=["atom"],
        name=name,
    )


@quick
@given(made_collections(), st.lists(st.integers(0, 100), max_size=8))
def test_a_batch_is_its_graphs_one_by_one(made, drawn):
    chosen = [i % len(made.parts) for i in drawn]
    batch = made.collection.batch(np.array(chosen, np.int64))
    assert batch.graphs.tolist() == chosen
    block = batch.block
    assert torch.equal(block.src_nodes, torch.arange(batch.num_nodes))
    for place, g in enumerate(chosen):
        part = made.parts[g]
        start, end = batch.graph_indptr[place : place + 2].tolist()
        lo, hi = block.indptr[start].item(), block.indptr[end].item()
        assert (block.indptr[start : end + 1] - lo).tolist() == part.graph.indptr.tolist()
        assert (block.indices[lo:hi] - start).tolist() == part.graph.indices.tolist()
        for got, array in (
            (block.edge_weight, part.graph.edge_weight),
            (block.edge_features, part.graph.edge_features),
        ):
            assert (got is None) == (array is None)
            if array is not None:
                np.testing.assert_array_equal(got[lo:hi], array)
        if part.features is not None:
            np.testing.assert_array_equal(batch.x[start:end], part.features.array)
        if part.positions is not None:
            np.testing.assert_array_equal(batch.positions[start:end], part.positions)
        assert (batch.node_graph[start:end] == place).all()
    if made.collection.labels is not None:
        np.testing.assert_array_equal(batch.y, made.collection.labels[chosen])


@quick
@given(made=made_collections())
def test_a_collection_comes_back_from_disk_to_the_bit(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("collection") / "graphs"
    meta = made.collection.write(path)
    back = GraphCollection.open(path)
    assert back.meta == meta
    for graphs in (np.arange(back.num_graphs), np.array([back.num_graphs - 1])):
        one, other = made.collection.batch(graphs), back.batch(graphs)
        for name in ("indptr", "indices", "edge_weight", "edge_features"):
            a, b = getattr(one.block, name), getattr(other.block, name)
            assert (a is None and b is None) or torch.equal(a, b)
        for name in ("x", "positions", "graph_indptr", "y"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None and b is None) or torch.equal(a, b)
    np.testing.assert_equal(back.splits, made.collection.splits)


def test_writing_again_is_a_new_version_with_the_same_fingerprint(tmp_path: Path):
    first = small().write(tmp_path / "g")
    with pytest.raises(ExistsError):
        small().write(tmp_path / "g")
    second = small("other name").write(tmp_path / "g", overwrite=True)
    assert (first.version, second.version) == (1, 2)
    assert first.fingerprint == second.fingerprint
    assert GraphCollection.open(tmp_path / "g").ids.to_ids(np.arange(3)) == ["a", "b", "c"]


def test_parts_are_those_of_the_split(tmp_path: Path):
    made = small()
    assert [made.in_part(p).tolist() for p in ("train", "val", "test")] == [[0], [1], [2]]
    with pytest.raises(InputError, match="no split 1"):
        made.in_part("train", 1)
    with pytest.raises(InputError, match="has no splits"):
        GraphCollection.from_graphs(
            [Dataset.in_memory(Graph.from_edges([0], [0]))]
        ).in_part("train")  # fmt: skip


def test_features_are_float32_in_a_batch_whatever_type_they_have_at_rest():
    graph = Graph.from_edges([0], [1], num_nodes=3)
    rows = np.array([[1.0, -2], [0.5, 4], [3, 0]], np.float32)
    for storage in ("float32", "float16", "bfloat16", "int8"):
        nodes = Dataset.in_memory(graph, features=FeatureTable.from_rows(rows, storage))
        x = GraphCollection.in_memory(nodes, [0, 2, 3]).batch([1, 0]).x
        assert x.dtype == torch.float32
        np.testing.assert_allclose(x, rows[[2, 0, 1]], atol=0.02)


FILES = ["offsets.npy", "labels.npy", "splits.npy", "ids_data.npy", "nodes/indptr.npy",
         "nodes/indices.npy", "nodes/features.npy", "nodes/edge_features.npy"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damage_is_refused_by_name(tmp_path: Path, name: str, harm: str):
    small().write(tmp_path / "g")
    file = tmp_path / "g" / name
    content = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(content[:-1])
    else:
        content[-1] ^= 1
        file.write_bytes(content)
    with pytest.raises(DamagedError, match=Path(name).name):
        GraphCollection.open(tmp_path / "g")


def rewritten(path: Path, **changes: object) -> None:
    """A hostile manifest: other values under a right fingerprint."""
    meta = GraphCollection.read_meta(path).model_copy(update=changes)
    meta = meta.model_copy(update={"fingerprint": _fingerprint(meta)})
    (path / "graphs.json").write_text(meta.model_dump_json())


@pytest.mark.parametrize(
    "changes",
    [
        {"num_graphs": 4},
        {"num_nodes": 6},
        {"num_edges": 3},
        {"feature_dim": 2},
        {"edge_dim": 0},
        {"has_positions": True},
        {"node_cardinalities": (2,)},
        {"edge_cardinalities": (1,)},
        {"node_cardinalities": (3, 3)},
        {"node_feature_names": ()},
        {"num_splits": 2},
        {"labels": LabelInfo(kind="class", classes=[7])},
        {"labels": LabelInfo(kind="real")},
        {"target_names": ("a", "b")},
        {"nodes": "0" * 16},
    ],
)
def test_a_hostile_manifest_is_refused(tmp_path: Path, changes):
    small().write(tmp_path / "g")
    rewritten(tmp_path / "g", **changes)
    with pytest.raises(DamagedError):
        GraphCollection.open(tmp_path / "g")


@pytest.mark.parametrize("offsets", [[0, 3, 2, 5], [0, 1, 1, 5], [1, 2, 2, 5], [0, 2, 2, 4]])
def test_offsets_that_cut_a_graph_are_refused(tmp_path: Path, offsets):
    from sampling.graph.arrays import write_array

    small().write(tmp_path / "g")
    info = write_array(tmp_path / "g/offsets.npy", np.array(offsets))
    arrays = GraphCollection.read_meta(tmp_path / "g").arrays | {"offsets": info}
    rewritten(tmp_path / "g", arrays=arrays)
    with pytest.raises(DamagedError, match=r"divide the nodes|one graph into another"):
        GraphCollection.open(tmp_path / "g")
    with pytest.raises(InputError, match=r"divide the nodes|one graph into another"):
        GraphCollection.in_memory(small().nodes, offsets)


def test_a_newer_format_asks_for_a_newer_version(tmp_path: Path):
    small().write(tmp_path / "g")
    file = tmp_path / "g/graphs.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 2}))
    with pytest.raises(FutureFormatError):
        GraphCollection.open(tmp_path / "g")
    file.write_text("[]")
    with pytest.raises(DamagedError, match=r"graphs\.json"):
        GraphCollection.open(tmp_path / "g")


@pytest.mark.parametrize(
    ("about", "what"),
    [
        ({"labels": np.zeros(2)}, "labels"),
        ({"labels": np.zeros((3, 2), np.int64)}, "labels"),
        ({"labels": np.array(["a", "b", "c"])}, "labels"),
        ({"labels": np.array([0, 1, 5]), "classes": [1]}, "unknown classes"),
        ({"splits": np.full(3, 4, np.uint8)}, "unknown codes"),
        ({"splits": np.zeros(2, np.uint8)}, "splits have 2 rows"),
        ({"node_cardinalities": [2]}, "no code of its column"),
        ({"node_cardinalities": [3, 3]}, "2 entries for 1"),
        ({"labels": np.zeros((3, 2)), "target_names": ["one"]}, "1 target names"),
        ({"labels": np.zeros((3, 2)), "target_names": ["one"] * 2}, "two targets are named 'one'"),
        ({"ids": NodeIds.range(2)}, "ids are not"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(about, what):
    with pytest.raises(InputError, match=what):
        GraphCollection.in_memory(small().nodes, [0, 2, 2, 5], **about)


@pytest.mark.parametrize("graphs", [[3], [-1], [[0]], [0.5], ["a"]])
def test_graphs_that_are_not_there_are_refused(graphs):
    with pytest.raises(InputError, match=r"there is no graph|give a list"):
        small().batch(graphs)
