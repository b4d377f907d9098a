"""Certificates: symmetric models pass, a model that looks at numbers fails, files are checked."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
import torch

from gnn import Certificate, TrainConfig, certify, load_model, save_model, train
from gnn.architecture import data_schema
from gnn.checkpoint import add_certificate
from gnn.conv.egnn import EGNNConv
from gnn.convs import CONVS
from gnn.errors import NotCertifiedError
from gnn.layerwise import infer
from gnn.measure import measure
from gnn.model_config import InputType
from gnn.recipes import RECIPES
from gnn.renumbering import renumbered, renumbered_model, shuffled_within
from sampling import Dataset, Graph, GraphCollection, NodeType
from sampling.errors import DamagedError, InputError


def typed_data(seed: int = 0) -> Dataset:
    """Two node types, two edge types, weights, times and edge features; parallel edges."""
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, 40, (2, 300))
    graph = Graph.from_edges(
        src,
        dst,
        num_nodes=40,
        edge_type=rng.integers(0, 2, 300),
        edge_weight=rng.random(300),
        edge_time=rng.integers(0, 5, 300),
        edge_features=rng.standard_normal((300, 3)),
        node_types=(NodeType("user", 0, 25), NodeType("item", 25, 40)),
        edge_types=("buys", "likes"),
    )
    return Dataset.in_memory(
        graph,
        features=rng.standard_normal((40, 6)).astype(np.float32),
        positions=rng.standard_normal((40, 3)).astype(np.float32),
    )


TYPES = (
    InputType(name="user", start=0, end=25, d_in=4),
    InputType(name="item", start=25, end=40, d_in=0),
)


@pytest.mark.parametrize("conv", ["sage", "gcn"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"jumping": "cat", "norm": "layer", "encoder": "mlp"},
        {"residual": True, "norm": "layer", "encoder": "linear", "norm_first": True},
    ],
)
def test_models_are_certified_with_errors_of_rounding_alone(data, make_model, conv, options):
    found = certify(make_model(conv=conv, **options), data)
    assert found.passed
    assert found.whole_graph
    assert 0 <= found.errors["permutation"] < 1e-5
    assert found.errors["permutation_float64"] < 1e-12
    assert (found.num_nodes, found.num_edges) == (60, data.graph.num_edges)


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_every_convolution_is_certified_with_all_that_edges_carry(conv, make_model):
    data = typed_data()
    config = {**RECIPES[conv].model, "conv": conv, **data_schema(data, conv), "d_hidden": 8}
    found = certify(make_model(**config), data, renumberings=2)
    assert found.passed, found.errors
    assert found.errors["permutation_float64"] < 1e-9
    motions = {"rotation", "reflection", "translation"}
    assert motions & found.errors.keys() == (motions if conv == "egnn" else set())


def test_a_model_that_looks_at_the_axes_fails_in_motion_alone(make_model, monkeypatch):
    data = typed_data()
    model = make_model(conv="egnn", **data_schema(data, "egnn"))
    plain = EGNNConv.combine
    monkeypatch.setattr(
        EGNNConv,
        "combine",
        lambda self, block, x, sent: plain(self, block, x, sent) + x[:, -1:].tanh(),
    )
    found = certify(model, data)
    assert found.errors["permutation"] < 1e-5
    assert min(found.errors[name] for name in ("rotation", "reflection", "translation")) > 1e-3
    assert not found.passed


def test_learned_embeddings_of_nodes_move_with_their_nodes(make_model):
    data = typed_data()
    model = make_model(encoder="typed", input_types=TYPES, d_out=3)
    assert certify(model, data).passed
    order = shuffled_within([0, 25, 40], np.random.default_rng(1))
    moved = infer(renumbered_model(model, order), renumbered(data, order))
    assert torch.allclose(moved, infer(model, data)[torch.from_numpy(order)], atol=1e-5)
    stayed = infer(model, renumbered(data, order))
    assert not torch.allclose(stayed, moved, atol=1e-2)


def test_renumbering_keeps_every_edge_with_all_that_it_carries():
    data = typed_data()
    order = shuffled_within([0, 25, 40], np.random.default_rng(3))

    def edges(data: Dataset, names: np.ndarray) -> list[tuple[float, ...]]:
        graph = data.graph
        dst = np.repeat(np.arange(graph.num_nodes), graph.in_degrees())
        columns = (names[graph.indices], names[dst], graph.edge_type, graph.edge_weight,
                   graph.edge_time, *graph.edge_features.T)  # fmt: skip
        return sorted(zip(*(c.tolist() for c in columns), strict=True))

    other = renumbered(data, order)
    assert edges(other, order) == edges(data, np.arange(40))
    assert np.array_equal(other.features.array, data.features.array[order])
    assert other.graph.node_types == data.graph.node_types


def test_a_model_that_looks_at_the_numbers_of_nodes_fails(data, make_model, monkeypatch):
    model = make_model()
    plain = type(model).head
    monkeypatch.setattr(
        type(model), "head", lambda self, h: plain(self, h) + torch.arange(len(h))[:, None] / 60
    )
    found = certify(model, data)
    assert not found.passed
    assert found.errors["permutation"] > 1e-2


def test_outputs_that_are_not_finite_fail(data, make_model):
    model = make_model()
    with torch.no_grad():
        model.project.bias[0] = float("nan")
    found = certify(model, data)
    assert found.errors["permutation"] is None
    assert not found.passed


def small_graphs() -> GraphCollection:
    """Graphs of 3 to 8 nodes with places, one class each."""
    parts = []
    for size in np.random.default_rng(0).integers(3, 9, 30).tolist():
        rng = np.random.default_rng((1, len(parts)))
        graph = Graph.from_edges(*rng.integers(0, size, (2, 3 * size)), num_nodes=size)
        x, places = rng.standard_normal((size, 6)), rng.standard_normal((size, 3))
        parts.append(Dataset.in_memory(graph, features=x.astype(np.float32),
                                       positions=places.astype(np.float32)))  # fmt: skip
    return GraphCollection.from_graphs(
        parts,
        labels=np.arange(30) % 3,
        classes=["x", "y", "z"],
        splits=np.resize(np.array([1, 1, 1, 2, 3], np.uint8), 30)[:, None],
    )


@pytest.mark.parametrize("conv", ["gin", "egnn"])
def test_models_of_whole_graphs_are_certified_on_a_collection(conv, make_model):
    data = small_graphs()
    places = {"d_position": 3, "d_in": 9} if conv == "egnn" else {}
    model = make_model(conv=conv, readout="sum", **places)
    found = certify(model, data)
    assert found.passed
    assert found.whole_graph
    assert found.errors["permutation_float64"] < 1e-12
    assert ("rotation" in found.errors) == (conv == "egnn")
    part = certify(model, data, max_edges=100)
    assert part.passed
    assert not part.whole_graph
    assert 0 < part.num_edges <= 100


def test_a_certificate_of_a_collection_covers_nodes_enough_and_one_graph_at_least(
    make_model, monkeypatch
):
    data, model = small_graphs(), make_model(conv="gin", readout="sum")
    sizes = set(data.sizes().tolist())
    assert certify(model, data, max_edges=1).num_nodes in sizes, "one graph, larger than that"
    monkeypatch.setattr(sys.modules["gnn.certify"], "MAX_GRAPH_NODES", 20)
    found = certify(model, data)
    assert max(sizes) < found.num_nodes <= 20
    assert not found.whole_graph


def test_a_classifier_of_graphs_is_measured_calibrated_and_described(make_model, tmp_path):
    data = small_graphs()
    config = TrainConfig(
        task="graph-classification", epochs=2, batch_size=8, balanced_seeds=True, focal_gamma=2.0
    )
    model = make_model(conv="gin", readout="sum")
    assert len(list(train(model, data, config))) == 2
    measured = measure(model, data, config)
    assert measured.calibration is not None
    assert measured.sizes == {"train": 18, "val": 6, "test": 6}
    saved = load_model(save_model(tmp_path / "m", model, data, config, measured))
    assert "- 30 graphs, " in saved.card
    assert "- 30 graphs with a label: `x` 10, `y` 10, `z` 10" in saved.card


def test_a_large_graph_is_checked_on_a_sampled_part(data, make_model):
    found = certify(make_model(), data, max_edges=100)
    assert found.passed
    assert not found.whole_graph
    assert 0 < found.num_edges <= 100
    assert found == certify(make_model(), data, max_edges=100)


@pytest.mark.parametrize("wrong", [{"renumberings": 0}, {"tolerance": 0.0}, {"tolerance": np.nan}])
def test_a_certificate_of_nothing_is_refused(data, make_model, wrong):
    with pytest.raises(InputError, match="must be positive"):
        certify(make_model(), data, **wrong)


def saved_with(tmp_path, data, model, certificate: Certificate | None):
    path = save_model(
        tmp_path / "m", model, data, TrainConfig(), {"test": {}}, certificate=certificate
    )
    return load_model(path)


def test_a_certificate_is_saved_with_the_model_and_shown_on_the_card(tmp_path, data, make_model):
    found = certify(make_model(), data)
    saved = saved_with(tmp_path, data, make_model(), found)
    assert saved.certificate == found.model_copy(update={"model_digest": saved.info.digest})
    assert "| permutation | " in saved.card
    saved.check_certificate()


def symmetry(card: str) -> str:
    return card.split("## Symmetry")[1].split("## Training")[0]


def test_a_certificate_can_be_added_and_replaced_and_shows_on_the_card(tmp_path, data, make_model):
    saved = saved_with(tmp_path, data, make_model(), None)
    assert "Not certified" in saved.card
    with pytest.raises(NotCertifiedError, match="has no certificate"):
        saved.check_certificate()
    before = {p.name: p.read_bytes() for p in saved.path.iterdir()}
    for renumberings in (1, 2):
        made = certify(saved.model, data, renumberings=renumberings)
        add_certificate(load_model(saved.path), made)
        after = {p.name: p.read_bytes() for p in saved.path.iterdir()}
        assert after.pop("certificate.json")
        card = after.pop("card.md").decode()
        assert f"{renumberings} random numberings" in symmetry(card)
        assert card.replace(symmetry(card), symmetry(saved.card)) == saved.card
        assert after == {name: b for name, b in before.items() if name != "card.md"}
        again = load_model(saved.path)
        again.check_certificate()
        assert (again.card, again.info.digest) == (card, saved.info.digest)
        assert again.certificate.renumberings == renumberings


def test_the_card_follows_the_certificate_and_not_what_was_written_on_it(
    tmp_path, data, make_model
):
    saved = saved_with(tmp_path, data, make_model(), certify(make_model(), data))
    path = saved.path / "card.md"
    path.write_text(saved.card.replace(symmetry(saved.card), "\n\nCertified by me.\n\n"))
    assert load_model(saved.path).card == saved.card
    (saved.path / "certificate.json").unlink()
    assert "Not certified" in symmetry(load_model(saved.path).card)


def test_a_card_whose_checksum_covers_its_certificate_still_loads(tmp_path, data, make_model):
    saved = saved_with(tmp_path, data, make_model(), certify(make_model(), data))
    content = json.loads((saved.path / "model.json").read_text())
    old = (saved.path / "card.md").read_bytes()
    content["files"]["card.md"] = hashlib.sha256(old).hexdigest()
    del content["digest"]
    text = json.dumps(content, sort_keys=True).encode()
    content["digest"] = hashlib.sha256(text).hexdigest()
    (saved.path / "model.json").write_text(json.dumps(content))
    (saved.path / "certificate.json").unlink()
    add_certificate(load_model(saved.path), certify(saved.model, data, renumberings=7))
    assert (saved.path / "card.md").read_bytes() == old
    assert "7 random numberings" in load_model(saved.path).card
    (saved.path / "card.md").write_bytes(old + b" ")
    with pytest.raises(DamagedError, match=r"card\.md"):
        load_model(saved.path)


def test_a_certificate_that_did_not_pass_is_refused(tmp_path, data, make_model):
    found = certify(make_model(), data).model_copy(update={"errors": {"permutation": 0.5}})
    with pytest.raises(NotCertifiedError, match="did not pass"):
        saved_with(tmp_path, data, make_model(), found).check_certificate()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_digest": "0" * 64}, "belongs to another model"),
        ({"tolerance": -1}, "tolerance"),
        ({"errors": {"permutation": "small"}}, "errors.permutation"),
        ({"errors": {"a | b\n# c": 0.0}}, "errors"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_certificate_that_was_changed_is_damage(tmp_path, data, make_model, change, what):
    saved = saved_with(tmp_path, data, make_model(), certify(make_model(), data))
    path = saved.path / "certificate.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamagedError, match=what):
        load_model(saved.path)
