"""Serving only what is certified, and `gnn certify` that makes it so."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from world import World, add_model, running

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
    assert (first["replaced"], first["random_graph"]) == (False, False)
    open_strictly(world, models)


def test_a_certificate_needs_no_graph_and_replaces_an_older_one(world, models, capsys):
    for seed, replaced in ((0, False), (0, True), (5, True)):
        assert run("certify", models / "default", "--json", "--seed", seed) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["passed"], found["random_graph"]) == (True, True)
        assert found["replaced"] == replaced
    stored = load_model(models / "default").certificate
    assert (stored.errors, stored.seed, stored.random_graph) == (found["errors"], 5, True)
    open_strictly(world, models)


def test_a_server_shows_the_card_of_a_new_certificate(world, models):
    settings = world.settings(models_poll_s=0.02).model_copy(update={"models": models})

    def card() -> str:
        return client.get("/v1/models/default").json()["card"]

    with running(settings) as client:
        assert "Not certified" in card()
        digest = client.get("/v1/models/default").json()["digest"]
        assert run("certify", models / "default") == 0
        deadline = time.monotonic() + 60
        while "Certified on random graphs" not in card():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get("/v1/models/default").json()["digest"] == digest


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
