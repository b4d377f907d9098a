"""Serving only what is certified, and `gnn certify` that makes it so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from world import World, add_model

from gnn.checkpoint import add_certificate, load_model
from gnn.errors import NotCertifiedError
from service.cli import main
from service.predictor import open_predictor


@pytest.fixture
def models(world: World, tmp_path: Path) -> Path:
    add_model(tmp_path / "models/default", world.data, seed=1)
    return tmp_path / "models"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return int(ended.value.code or 0)


def open_strictly(world: World, models: Path) -> None:
    settings = world.settings(require_certificate=True).model_copy(update={"models": models})
    open_predictor(world.graph, models, None, settings).self_test()


def test_a_model_without_a_certificate_is_refused_until_it_is_certified(world, models, capsys):
    with pytest.raises(NotCertifiedError, match="'default' version 1 has no certificate"):
        open_strictly(world, models)
    capsys.readouterr()  # what the predictor logged here
    assert run("certify", models / "default", "--graph", world.graph, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["passed"]
    assert first["stored"]["new"]
    open_strictly(world, models)
    assert run("certify", models / "default", "--graph", world.graph, "--json", "--seed", 5) == 0
    again = json.loads(capsys.readouterr().out)
    assert not again["stored"]["new"]
    assert again["stored"]["errors"] == first["errors"]


def test_a_certificate_that_did_not_pass_ends_the_command_and_is_not_served(world, models, capsys):
    arguments = ("certify", models / "default", "--graph", world.graph, "--tolerance", 1e-30)
    assert run(*arguments, "--json") == 2
    said = capsys.readouterr()
    assert not json.loads(said.out)["passed"]
    assert "did not pass" in said.err
    with pytest.raises(NotCertifiedError, match="did not pass"):
        open_strictly(world, models)


def test_a_second_model_without_a_certificate_leaves_the_first_to_serve(world, models):
    saved = load_model(models / "default")
    assert run("certify", models / "default", "--graph", world.graph) == 0
    assert load_model(saved.path).certificate is not None
    add_model(models / "other", world.data, seed=2)
    settings = world.settings(require_certificate=True, default_model="default")
    settings = settings.model_copy(update={"models": models})
    predictor = open_predictor(world.graph, models, None, settings)
    assert predictor.predict([105]).model_version == 1
    with pytest.raises(NotCertifiedError):
        predictor.predict([105], model="other")
    other = load_model(models / "other")
    add_certificate(other, load_model(saved.path).certificate)
    predictor.registry.refresh(lambda _: None)
    assert predictor.predict([105], model="other").predictions
