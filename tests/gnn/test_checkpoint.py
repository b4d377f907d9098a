"""Models on disk come back as they were, or are refused by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gnn import TrainConfig, list_models, list_versions, load_model, model_path, save_model
from gnn.errors import ModelNameError, SchemaMismatchError, UnknownModelError
from gnn.model_paths import check_name
from sampling import Dataset
from sampling.errors import DamagedError, FutureFormatError, InputError

METRICS = {"val": {"accuracy": 0.5}, "test": {"accuracy": 0.25}}


@pytest.fixture
def saved_path(tmp_path, data, make_model) -> Path:
    config = TrainConfig(fanouts=(4, 3))
    return save_model(tmp_path / "models" / "first", make_model(), data, config, METRICS)


def reseal(path: Path, **changes: object) -> None:
    """Change model.json and give it the checksums of what is there, as an attacker would."""
    content = json.loads((path / "model.json").read_text()) | changes
    content["files"] = {
        name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in content["files"]
    }
    described = {k: v for k, v in content.items() if k != "digest"}
    text = json.dumps(described, sort_keys=True).encode()
    content["digest"] = hashlib.sha256(text).hexdigest()
    (path / "model.json").write_text(json.dumps(content))


def test_a_model_comes_back_as_it_was(saved_path, data, make_model):
    saved, model = load_model(saved_path), make_model()
    blocks, x = [data.graph.block()] * 2, data.features.tensor()
    assert torch.equal(saved.model(blocks, x), model.eval()(blocks, x))
    assert not saved.model.training
    assert saved.info.config == model.config
    assert saved.info.classes == ["a", "b", "c"]
    assert saved.info.fanouts == [4, 3]
    assert (saved.info.name, saved.info.version, saved.info.d_in) == ("first", 1, 6)
    assert saved.metrics == METRICS
    assert "| test | 0.2500 |" in saved.card


def test_the_aggregator_comes_back_and_is_the_mean_where_none_is_said(
    tmp_path, saved_path, data, make_model
):
    model = make_model(aggregator="gcn")
    path = save_model(tmp_path / "models" / "joined", model, data, TrainConfig(), METRICS)
    blocks, x = [data.graph.block()] * 2, data.features.tensor()
    saved = load_model(path)
    assert saved.info.config.aggregator == "gcn"
    assert torch.equal(saved.model(blocks, x), model.eval()(blocks, x))
    config = json.loads((path / "model.json").read_text())["config"]
    reseal(path, config=config | {"aggregator": "mean"})
    with pytest.raises(DamagedError, match=r"convs\.0\."):
        load_model(path)
    config = json.loads((saved_path / "model.json").read_text())["config"]
    del config["aggregator"]
    reseal(saved_path, config=config)
    assert load_model(saved_path).info.config.aggregator == "mean"


def test_saving_again_adds_a_version_and_changes_none(saved_path, data, make_model):
    before = {p.name: p.read_bytes() for p in saved_path.iterdir()}
    second = save_model(saved_path.parent, make_model(seed=1), data, TrainConfig(), METRICS)
    assert second == saved_path.parent / "2"
    assert {p.name: p.read_bytes() for p in saved_path.iterdir()} == before
    assert load_model(saved_path.parent).info.version == 2
    assert load_model(saved_path).info.digest != load_model(second).info.digest


def test_models_and_versions_are_listed_in_order(saved_path, data, make_model):
    root = saved_path.parent.parent
    for _ in range(10):
        save_model(root / "first", make_model(), data, TrainConfig(), METRICS)
    save_model(root / "another", make_model(), data, TrainConfig(), METRICS)
    (root / "empty").mkdir()
    assert list_models(root) == ["another", "first"]
    assert list_versions(root, "first") == list(range(1, 12))
    assert model_path(root, "first") == root / "first" / "11"
    assert model_path(root, "first", 3) == root / "first" / "3"
    assert list_models(root / "nowhere") == []


@pytest.mark.parametrize(
    "name",
    ["../first", "..", ".", "", "a/b", "/etc", "First", "a" * 65, "a..b", "é", "a\n", "-a", "a\0",
     3],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused(saved_path, name):
    with pytest.raises(ModelNameError):
        model_path(saved_path.parent.parent, name)
    with pytest.raises(ModelNameError):
        check_name(name)


def test_saving_under_an_unsafe_name_is_refused(tmp_path, data, make_model):
    with pytest.raises(ModelNameError):
        save_model(tmp_path / "Not Good", make_model(), data, TrainConfig(), METRICS)


def test_symbolic_links_are_not_followed(saved_path, tmp_path):
    root = saved_path.parent.parent
    (root / "link").symlink_to(saved_path.parent)
    with pytest.raises(ModelNameError, match="symbolic link"):
        model_path(root, "link")
    (root / "first" / "7").symlink_to(tmp_path)
    with pytest.raises(ModelNameError, match="leads out"):
        model_path(root, "first", 7)
    assert list_models(root) == ["first"]


def test_what_is_not_there_is_said_with_what_is(saved_path):
    root = saved_path.parent.parent
    with pytest.raises(UnknownModelError, match="no model 'second'; there is: first"):
        model_path(root, "second")
    with pytest.raises(UnknownModelError, match="no version 4; there is: 1"):
        model_path(root, "first", 4)
    with pytest.raises(UnknownModelError, match="no model 'second'"):
        load_model(root / "second")
    with pytest.raises(UnknownModelError, match="no version 9"):
        load_model(root / "first" / "9")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "metrics.json"])
def test_any_flipped_bit_cut_or_missing_file_is_named(saved_path, name):
    path = saved_path / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((DamagedError, FutureFormatError), match=name.split(".")[0]):
            load_model(saved_path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=name):
        load_model(saved_path)
    path.unlink()
    with pytest.raises(DamagedError, match=f"{name} is missing"):
        load_model(saved_path)


def test_a_newer_format_is_refused(saved_path):
    reseal(saved_path, format_version=2)
    with pytest.raises(FutureFormatError, match="format version 2"):
        load_model(saved_path)


def damage_weights(path: Path, name: str, change) -> None:
    weights = load_file(path / "weights.safetensors")
    weights[name] = change(weights[name]).contiguous()
    save_file(weights, path / "weights.safetensors")
    reseal(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t[:, :3], r"as torch.float32 \(8, 3\) instead of"),
        (lambda t: t.double(), "torch.float64"),
        (lambda t: torch.full_like(t, float("nan")), "not finite"),
    ],
)
def test_weights_that_do_not_fit_the_architecture_are_named(saved_path, change, what):
    damage_weights(saved_path, "convs.0.own.weight", change)
    with pytest.raises(DamagedError, match=f"convs.0.own.weight.*{what}|{what}"):
        load_model(saved_path)


def test_missing_and_unknown_tensors_are_named(saved_path):
    weights = load_file(saved_path / "weights.safetensors")
    lacking = {k: v for k, v in weights.items() if k != "y_mean"}
    for wrong, what in (
        (lacking, "lacks tensor y_mean"),
        (weights | {"z": torch.ones(1)}, "z"),
    ):
        save_file(wrong, saved_path / "weights.safetensors")
        reseal(saved_path)
        with pytest.raises(DamagedError, match=what):
            load_model(saved_path)


def test_an_architecture_that_cannot_be_is_damage(saved_path):
    config = json.loads((saved_path / "model.json").read_text())["config"]
    for wrong in ({"num_layers": 10**9}, {"conv": "os.system"}, {"d_hidden": "eight"}):
        reseal(saved_path, config=config | wrong)
        with pytest.raises(DamagedError, match=r"model.json"):
            load_model(saved_path)
    reseal(saved_path, config=config | {"d_hidden": 2**20})
    with pytest.raises(DamagedError, match="instead of"):
        load_model(saved_path)


def test_weights_that_are_not_numbers_are_not_saved(tmp_path, data, make_model):
    model = make_model()
    with torch.no_grad():
        model.convs[0].own.bias[0] = float("inf")
    with pytest.raises(InputError, match=r"convs.0.own.bias"):
        save_model(tmp_path / "m", model, data, TrainConfig(), METRICS)
    assert not (tmp_path / "m").exists()


def test_a_graph_with_other_features_is_refused(saved_path, data):
    saved = load_model(saved_path)
    saved.check(data)
    other = Dataset.in_memory(data.graph, features=data.features.array[:, :4].copy())
    with pytest.raises(SchemaMismatchError, match="width 6, but the graph has 4"):
        saved.check(other)
    with pytest.raises(SchemaMismatchError, match="none"):
        saved.check(Dataset.in_memory(data.graph))
