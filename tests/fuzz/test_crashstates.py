"""A crash at any step of publishing leaves the old state or the new one, and nothing between."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from fuzz.crashstates import crash_states
from world import World, add_model, make_world

from gnn import EmbeddingTable, embed, list_versions, load_model
from sampling import Dataset, Graph, GraphStore
from sampling.errors import DamagedError
from sampling.graph.arrays import write_json
from service.jobs.folder import JobFolder
from service.jobs.published import PublishedTables, publish_table
from service.registry import ModelRegistry


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("crash"), num_edges=2000)


def small(edges: int) -> Dataset:
    rng = np.random.default_rng(edges)
    graph = Graph.from_edges(*rng.integers(0, 20, (2, edges)), num_nodes=20)
    return Dataset.in_memory(graph, features=rng.normal(size=(20, 3)).astype(np.float32))


def test_a_graph_that_is_replaced_is_the_old_or_the_new(tmp_path: Path):
    root = tmp_path / "root"
    old = GraphStore.write(root / "g", small(30)).fingerprint
    states = crash_states(
        root, tmp_path / "states",
        lambda: GraphStore.write(root / "g", small(40), overwrite=True),
    )  # fmt: skip
    found = [GraphStore.open(state / "g").meta.fingerprint for state in states]
    new = GraphStore.meta(root / "g").fingerprint
    assert len(states) > 12
    assert set(found) == {old, new}
    assert found.index(new) > 5
    assert set(found[found.index(new) :]) == {new}, "it went back"


def test_a_first_graph_is_whole_or_not_there(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    states = crash_states(
        root, tmp_path / "states", lambda: GraphStore.write(root / "g", small(30))
    )
    there = [state for state in states if (state / "g").exists()]
    assert 0 < len(there) < len(states)
    for state in there:
        GraphStore.open(state / "g")


def test_a_model_version_is_whole_or_not_there(world: World, tmp_path: Path):
    root = tmp_path / "models"
    add_model(root / "m", world.data, seed=1)
    states = crash_states(
        root, tmp_path / "states", lambda: add_model(root / "m", world.data, seed=2)
    )
    seen = set()
    for state in states:
        versions = list(list_versions(state, "m"))
        seen.add(tuple(versions))
        for version in versions:
            load_model(state / "m", version)
    assert seen == {(1,), (1, 2)}


def test_a_published_table_is_the_old_or_the_new(world: World, tmp_path: Path):
    root, saved = tmp_path / "jobs", load_model(world.models / "default")
    folders = [JobFolder(root, str(number) * 32) for number in (1, 2)]
    for folder in folders:
        folder.path.mkdir(parents=True)
        for _ in embed(saved, world.data, folder.table):
            pass
    publish_table(folders[0], "default", 1)
    states = crash_states(
        root, tmp_path / "states", lambda: publish_table(folders[1], "default", 1)
    )
    registry = ModelRegistry(world.models, world.data, None)
    served = []
    for state in states:
        assert len(PublishedTables(state / "published", registry).look(verify=True)) == 1
        table = registry.opened("default").table
        assert isinstance(table, EmbeddingTable)
        served.append(table.path.name)
    assert set(served) == {folder.job_id for folder in folders}
    assert served == sorted(served)


def test_the_recorder_sees_a_rename_of_what_was_not_synced(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    write_json(root / "x.json", {"is": "old"})

    def carelessly() -> None:
        (root / "y").write_text('{"is": "new"}')
        os.rename(root / "y", root / "x.json")  # noqa: PTH104 - as a careless writer would

    states = crash_states(root, tmp_path / "states", carelessly)
    contents = {(state / "x.json").read_text() for state in states}
    assert "" in contents, "the content of a file that was renamed unsynced may be lost"
    damaged = next(state for state in states if (state / "x.json").read_text() == "")
    with pytest.raises(DamagedError):
        from sampling.graph.arrays import read_json

        read_json(damaged / "x.json")
