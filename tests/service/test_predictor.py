"""The synchronous core: the same answer by every road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from world import CLASSES, DIM, NUM_NODES, World, add_model, random_data

from gnn import embed, load_model
from sampling import Dataset, FullNeighborSampler, Graph, GraphStore, NeighborSampler
from sampling.errors import DamagedError, InputError, UnknownNodeError
from service.cost import exact_costs, sampled_costs
from service.described import NodeDescription
from service.errors import (
    LimitError,
    ModelNotFoundError,
    NewNodeError,
    NoTableError,
    VersionNotFoundError,
)
from service.predictor import Answer, Predictor, open_predictor

ALL = ("label", "probabilities", "embedding")


def opened(world: World, *, table: bool = False, **changes: object) -> Predictor:
    embeddings = world.embeddings if table else None
    given = world.settings(embeddings=embeddings, **changes)
    return open_predictor(world.graph, world.models, embeddings, given)


def embeddings(answer: Answer) -> np.ndarray:
    return np.array([entry["embedding"] for entry in answer.predictions])


def sources(answer: Answer) -> set[str]:
    return {entry["source"] for entry in answer.predictions}


def test_a_prediction_has_what_the_contract_says(world: World):
    answer = opened(world, table=True).predict([105], include=ALL)
    assert (answer.model, answer.model_version, answer.graph_version) == ("default", 1, 1)
    [entry] = answer.predictions
    assert list(entry) == ["node", "source", "mode", "label", "score", "probabilities", "embedding"]
    assert entry["node"] == 105
    assert entry["label"] in CLASSES
    assert entry["score"] == max(entry["probabilities"].values())
    assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_table_exact_and_cache_agree_for_every_node(world: World):
    ids = list(range(100, 100 + NUM_NODES))
    table = opened(world, table=True).predict(ids, include=ALL)
    computes = opened(world)
    computed = computes.predict(ids, mode="exact", include=ALL)
    cached = computes.predict(ids, mode="exact", include=ALL)
    assert (sources(table), sources(computed), sources(cached)) == (
        {"table"}, {"computed"}, {"cache"},
    )  # fmt: skip
    assert np.abs(embeddings(table) - embeddings(computed)).max() < 1e-5
    assert (embeddings(cached) == embeddings(computed)).all()
    for a, b in zip(table.predictions, computed.predictions, strict=True):
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-5)


def test_exact_equals_the_model_over_full_neighborhoods(world: World):
    saved = load_model(world.models / "default")
    nodes = torch.arange(0, NUM_NODES, 7)
    blocks = FullNeighborSampler(world.data.graph, 2).sample(nodes)
    with torch.no_grad():
        wanted = saved.model.encode(blocks, world.data.features.gather(blocks[0].src_nodes))
    got = opened(world).predict((nodes + 100).tolist(), mode="exact", include=["embedding"])
    assert np.abs(embeddings(got) - wanted.numpy()).max() < 1e-5


def test_sampled_draws_what_the_sampler_draws(world: World):
    saved = load_model(world.models / "default")
    nodes = torch.arange(0, NUM_NODES, 7)
    blocks = NeighborSampler(world.data.graph, [4, 3]).sample(nodes, seed=5)
    with torch.no_grad():
        wanted = saved.model.encode(blocks, world.data.features.gather(blocks[0].src_nodes))
    got = opened(world).predict(
        (nodes + 100).tolist(), mode="sampled", seed=5, include=["embedding"]
    )
    assert np.abs(embeddings(got) - wanted.numpy()).max() < 1e-5


@pytest.mark.parametrize("mode", ["auto", "exact", "sampled"])
def test_a_node_answers_alone_as_it_does_in_a_batch_of_a_thousand(world: World, mode: str):
    options = {"mode": mode, "include": ["embedding"], "seed": 3}
    ids = list(range(100, 1100))
    together = opened(world, exact_edge_budget=300).predict(ids, **options)
    alone = opened(world, exact_edge_budget=300)
    for i in range(0, 1000, 83):
        one = alone.predict([ids[i]], **options)
        assert np.abs(embeddings(one)[0] - embeddings(together)[i]).max() < 1e-5
        assert one.predictions[0]["mode"] == together.predictions[i]["mode"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(100, 1599), min_size=1, max_size=40), st.randoms())
def test_order_and_repeats_change_no_answer(world: World, ids: list[int], random):
    shuffled = ids * 2
    random.shuffle(shuffled)
    options = {"mode": "sampled", "include": ["embedding"]}
    first = dict(zip(ids, embeddings(opened(world).predict(ids, **options)), strict=True))
    second = opened(world, max_batch_cost_edges=20).predict(shuffled, **options)
    assert [entry["node"] for entry in second.predictions] == shuffled
    wanted = np.array([first[key] for key in shuffled])
    assert np.abs(embeddings(second) - wanted).max() < 1e-5


def test_a_seed_changes_the_neighbors_drawn_and_its_cache_entries(world: World):
    predictor = opened(world)
    first = predictor.predict([100], mode="sampled", seed=1, include=["embedding"])
    other = predictor.predict([100], mode="sampled", seed=2, include=["embedding"])
    again = predictor.predict([100], mode="sampled", seed=1, include=["embedding"])
    assert sources(other) == {"computed"}
    assert sources(again) == {"cache"}
    assert (embeddings(first) == embeddings(again)).all()
    assert (embeddings(first) != embeddings(other)).any()


def test_auto_samples_the_nodes_that_cost_too_much_and_no_others(world: World):
    answer = opened(world, exact_edge_budget=300).predict([100, 101, 105])
    assert [entry["mode"] for entry in answer.predictions] == ["sampled", "exact", "exact"]


def test_exact_refuses_a_node_beyond_the_limit_and_names_it(world: World):
    with pytest.raises(LimitError) as refused:
        opened(world, max_exact_edges=300).predict([105, 100], mode="exact")
    assert refused.value.data == {"nodes": [100]}
    assert refused.value.got > refused.value.limit == 300


def test_a_table_of_another_model_or_graph_is_not_used(world: World, tmp_path: Path):
    saved = load_model(add_model(tmp_path / "other", world.data, seed=9))
    for _ in embed(saved, world.data, tmp_path / "table"):
        pass
    stale = open_predictor(world.graph, world.models, tmp_path / "table", world.settings())
    assert sources(stale.predict([105])) == {"computed"}
    with pytest.raises(NoTableError):
        stale.predict([105], mode="table")


def test_a_table_with_predictions_answers_the_same(world: World, tmp_path: Path):
    saved = load_model(world.models / "default")
    for _ in embed(saved, world.data, tmp_path / "t", predictions=True):
        pass
    ids = list(range(100, 200))
    with_them = open_predictor(world.graph, world.models, tmp_path / "t", world.settings())
    for without in (opened(world, table=True), opened(world, table=True, table_outputs_bytes=0)):
        pairs = zip(with_them.predict(ids).predictions, without.predict(ids).predictions)  # noqa: B905
        for a, b in pairs:
            assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-6)
            assert (a["label"], a["source"]) == (b["label"], "table")


def test_an_unknown_id_refuses_all_and_computes_nothing(world: World):
    predictor = opened(world)
    with pytest.raises(UnknownNodeError) as refused:
        predictor.predict([105, 7, "105", 7, 2**62])
    assert refused.value.ids == [7, "105", 2**62]
    assert predictor.cache.stats().entries == 0


@pytest.mark.parametrize("table", [True, False])
def test_an_unknown_id_can_be_reported_instead(world: World, table: bool):
    answer = opened(world, table=table).predict([7, 105, 8], on_unknown="report", include=ALL)
    assert answer.predictions[0] == {"node": 7, "status": "unknown"}
    assert answer.predictions[2] == {"node": 8, "status": "unknown"}
    [alone] = opened(world, table=table).predict([105], include=ALL).predictions
    assert answer.predictions[1].keys() == alone.keys()
    assert answer.predictions[1]["embedding"] == pytest.approx(alone["embedding"], abs=1e-5)


def test_nothing_but_unknown_ids_and_nothing_at_all_are_answered(world: World):
    predictor = opened(world)
    assert predictor.predict([7], on_unknown="report").predictions == [
        {"node": 7, "status": "unknown"}
    ]
    assert predictor.predict([]).predictions == []


def test_string_ids_come_back_as_they_were_sent(string_world: World):
    answer = opened(string_world).predict(["n7", "n1", "n7"])
    assert [entry["node"] for entry in answer.predictions] == ["n7", "n1", "n7"]
    with pytest.raises(UnknownNodeError):
        opened(string_world).predict([5])


def test_include_says_what_is_answered(world: World):
    predictor = opened(world)
    [label] = predictor.predict([105], include=["label"]).predictions
    assert label.keys() == {"node", "source", "mode", "label", "score"}
    [row] = predictor.predict([105], include=["embedding"]).predictions
    assert row.keys() == {"node", "source", "mode", "embedding"}
    assert len(row["embedding"]) == 16


def test_a_regression_answers_with_a_value(world: World, tmp_path: Path):
    add_model(tmp_path / "default", world.data, seed=1, task="node-regression")
    answer = open_predictor(world.graph, tmp_path, None, world.settings()).predict([105])
    [entry] = answer.predictions
    assert entry.keys() == {"node", "source", "mode", "value"}
    assert isinstance(entry["value"], float)


def test_integer_classes_keep_their_type_and_their_keys_are_text(tmp_path: Path):
    data = random_data(False, 3000)
    labels = np.maximum(data.labels, 0)
    data = Dataset.in_memory(
        data.graph, features=data.features, labels=labels, classes=[10, 20, 30]
    )
    GraphStore.write(tmp_path / "graph", data)
    data = GraphStore.open(tmp_path / "graph")
    add_model(tmp_path / "models" / "default", data, seed=1)
    world = World(tmp_path / "graph", tmp_path / "models", tmp_path, data)
    [entry] = opened(world).predict([5]).predictions
    assert entry["label"] in (10, 20, 30)
    assert entry["probabilities"].keys() == {"10", "20", "30"}


# --- described nodes --------------------------------------------------------------------------


def grown(data: Dataset, x: np.ndarray, edges: list[list[int]]) -> Dataset:
    """The graph as it would be with the described nodes in it, behind all others."""
    graph, n = data.graph, data.graph.num_nodes
    dst = np.repeat(np.arange(n), graph.in_degrees())
    new_src = np.array([s for row in edges for s in row], np.int64)
    new_dst = np.array([n + i for i, row in enumerate(edges) for _ in row], np.int64)
    whole = Graph.from_edges(
        np.concatenate([graph.indices, new_src]), np.concatenate([dst, new_dst]),
        num_nodes=n + len(edges),
    )  # fmt: skip
    features = np.concatenate([data.features.array, x])
    return Dataset.in_memory(whole, features=features)


@pytest.mark.parametrize("conv", ["sage", "gcn"])
@pytest.mark.parametrize("mode", ["exact", "sampled"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_described_node_answers_as_if_it_were_in_the_graph(
    world: World, tmp_path: Path, conv: str, mode: str, layers: int
):
    edges = [[0, 5, 9], [], [7, 7, 3]]
    fanouts = (*[3] * (layers - 1), -1)
    saved = load_model(
        add_model(tmp_path / "default", world.data, seed=2, conv=conv, fanouts=fanouts)
    )
    x = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)
    whole = grown(world.data, x, edges)
    fanouts = [-1] * layers if mode == "exact" else fanouts
    seeds = torch.arange(NUM_NODES, NUM_NODES + 3)
    # at lower layers a described node keeps all its edges; the grown graph would draw among them
    wanted = []
    for seed_node in seeds:
        blocks = NeighborSampler(whole.graph, fanouts).sample(seed_node[None], seed=4)
        if mode == "sampled" and max(len(row) for row in edges) > 3:
            pytest.fail("the fanout must cover the described edges")
        with torch.no_grad():
            features = whole.features.gather(blocks[0].src_nodes)
            wanted.append(saved.model.encode(blocks, features)[0].numpy())
    predictor = open_predictor(world.graph, tmp_path, None, world.settings())
    new = [
        NodeDescription(f"new{i}", row.tolist(), [100 + s for s in sources])
        for i, (row, sources) in enumerate(zip(x, edges, strict=True))
    ]
    answer = predictor.predict([], mode=mode, seed=4, include=["embedding"], new_nodes=new)
    assert np.abs(embeddings(answer) - np.array(wanted)).max() < 1e-5
    assert predictor.cache.stats().entries == 0


@pytest.mark.parametrize("mode", ["auto", "sampled"])
def test_a_described_node_is_sampled_only_where_neighbors_of_its_neighbors_are_drawn(
    world: World, tmp_path: Path, mode: str
):
    add_model(tmp_path / "default", world.data, seed=1, fanouts=(1,))
    settings = world.settings(exact_edge_budget=0)
    new = [NodeDescription("new", [0.5] * DIM, list(range(105, 125)))]
    for models, wanted in ((tmp_path, "exact"), (world.models, "sampled")):
        predictor = open_predictor(world.graph, models, None, settings)
        [entry] = predictor.predict([], mode=mode, new_nodes=new).predictions
        assert entry["mode"] == wanted


def test_described_nodes_stand_where_nodes_names_them_or_last(world: World):
    new = [NodeDescription(i, [0.5] * DIM, [105]) for i in ("a", "b", "c")]
    answer = opened(world).predict(["b", 105, "b"], new_nodes=new)
    assert [entry["node"] for entry in answer.predictions] == ["b", 105, "b", "a", "c"]
    first, _, again, *_ = answer.predictions
    assert first == again


def test_a_described_node_answers_alone_as_in_company(world: World):
    new = [NodeDescription(i, [i / 9] * DIM, [100 + i, 105]) for i in range(9)]
    small = opened(world, max_batch_cost_edges=1)
    together = opened(world).predict([], new_nodes=new, include=["embedding"])
    pieces = small.predict([], new_nodes=new, include=["embedding"])
    assert np.abs(embeddings(together) - embeddings(pieces)).max() < 1e-5
    for i in (0, 4, 8):
        alone = opened(world).predict([], new_nodes=[new[i]], include=["embedding"])
        assert np.abs(embeddings(alone)[0] - embeddings(together)[i]).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"id": 105}, NewNodeError),
        ({"features": [1.0] * (DIM - 1)}, NewNodeError),
        ({"features": [1e300] * DIM}, NewNodeError),
        ({"features": [float("nan")] * DIM}, NewNodeError),
        ({"in_edges": [7]}, UnknownNodeError),
        ({"in_edges": ["new"]}, UnknownNodeError),
    ],
)
def test_a_wrong_description_is_refused(world: World, changes: dict, error: type):
    node = NodeDescription(**{"id": "new", "features": [0.0] * DIM, "in_edges": []} | changes)
    with pytest.raises(error):
        opened(world).predict([], new_nodes=[node])


def test_a_node_described_twice_or_asked_of_the_table_is_refused(world: World):
    node = NodeDescription("new", [0.0] * DIM)
    with pytest.raises(NewNodeError):
        opened(world).predict([], new_nodes=[node, node])
    with pytest.raises(NewNodeError):
        opened(world, table=True).predict([], new_nodes=[node], mode="table")


# --- cost -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40),
        )
    ),
    st.integers(0, 3),
    st.integers(0, 60),
)
def test_the_exact_cost_counts_walks_up_to_the_limit(graph_and_edges, layers: int, limit: int):
    n, edges = graph_and_edges
    src, dst = ([e[i] for e in edges] for i in (0, 1))
    graph = Graph.from_edges(src, dst, num_nodes=n)

    def cost(node: int, hops: int) -> int:
        if hops == 0:
            return 0
        near = graph.in_neighbors(node).tolist()
        return len(near) + sum(cost(u, hops - 1) for u in near)

    got = exact_costs(graph, np.arange(n), layers, limit)
    for node in range(n):
        wanted = cost(node, layers)
        assert got[node] == wanted if wanted <= limit else limit < got[node] <= wanted


def test_the_sampled_cost_is_an_upper_bound(world: World):
    nodes = np.arange(0, NUM_NODES, 11)
    costs = sampled_costs(world.data.graph, nodes, [4, 3])
    for node, cost in zip(nodes, costs, strict=True):
        blocks = NeighborSampler(world.data.graph, [4, 3]).sample([node])
        assert sum(block.num_edges for block in blocks) <= cost


# --- models -----------------------------------------------------------------------------------


def test_the_newest_version_answers_unless_another_is_asked_for(world: World, tmp_path: Path):
    for seed in (1, 2, 3):
        add_model(tmp_path / "m", world.data, seed=seed)
    predictor = open_predictor(world.graph, tmp_path, None, world.settings())
    assert predictor.predict([105]).model_version == 3
    assert predictor.predict([105], model="m", version=1).model_version == 1
    rows = [embeddings(predictor.predict([105], version=v, include=["embedding"])) for v in (1, 3)]
    assert (rows[0] != rows[1]).any(), "versions share no cache entries"
    with pytest.raises(VersionNotFoundError) as refused:
        predictor.predict([105], version=4)
    assert refused.value.known == [1, 2, 3]


def test_default_is_the_one_chosen_or_the_one_named_so_or_the_only_one(
    world: World, tmp_path: Path
):
    add_model(tmp_path / "b", world.data, seed=1)
    only = open_predictor(world.graph, tmp_path, None, world.settings())
    assert only.registry.resolve("default") == "b"
    assert only.predict([105]).model == "default"
    assert only.predict([105]).predictions == only.predict([105], model="b").predictions
    add_model(tmp_path / "a", world.data, seed=1)
    with pytest.raises(ModelNotFoundError):
        open_predictor(world.graph, tmp_path, None, world.settings()).predict([105])
    chosen = world.settings(default_model="a")
    assert open_predictor(world.graph, tmp_path, None, chosen).registry.resolve("default") == "a"
    add_model(tmp_path / "default", world.data, seed=1)
    named = open_predictor(world.graph, tmp_path, None, world.settings())
    assert named.registry.resolve("default") == "default"


@pytest.mark.parametrize(
    "name", ["../default", "..", "a/b", "%2e%2e", "Default", "", "\x00", "x" * 99]
)
def test_a_name_that_is_no_model_is_unknown(world: World, name: str):
    with pytest.raises(ModelNotFoundError):
        opened(world).predict([105], model=name)


def test_a_server_does_not_start_without_a_model_or_with_a_damaged_one(
    world: World, tmp_path: Path
):
    with pytest.raises(InputError, match="no model"):
        open_predictor(world.graph, tmp_path, None, world.settings())
    path = add_model(tmp_path / "default", world.data, seed=1)
    weights = path / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedError, match="weights"):
        open_predictor(world.graph, tmp_path, None, world.settings())
