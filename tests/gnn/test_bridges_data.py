"""Graphs of PyG and DGL become Datasets and come back with every edge, row, label and split."""

from __future__ import annotations

import sys
import warnings

import dgl
import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its own, while it is imported
    from torch_geometric.data import Data, HeteroData

from gnn import TrainConfig, build_model, train
from gnn.bridges.dgl import dataset_from_dgl, dataset_to_dgl, dgl_input_types
from gnn.bridges.pyg import dataset_from_pyg, dataset_to_pyg, pyg_input_types
from gnn.errors import MissingPackageError
from gnn.model import ModelConfig
from sampling import GraphStore
from sampling.errors import FeatureError, InputError

KINDS = [("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "by", "author")]
SIZES = {"author": 7, "paper": 12}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(num_splits: int = 1) -> Data:
    g = generator()
    part = torch.randint(0, 4, (10, num_splits), generator=g)
    part = part[:, 0] if num_splits == 1 else part
    return Data(
        x=torch.randn(10, 3, generator=g),
        edge_index=torch.randint(0, 10, (2, 40), generator=g),
        edge_attr=torch.randn(40, 2, generator=g),
        edge_weight=torch.rand(40, generator=g),
        edge_type=torch.randint(0, 3, (40,), generator=g),
        edge_time=torch.randperm(40, generator=g),
        y=torch.randint(-1, 4, (10,), generator=g),
        train_mask=part == 1,
        val_mask=part == 2,
        test_mask=part == 3,
        pos=torch.randn(10, 3, generator=g),
        time=torch.arange(10),
    )


def hetero() -> HeteroData:
    g, data = generator(1), HeteroData()
    for width, (kind, n) in zip((3, 5), SIZES.items(), strict=True):
        data[kind].x = torch.randn(n, width, generator=g)
    data["paper"].y = torch.randint(0, 3, (12,), generator=g)
    part = torch.randint(0, 4, (12,), generator=g)
    for code, name in enumerate(("train", "val", "test"), 1):
        data["paper"][f"{name}_mask"] = part == code
    for kind in KINDS:
        ends = [torch.randint(0, SIZES[t], (20,), generator=g) for t in (kind[0], kind[2])]
        data[kind].edge_index = torch.stack(ends)
        data[kind].edge_attr = torch.randn(20, 2, generator=g)
    return data


def rows_of(index: torch.Tensor, *columns: torch.Tensor | None) -> list[tuple[float, ...]]:
    """Edges with what they carry, sorted, so that orders can be compared."""
    parts = [index.T.double(), *(c.double().reshape(len(c), -1) for c in columns if c is not None)]
    return sorted(map(tuple, torch.cat(parts, dim=1).tolist()))


def pyg_edges(store) -> list[tuple[float, ...]]:
    names = ("edge_attr", "edge_weight", "edge_type", "edge_time")
    return rows_of(store.edge_index, *(store.get(name) for name in names))


@pytest.mark.parametrize("num_splits", [1, 3])
def test_a_pyg_graph_comes_back_as_it_was(num_splits):
    data = plain(num_splits)
    back = dataset_to_pyg(dataset_from_pyg(data))
    for name in ("x", "y", "train_mask", "val_mask", "test_mask", "pos", "time"):
        assert torch.equal(back[name], data[name]), name
    assert pyg_edges(back) == pyg_edges(data)


def test_a_pyg_graph_lists_the_in_neighbors_of_every_node():
    data = plain()
    found = dataset_from_pyg(data)
    for node in range(10):
        expected = data.edge_index[0][data.edge_index[1] == node]
        assert sorted(found.graph.in_neighbors(node)) == sorted(expected.tolist())


def test_a_typed_pyg_graph_comes_back_padded():
    data = hetero()
    found = dataset_from_pyg(data)
    assert [(t.name, t.num_nodes) for t in found.graph.node_types] == list(SIZES.items())
    assert found.graph.edge_types == tuple(sorted("__".join(kind) for kind in KINDS))
    back = dataset_to_pyg(found)
    assert set(back.edge_types) == set(KINDS)
    for kind in KINDS:
        assert pyg_edges(back[kind]) == pyg_edges(data[kind])
    assert torch.equal(back["paper"].x, data["paper"].x)
    assert torch.equal(back["author"].x, torch.nn.functional.pad(data["author"].x, (0, 2)))
    assert torch.equal(back["paper"].y, data["paper"].y)
    assert torch.equal(back["paper"].train_mask, data["paper"].train_mask)
    assert "y" not in back["author"]
    assert "train_mask" not in back["author"]


def test_a_typed_graph_survives_a_graph_directory(tmp_path):
    found = dataset_from_pyg(hetero())
    GraphStore.write(tmp_path / "graph", found)
    opened = dataset_to_pyg(GraphStore.open(tmp_path / "graph"))
    assert pyg_edges(opened[KINDS[0]]) == pyg_edges(hetero()[KINDS[0]])


def test_a_typed_encoder_reads_the_columns_of_every_type():
    data, found = hetero(), dataset_from_pyg(hetero())
    types = pyg_input_types(data)
    assert [(t.name, t.start, t.end, t.d_in) for t in types] == [
        ("author", 0, 7, 3), ("paper", 7, 19, 5),
    ]  # fmt: skip
    config = ModelConfig(d_in=5, d_hidden=8, d_out=3, encoder="typed", input_types=types,
                         conv="rgcn", num_relations=3)  # fmt: skip
    torch.manual_seed(0)
    reports = list(train(build_model(config), found, TrainConfig(epochs=2, monitor="none")))
    assert len(reports) == 2


def test_a_dgl_graph_and_a_pyg_graph_make_the_same_dataset():
    data = hetero()
    graph = dgl.heterograph(
        {kind: tuple(data[kind].edge_index) for kind in KINDS}, num_nodes_dict=SIZES
    )
    for kind in SIZES:
        graph.nodes[kind].data["feat"] = data[kind].x
    graph.nodes["paper"].data["label"] = data["paper"].y
    for part in ("train", "val", "test"):
        graph.nodes["paper"].data[f"{part}_mask"] = data["paper"][f"{part}_mask"]
    for kind in KINDS:
        graph.edges[kind].data["feat"] = data[kind].edge_attr
    ours, theirs = dataset_from_dgl(graph), dataset_from_pyg(data)
    assert ours.meta == theirs.meta
    for name in ("indptr", "indices", "edge_type", "edge_features"):
        assert np.array_equal(getattr(ours.graph, name), getattr(theirs.graph, name)), name
    assert np.array_equal(ours.features.array, theirs.features.array)
    assert np.array_equal(ours.splits, theirs.splits)
    assert dgl_input_types(graph) == pyg_input_types(data)


def test_a_dgl_graph_comes_back_as_it_was():
    found = dataset_from_pyg(hetero())
    graph = dataset_to_dgl(found)
    assert set(graph.canonical_etypes) == set(KINDS)
    again = dataset_from_dgl(graph)
    assert again.meta == found.meta
    assert np.array_equal(again.graph.edge_features, found.graph.edge_features)
    assert np.array_equal(again.labels, found.labels)


def test_a_homogeneous_dgl_graph_keeps_rows_and_weights():
    graph = dgl.graph(([0, 1, 2, 2], [1, 2, 0, 1]), num_nodes=4)
    graph.ndata["feat"] = torch.eye(4)
    graph.ndata["label"] = torch.tensor([0, 1, 0, -1])
    graph.edata["weight"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = dataset_from_dgl(graph)
    assert found.graph.in_neighbors(1).tolist() == [0, 2]
    assert found.graph.edge_weight.tolist() == [3.0, 1.0, 4.0, 2.0]
    back = dataset_to_dgl(found)
    assert back.is_homogeneous
    assert torch.equal(back.ndata["feat"], torch.eye(4))
    assert torch.equal(back.ndata["label"], graph.ndata["label"])


def test_types_without_times_are_there_from_the_start():
    data = hetero()
    data["paper"].time = torch.arange(12) + 2000
    found = dataset_from_pyg(data)
    assert found.node_time.tolist() == [2000] * 7 + list(range(2000, 2012))


def broken(change) -> Data | HeteroData:
    data = hetero() if change.__name__.startswith("typed") else plain()
    change(data)
    return data


def no_edges(data):
    del data.edge_index


def overlapping(data):
    data.val_mask = data.train_mask | data.val_mask


def short_mask(data):
    data.train_mask = data.train_mask[:4]


def many_labels(data):
    data.y = torch.zeros(10, 5)


def flat_positions(data):
    data.pos = torch.zeros(10, 2)


def outside(data):
    data.edge_index[0, 0] = 99


def short_weights(data):
    data.edge_weight = data.edge_weight[:4]


def typed_two_targets(data):
    data["author"].y = torch.zeros(7, dtype=torch.long)


def typed_some_features(data):
    del data[KINDS[0]].edge_attr


def typed_two_widths(data):
    data[KINDS[0]].edge_attr = torch.zeros(20, 9)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (no_edges, "no edge_index"),
        (overlapping, "overlaps another"),
        (short_mask, r"train mask of 'node' has shape \(4, 1\)"),
        (many_labels, r"labels of 'node' have shape \(10, 5\)"),
        (flat_positions, "3 coordinates"),
        (outside, "name node 99"),
        (short_weights, "edge_weight of edges node__edge__node has 4 rows"),
        (typed_two_targets, "author, paper all have labels"),
        (typed_some_features, "author__writes__paper have no features"),
        (typed_two_widths, "several widths"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, sentence):
    with pytest.raises(InputError, match=sentence):
        dataset_from_pyg(broken(change))


def test_a_target_is_chosen_among_those_with_labels():
    data = hetero()
    data["author"].y = torch.arange(7)
    assert dataset_from_pyg(data, target="author").labels.tolist() == [*range(7), *[-1] * 12]
    with pytest.raises(InputError, match="types with labels are author, paper"):
        dataset_from_pyg(data, target="venue")


def test_features_that_are_not_finite_are_refused():
    data = plain()
    data.x[3, 1] = torch.nan
    with pytest.raises(FeatureError, match=r"features\[3, 1\]"):
        dataset_from_pyg(data)


def test_a_missing_pyg_is_named_with_a_remedy(monkeypatch):
    found = dataset_from_pyg(plain())
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(MissingPackageError, match="pip install torch_geometric"):
        dataset_to_pyg(found)
