"""Which model answers: aliases, and versions that come and go while requests are answered."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from inprocess import InProcess, in_process
from world import World, add_model, make_world

from gnn import embed, load_model
from sampling import GraphStore
from sampling.errors import InputError
from service.errors import ModelNotFoundError, VersionNotFoundError
from service.predictor import Predictor, open_predictor


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    add_model(world.models / "default", world.data, seed=2)
    add_model(world.models / "fraud", world.data, seed=3)
    return world


def opened(world: World, **settings) -> Predictor:
    given = world.settings(**settings)
    return open_predictor(world.graph, world.models, None, given)


def test_an_alias_is_another_name_with_or_without_a_version(world: World):
    registry = opened(world, aliases="live=default,canary=default@1,f=fraud").registry
    assert registry.get("live").version == 2
    assert registry.get("canary").version == 1
    assert registry.get("canary", 2).version == 2
    assert registry.get("f").name == "fraud"
    assert registry.aliases_of("default") == ["canary", "live"]
    assert registry.names == ["default", "fraud"], "an alias is no model"
    with pytest.raises(VersionNotFoundError):
        registry.get("live", 3)


@pytest.mark.parametrize("aliases", ["fraud=default", "default=fraud", "a=nope", "a=fraud@2"])
def test_an_alias_of_nothing_or_over_a_model_is_refused(world: World, aliases: str):
    with pytest.raises(InputError, match="alias"):
        opened(world, aliases=aliases)


@pytest.mark.parametrize("aliases", ["a", "a=b@0", "a=b@x", "a=../b", "A=b", "a=b c", "=b"])
def test_what_is_no_alias_is_refused(world: World, aliases: str):
    with pytest.raises(ValueError, match="aliases"):
        world.settings(aliases=aliases)


def test_refresh_opens_what_is_new_and_forgets_what_is_gone(world: World):
    predictor = opened(world)
    registry = predictor.registry
    assert registry.refresh(predictor.test) == []
    add_model(world.models / "fraud", world.data, seed=5)
    add_model(world.models / "other", world.data, seed=6)
    changed = registry.refresh(predictor.test)
    assert sorted((m.name, m.version) for m in changed) == [("fraud", 2), ("other", 1)]
    assert registry.opened("fraud").version == 2
    held = registry.opened("other")
    shutil.rmtree(world.models / "other")
    shutil.rmtree(world.models / "fraud" / "2")
    assert [(m.name, m.version) for m in registry.refresh(predictor.test)] == [("fraud", 1)]
    with pytest.raises(ModelNotFoundError):
        registry.get("other")
    with pytest.raises(VersionNotFoundError):
        registry.get("fraud", 2)
    predictor.test(held)


def test_a_version_that_cannot_answer_is_passed_over_until_it_changes(world: World):
    predictor = opened(world)
    registry = predictor.registry
    path = add_model(world.models / "fraud", world.data, seed=5)
    manifest = path / "model.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content.replace(b"sage", b"sagf"))
    tried = []
    for _ in range(3):
        assert registry.refresh(tried.append) == []
    assert tried == []
    assert registry.get("fraud").version == 1
    manifest.write_bytes(content)
    [model] = registry.refresh(tried.append)
    assert (model.version, len(tried)) == (2, 1)


def test_a_version_that_fails_its_test_does_not_answer(world: World):
    predictor = opened(world)
    add_model(world.models / "fraud", world.data, seed=5)

    def fails(model) -> None:
        raise InputError("not this one")

    assert predictor.registry.refresh(fails) == []
    assert predictor.registry.get("fraud").version == 1


def test_a_model_of_another_width_is_passed_over(world: World):
    predictor = opened(world)
    add_model(world.models / "fraud", world.data, seed=5, d_in=3)
    assert predictor.registry.refresh(predictor.test) == []
    assert predictor.registry.get("fraud").version == 1


def predict(client: InProcess | httpx.Client, **body) -> dict:
    response = client.post("/v1/nodes/predict", json={"nodes": [105], **body})
    assert response.status_code == 200, response.text
    return response.json()


def wait_for(client: InProcess, model: str, version: int) -> None:
    deadline = time.monotonic() + 10
    while predict(client, model=model)["model_version"] != version:
        assert time.monotonic() < deadline
        client.run(asyncio.sleep(0.02))


def test_a_server_follows_its_directory(world: World):
    settings = world.settings(models_poll_s=0.05, aliases="canary=fraud@1")
    with in_process(settings) as client:
        listed = {m["name"]: m for m in client.get("/v1/models").json()["models"]}
        assert listed["fraud"]["aliases"] == ["canary"]
        add_model(world.models / "fraud", world.data, seed=5)
        wait_for(client, "fraud", 2)
        assert predict(client, model="canary")["model_version"] == 1
        assert predict(client, model="canary")["model"] == "canary"
        detail = client.get("/v1/models/canary").json()
        assert (detail["name"], detail["versions"]) == ("fraud", [1, 2])
        assert client.get("/health/ready").json()["checks"]["models"] == {"default": 2, "fraud": 2}
        lines = client.get("/metrics").text.splitlines()
        served = {line for line in lines if line.startswith("gnn_model_info{") and "fraud" in line}
        assert sorted(line.split()[-1] for line in served) == ["0.0", "1.0"]
        shutil.rmtree(world.models / "fraud" / "2")
        wait_for(client, "fraud", 1)


def test_every_answer_while_versions_change_is_of_one_version_exactly(world: World):
    data = GraphStore.open(world.graph)
    truth = {}

    def learn(version: int) -> None:
        saved = load_model(world.models / "fraud" / str(version))
        out = world.graph.parent / f"truth{version}"
        list(embed(saved, data, out))
        truth[version] = np.load(out / "embeddings.npy")[5]

    learn(1)
    stop = threading.Event()

    def publish() -> None:
        for seed in range(10, 14):
            path = add_model(world.models / "fraud", world.data, seed=seed)
            learn(int(path.name))
            time.sleep(0.1)
        stop.set()

    seen = set()
    with in_process(world.settings(models_poll_s=0.02)) as client:
        publisher = threading.Thread(target=publish)
        publisher.start()
        answers = []
        while not stop.is_set():
            answer = predict(client, model="fraud", mode="exact", include=["embedding"])
            answers.append((answer["model_version"], answer["predictions"][0]["embedding"]))
        publisher.join()
        wait_for(client, "fraud", 5)
    for version, row in answers:
        assert np.abs(np.array(row) - truth[version]).max() < 1e-5
        seen.add(version)
    assert len(seen) > 1
