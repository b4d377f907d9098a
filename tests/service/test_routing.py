"""Which version answers to a name: routes, shares of requests, and what keeps them."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World, add_model, make_world

from sampling.errors import DamagedError, InputError
from service.errors import RoutingStoreError, UnloadedError, VersionNotFoundError
from service.model_index import ModelIndex
from service.predictor import Predictor, open_predictor
from service.routing import Route, Routing, RoutingState, Share, content_of, is_in_share
from service.routing_file import RoutingFile, routing_of

FRAUD = Route(model="fraud")
IDS = st.lists(st.integers() | st.text(max_size=8), max_size=5)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("routed"))
    for seed in (1, 2, 3):
        add_model(world.models / "fraud", world.data, seed)
    return world


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    """The same graph with models of its own."""
    shutil.copytree(built.models, tmp_path / "models")
    return World(built.graph, tmp_path / "models", built.embeddings, built.data)


def opened(world: World, **settings: object) -> Predictor:
    return open_predictor(world.graph, world.models, None, world.settings(**settings))


def nothing() -> bytes:
    return b""


# --- shares -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(IDS, st.floats(0.001, 1), st.floats(0.001, 1))
def test_who_is_in_a_share_stays_in_a_larger_one(ids: list[int | str], a: float, b: float):
    small, large = (Share(version=2, share=s) for s in sorted((a, b)))
    content = content_of(ids)()
    if is_in_share("canary", FRAUD, small, content):
        assert is_in_share("canary", FRAUD, large, content)
    assert is_in_share("canary", FRAUD, Share(version=2, share=1.0), content)


def test_a_share_is_of_that_size_and_shadows_draw_anew():
    share = Share(version=2, share=0.2)
    drawn = {
        kind: {i for i in range(5000) if is_in_share(kind, FRAUD, share, content_of([i])())}
        for kind in ("canary", "shadow")
    }
    assert all(880 < len(numbers) < 1120 for numbers in drawn.values())
    assert 140 < len(drawn["canary"] & drawn["shadow"]) < 260


def test_a_number_and_its_text_are_two_contents_and_order_matters():
    contents = [content_of(ids)() for ids in ([1], ["1"], [1, 2], [2, 1], ["1, 2"], [])]
    assert len(set(contents)) == len(contents)
    assert content_of(["\ud800"])()


NO_SHARES = ["fraud@2", "fraud@2:5", "fraud:5%", "fraud@0:5%", "fraud@2:101%", "fraud@2:-1%",
             "a=fraud@2:5%", "../a@2:5%", "fraud@2:5%;"]  # fmt: skip


@pytest.mark.parametrize("text", NO_SHARES)
def test_what_is_no_share_is_refused(world: World, text: str):
    with pytest.raises(ValueError, match="canary"):
        world.settings(canary=text)


# --- routes -----------------------------------------------------------------------------------


def test_routes_come_from_the_settings_and_what_was_set_goes_before(world: World):
    settings = world.settings(
        aliases="live=fraud@1,all=fraud", canary="live@2:5%,fraud@3:12.5%", shadow="live@3:100%"
    )
    routing = Routing.of(settings)
    assert routing.routes["live"] == Route(
        model="fraud",
        version=1,
        canary=Share(version=2, share=0.05),
        shadow=Share(version=3, share=1.0),
    )
    assert routing.resolve("all", None).canary == Share(version=3, share=0.125), "the model's own"
    assert routing.resolve("../x", None).model == "../x"
    state = RoutingState(aliases={"live": Route(model="fraud", version=2)})
    assert routing.with_state(state).resolve("live", None) == Route(model="fraud", version=2)
    assert Routing.of(world.settings(canary="fraud@2:0%,fraud@3:0.0%")).routes == {}


def test_default_follows_the_routes_of_the_model_that_it_is():
    given = {"fraud": Route(model="fraud", version=2, canary=Share(version=3, share=0.5))}
    assert Routing(given).resolve("default", "fraud") == given["fraud"]
    pinned = Routing({**given, "default": Route(model="fraud", version=1)})
    assert pinned.resolve("default", "fraud") == Route(model="fraud", version=1)


@pytest.mark.parametrize(
    "settings",
    [{"canary": "fraud@9:5%"}, {"shadow": "nope@1:5%"}, {"aliases": "fraud=default@1"}],
)
def test_a_route_of_the_settings_that_leads_nowhere_stops_the_start(world: World, settings: dict):
    with pytest.raises(InputError, match="alias"):
        opened(world, **settings)


def test_a_name_may_be_pinned_and_default_too(world: World):
    registry = opened(world, aliases="fraud=fraud@2").registry
    assert (registry.get("fraud").version, registry.get("fraud", 3).version) == (2, 3)
    (world.models / "default").rename(world.models / "other")
    registry = opened(world, aliases="default=fraud@1").registry
    assert (registry.get("default").name, registry.get("default").version) == ("fraud", 1)


# --- canaries ---------------------------------------------------------------------------------


def test_a_canary_answers_its_share_and_the_newest_other_the_rest(world: World):
    registry = opened(world, canary="fraud@3:30%").registry
    arms = [registry.choose("fraud", None, content_of([i])) for i in range(400)]
    assert {(choice.arm, choice.model.version) for choice in arms} == {("canary", 3), ("stable", 2)}
    assert 70 < sum(choice.arm == "canary" for choice in arms) < 170
    again = opened(world, canary="fraud@3:30%").registry
    assert [again.choose("fraud", None, content_of([i])).arm for i in range(400)] == [
        choice.arm for choice in arms
    ]
    assert registry.choose("fraud", 3, nothing).arm is None
    assert registry.choose("default", None, nothing).arm is None
    assert registry.get("fraud").version == 2, "a version on trial is not the newest"


def test_a_canary_that_cannot_answer_leaves_its_share_to_the_others(world: World):
    damage(world.models / "fraud" / "3")
    registry = opened(world, canary="fraud@3:100%").registry
    choice = registry.choose("fraud", None, nothing)
    assert (choice.arm, choice.model.version) == ("stable", 2)
    registry = opened(world, canary="fraud@2:100%").registry
    assert registry.choose("fraud", None, nothing, lambda model: False).model.version == 1
    assert registry.choose("fraud", None, nothing).model.version == 2


def test_a_shadow_is_drawn_beside_the_answer(world: World):
    registry = opened(world, aliases="live=fraud@1", shadow="live@3:50%").registry
    drawn = [registry.choose("live", None, content_of([i])) for i in range(100)]
    assert {choice.model.version for choice in drawn} == {1}
    assert {choice.shadow and choice.shadow.version for choice in drawn} == {None, 3}


def damage(path: Path) -> None:
    weights = path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


# --- loading and unloading --------------------------------------------------------------------


def test_unloaded_versions_do_not_answer_and_who_has_one_goes_on(world: World):
    predictor = opened(world)
    registry = predictor.registry
    held = registry.get("fraud")
    state = RoutingState(unloaded={"fraud": [3]})
    [model] = registry.follow(registry.routing.with_state(state), predictor.test)
    assert (model.version, registry.get("fraud").version) == (2, 2)
    with pytest.raises(UnloadedError, match="version 3"):
        registry.get("fraud", 3)
    predictor.test(held)
    state = RoutingState(unloaded={"fraud": [1, 2, 3]})
    assert registry.follow(registry.routing.with_state(state), predictor.test) == []
    for ask in (registry.get, registry.opened, registry.newest):
        with pytest.raises(UnloadedError):
            ask("fraud")
    assert registry.names == ["default"]
    [model] = registry.follow(registry.routing.with_state(RoutingState()), predictor.test)
    assert model.version == 3


def test_a_pin_of_the_settings_to_what_was_unloaded_stops_nothing_else(world: World):
    state = {"unloaded": {"fraud": [2]}}
    (world.models / "routing.json").write_text(json.dumps(state))
    predictor = opened(world, aliases="fraud=fraud@2")
    predictor.self_test()
    assert predictor.registry.names == ["default"]
    with pytest.raises(UnloadedError):
        predictor.registry.get("fraud")
    assert predictor.registry.get("fraud", 1).version == 1


def test_a_loaded_version_is_open_without_being_asked_for(world: World):
    predictor = opened(world)
    registry = predictor.registry
    assert registry.opened("fraud", 1) is None
    state = RoutingState(loaded={"fraud": [1]})
    registry.follow(registry.routing.with_state(state), predictor.test)
    assert registry.opened("fraud", 1) is not None


def test_many_versions_asked_for_never_close_what_names_lead_to(world: World):
    registry = opened(world, aliases="live=fraud@1").registry
    for seed in range(4, 22):
        add_model(world.models / "many", world.data, seed)
    registry.refresh(lambda model: None)
    for version in range(1, 19):
        registry.get("many", version)
    assert registry.opened("fraud", 1) is not None
    assert registry.opened("fraud") is not None
    with registry._lock:
        assert len(registry._open) <= 17


def test_a_version_replaced_by_another_answers_anew_and_by_a_damaged_one_as_before(world: World):
    predictor = opened(world)
    registry = predictor.registry
    before = registry.get("fraud")
    path = world.models / "fraud" / "3"
    shutil.rmtree(path)
    shutil.copytree(world.models / "fraud" / "1", path)
    assert registry.refresh(predictor.test) != []
    assert registry.get("fraud").saved.info.digest != before.saved.info.digest
    now = registry.get("fraud")
    for name in ("model.json", "weights.safetensors"):
        (path / name).write_bytes(b"{")
    assert registry.refresh(predictor.test) == []
    assert registry.get("fraud") is now
    predictor.test(now)


def test_a_model_that_no_version_of_answers_says_why(world: World):
    predictor = opened(world)
    add_model(world.models / "wide", world.data, 1, d_in=3)
    registry = predictor.registry
    registry.refresh(predictor.test)
    with pytest.raises(Exception, match="made for") as first:
        registry.get("wide")
    with pytest.raises(type(first.value)):
        registry.get("wide")
    assert registry.why_refused("wide", 1) is not None


def test_a_folder_of_an_odd_name_or_content_stops_nothing(world: World):
    predictor = opened(world)
    for name in ("a..b/1", "empty", "link/1", "deep/1/model.json", "Odd/1", "nul/01"):
        (world.models / name).mkdir(parents=True)
    (world.models / "fraud" / "7").symlink_to(world.models / "fraud" / "1")
    (world.models / "sideways").symlink_to(world.models / "fraud")
    registry = predictor.registry
    registry.refresh(predictor.test)
    assert registry.names == ["default", "fraud"]
    with pytest.raises(VersionNotFoundError):
        registry.get("fraud", 7)
    assert registry.get("fraud").version == 3


def test_a_manifest_is_read_again_only_when_it_changed(world: World, monkeypatch):
    reads = []
    real = ModelIndex._task.__globals__["model_info"]
    monkeypatch.setattr(
        "service.model_index.model_info", lambda path: reads.append(path) or real(path)
    )
    index = ModelIndex(world.models)
    assert {name: listed.task for name, listed in index.look().items()} == {
        "default": "node-classification",
        "fraud": "node-classification",
    }
    assert len(reads) == 2, "of every name the newest"
    index.look()
    assert len(reads) == 2
    (world.models / "fraud" / "3" / "model.json").write_text("{}")
    index.look()
    index.look()
    assert [path.name for path in reads[2:]] == ["3", "2"]


# --- the file ---------------------------------------------------------------------------------


def test_what_is_set_is_read_back_and_revisions_grow(tmp_path: Path):
    file = RoutingFile(tmp_path / "routing.json")
    assert (file.read(), file.signature()) == (RoutingState(), None)
    route = Route(model="fraud", version=3, canary=Share(version=4, share=0.05))

    def change(state: RoutingState) -> RoutingState:
        return state.model_copy(update={"aliases": {**state.aliases, "live": route}})

    first, second = file.edit(change), file.edit(lambda state: state)
    assert (first.revision, second.revision) == (1, 2)
    assert file.read().aliases == {"live": route}
    assert sorted(p.name for p in tmp_path.iterdir()) == [".routing.json.lock", "routing.json"]


def test_edits_at_once_are_all_kept(tmp_path: Path):
    def add(number: int) -> None:
        def change(state: RoutingState) -> RoutingState:
            aliases = {**state.aliases, f"a{number}": Route(model="fraud")}
            return state.model_copy(update={"aliases": aliases})

        RoutingFile(tmp_path / "routing.json").edit(change)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = RoutingFile(tmp_path / "routing.json").read()
    assert (len(state.aliases), state.revision) == (12, 12)


BROKEN = [
    b"",
    b"[]",
    b"{",
    b'{"revision": -1}',
    b'{"format_version": 2}',
    b'{"other": 1}',
    b'{"aliases": {"../x": {"model": "fraud"}}}',
    b'{"aliases": {"x": {"model": "../fraud"}}}',
    b'{"aliases": {"x": {"model": "a", "canary": {"version": 1, "share": 1.5}}}}',
    b'{"aliases": {"x": {"model": "a", "version": true}}}',
    b'{"unloaded": {"a": ["1"]}}',
    b"\xff",
    b"[" * 100_000,
    b" " * (1 << 23),
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:20]))
def test_a_file_that_is_no_routing_file_is_refused_by_name(tmp_path: Path, content: bytes):
    (tmp_path / "routing.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"routing\.json"):
        RoutingFile(tmp_path / "routing.json").read()


def test_a_server_does_not_start_with_a_damaged_file(world: World):
    (world.models / "routing.json").write_text("{")
    with pytest.raises(DamagedError, match=r"routing\.json"):
        opened(world)
    (world.models / "routing.json").write_text(json.dumps({"unloaded": {"fraud": [3]}}))
    assert opened(world).registry.get("fraud").version == 2
    assert routing_of(world.settings()).is_unloaded("fraud", 3)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RoutingStoreError):
        RoutingFile(tmp_path / "file" / "routing.json").edit(lambda state: state)
    with pytest.raises(RoutingStoreError):
        RoutingFile(tmp_path / "gone" / "routing.json").edit(lambda state: state)
