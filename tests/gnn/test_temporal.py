"""The future changes nothing: every prediction is of what came strictly before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn import build_model, evaluate, load_model, save_model, train
from gnn.architecture import architecture_for
from gnn.convs import CONVS
from gnn.errors import TrainingError
from gnn.evaluate import evaluate_parts
from gnn.inputs import with_inputs
from gnn.model import GNN
from gnn.recipes import Recipe
from gnn.temporal_evaluate import TemporalReading, score_in_time, temporal_logits
from gnn.temporal_recipes import temporal_recipe
from gnn.temporal_split import cut_by_time, split_by_time
from gnn.train import session_for
from gnn.train_config import TrainConfig
from sampling import Dataset, Graph, NodeType
from sampling.errors import InputError
from sampling.graph.linksets import INVERSE, LinkSet
from sampling.temporal_links import SeenDestinations, TemporalLinkLoader, TimedLinks

NODES, NOW, END = 24, 50, 90
LINK = {"task": "link-prediction", "temporal": True, "split": (0.7, 0.15, 0.15)}
LAYERS = [
    *((conv, {}) for conv in sorted(CONVS)),
    *(("sage", {"aggregator": name}) for name in ("sum", "max", "weighted", "gcn")),
    *(("gcn", {"norm": "batch", "norm_first": first}) for first in (False, True)),
]
LAYER_NAMES = ["-".join([conv, *map(str, chosen.values())]) for conv, chosen in LAYERS]
every_layer = pytest.mark.parametrize(("conv", "chosen"), LAYERS, ids=LAYER_NAMES)


def edges(rng: np.random.Generator, count: int, start: int, end: int, typed: bool) -> dict:
    return {
        "src": rng.integers(0, NODES, count),
        "dst": rng.integers(0, NODES, count),
        "edge_time": rng.integers(start, end, count),
        "edge_weight": rng.uniform(0.5, 2, count).astype(np.float32),
        "edge_features": rng.normal(size=(count, 2)).astype(np.float32),
        **({"edge_type": rng.integers(0, 3, count)} if typed else {}),
    }


def world(past: int, seed: int, count: int = 80, typed: bool = False) -> Dataset:
    """A past up to NOW that depends on `past` alone, and a future that depends on `seed`."""
    before = edges(np.random.default_rng(past), 150, 0, NOW, typed)
    after = edges(np.random.default_rng((seed, 1)), count, NOW, END, typed)
    return world_of({name: np.append(before[name], after[name], 0) for name in before}, past)


def world_of(columns: dict, seed: int = 0, every: int = 1) -> Dataset:
    """These edges, between nodes that depend on `seed` alone, at times of `every` so many."""
    columns, types = dict(columns), ()
    if "edge_type" in columns:
        types = (NodeType("a", 0, 10), NodeType("b", 10, NODES))
        columns["edge_types"] = ("p", "q", "r")
    graph = Graph.from_edges(
        columns.pop("src"), columns.pop("dst"), num_nodes=NODES, node_types=types, **columns
    )
    rng = np.random.default_rng(seed)
    return Dataset.in_memory(
        graph,
        features=rng.normal(size=(NODES, 5)).astype(np.float32),
        positions=rng.normal(size=(NODES, 3)).astype(np.float32),
        labels=rng.integers(0, 3, NODES),
        node_time=rng.integers(0, NOW + 1, NODES) // every * every,
    )


def by_decades() -> dict:
    """Edges of few times, so that many are of the very moment that a node is asked for at."""
    columns = edges(np.random.default_rng(4), 300, 0, END, typed=True)
    return columns | {"edge_time": columns["edge_time"] // 10 * 10}


def shuffled(columns: dict, later: np.ndarray) -> dict:
    """Who was there later, when and with what, in any other order."""
    return {name: _put(column, later, _mixed(column[later], len(name)))
            for name, column in columns.items()}  # fmt: skip


def removed(columns: dict, later: np.ndarray) -> dict:
    return {name: column[~later] for name, column in columns.items()}


def altered(columns: dict, later: np.ndarray) -> dict:
    """Other features, weights and types, on the same edges."""
    features, weights, types = (
        columns[name] for name in ("edge_features", "edge_weight", "edge_type")
    )
    return columns | {
        "edge_features": _put(features, later, 9 - 3 * features[later]),
        "edge_weight": _put(weights, later, 1 / weights[later]),
        "edge_type": _put(types, later, (types[later] + 1) % 3),
    }


def _put(column: np.ndarray, where: np.ndarray, values: np.ndarray) -> np.ndarray:
    column = column.copy()
    column[where] = values
    return column


def _mixed(column: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(column)


def model_of(data: Dataset, conv: str = "tgat", task: str = "link-prediction", **chosen) -> GNN:
    torch.manual_seed(0)
    recipe = temporal_recipe(conv, data, 2, task)
    recipe = Recipe({**recipe.model, "d_hidden": 8, "dropout": 0.0}, recipe.train)
    fixed = {"time_scale": 3.0, "mean_log_degree": 1.0}
    return build_model(architecture_for(task, data, recipe, fixed | chosen))


def questions(seed: int, typed: bool) -> TimedLinks:
    """Asked up to NOW: what happens at NOW is not yet known then."""
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, NODES, (2, 30))
    return TimedLinks(src, dst, rng.integers(1, NOW + 1, 30), np.arange(30) % 3 if typed else None)


def scores(
    model: GNN, data: Dataset, asked: TimedLinks, reading: TemporalReading
) -> tuple[torch.Tensor, ...]:
    data = with_inputs(data, model.config)
    negatives = SeenDestinations(asked)
    loader = TemporalLinkLoader(
        data, reading.sampler(model, data), asked, negatives, 8, 2, seed=3, resample=False
    )
    return tuple(torch.cat(rows) for rows in zip(*score_in_time(model, loader), strict=True))


def logits_of(
    model: GNN, data: Dataset, nodes: np.ndarray, reading: TemporalReading
) -> torch.Tensor:
    return temporal_logits(model, with_inputs(data, model.config), nodes, reading)


@every_layer
@settings(max_examples=6, deadline=None)
@given(past=st.integers(0, 99), future=st.integers(0, 99), count=st.integers(0, 200),
       typed=st.booleans(), strategy=st.sampled_from(["recent", "uniform"]),
       fanout=st.sampled_from([-1, 1, 4]))  # fmt: skip
def test_another_future_changes_no_score_to_the_bit(
    conv, chosen, past, future, count, typed, strategy, fanout
):
    one, other = world(past, 1, typed=typed), world(past, future, count, typed)
    model, asked = model_of(one, conv, **chosen), questions(past, typed)
    expected = scores(model, one, asked, TemporalReading((fanout,) * 2, strategy, 1))
    for threads in (1, 4):
        reading = TemporalReading((fanout,) * 2, strategy, threads)
        found = scores(model, other, asked, reading)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("change", [shuffled, removed, altered])
@every_layer
def test_what_happens_from_a_time_on_changes_no_output_at_that_time_or_before(conv, chosen, change):
    """To the bit; beside nodes of later times, which do see the change, but for rounding."""
    columns = by_decades()
    one = world_of(columns, every=10)
    model = model_of(one, conv, "node-classification", **chosen)
    for now in (20, 30):
        other = world_of(change(columns, columns["edge_time"] >= now), every=10)
        before = np.flatnonzero(one.node_time <= now)
        after = np.flatnonzero(one.node_time > now)
        for reading in (TemporalReading(), TemporalReading((3, 2), "uniform", 4)):
            alone, again = (logits_of(model, d, before, reading) for d in (one, other))
            assert torch.equal(alone, again)
            together = logits_of(model, other, np.arange(NODES), reading)
            assert torch.allclose(together[before], alone, rtol=1e-4, atol=1e-5)
            later = logits_of(model, one, after, reading)
            if conv != "identity" and change is not altered:
                assert not torch.allclose(together[after], later, atol=1e-2)


@every_layer
def test_training_on_nodes_knows_nothing_of_what_happens_later(conv, chosen):
    columns, found = by_decades(), []
    config = TrainConfig(temporal=True, epochs=2, batch_size=8, fanouts=(4, 4), monitor="accuracy")
    one = world_of(columns, every=10)
    val = session_for(model_of(one, conv, "node-classification", **chosen), one, config).val_nodes
    later = columns["edge_time"] >= one.node_time[val].max()
    for changed in (columns, *(change(columns, later) for change in (shuffled, removed, altered))):
        data = world_of(changed, every=10)
        model = model_of(data, conv, "node-classification", **chosen)
        reports = [(r.loss, r.metrics["val"]) for r in train(model, data, config)]
        found.append((reports, model.state_dict()))
    for reports, state in found[1:]:
        assert reports == found[0][0]
        assert all(torch.equal(tensor, found[0][1][name]) for name, tensor in state.items())


def test_the_past_does_change_scores():
    one, other = world(4, 1), world(5, 1)
    model, asked = model_of(one), questions(4, False)
    reading = TemporalReading((4, 4))
    other = replace(other, features=one.features)
    assert not torch.equal(
        scores(model, one, asked, reading)[0], scores(model, other, asked, reading)[0]
    )


def with_test_edges(seed: int) -> Dataset:
    """Edges of train and val that never change, and as many test edges, at later times."""
    before = edges(np.random.default_rng(0), 170, 0, NOW, True)
    after = edges(np.random.default_rng((seed, 1)), 30, NOW, END, True)
    return world_of({name: np.append(before[name], after[name], 0) for name in before})


@pytest.mark.parametrize("threads", [1, 4])
@every_layer
def test_training_and_validation_know_nothing_of_the_test_edges(conv, chosen, threads):
    config = TrainConfig(**LINK, epochs=2, batch_size=40, fanouts=(4, 4), num_threads=threads)
    found = []
    for seed in (1, 2):
        data = with_test_edges(seed)
        data = data if conv == "egnn" else replace(data, features=None)
        model = model_of(data, conv, **chosen)
        reports = [(r.loss, r.metrics["val"]) for r in train(model, data, config)]
        found.append((reports, model.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, found[1][1][name]) for name, a in found[0][1].items())


@given(st.integers(0, 99), st.booleans(), st.sampled_from([-1, 2]))
@settings(max_examples=15, deadline=None)
def test_no_edge_is_in_its_own_sample_nor_any_of_its_time(seed, typed, fanout):
    data = world(seed, seed, typed=typed)
    model, parts = model_of(data), split_by_time(data)
    sampler = TemporalReading((fanout,) * 2).sampler(model, data)
    for batch in TemporalLinkLoader(data, sampler, parts.links, parts.seen("test"), 16, 2):
        assert torch.equal(batch.blocks[-1].dst_nodes, batch.seeds)
        assert torch.equal(batch.blocks[-1].dst_times, batch.times)
        size = len(batch.links)
        assert torch.equal(batch.seeds[batch.pairs[0, :size]], torch.from_numpy(batch.links.src))
        assert torch.equal(batch.seeds[batch.pairs[1, :size]], torch.from_numpy(batch.links.dst))
        again = torch.from_numpy(batch.links.times).repeat_interleave(2)
        assert torch.equal(batch.times[batch.pairs[1, size:]], again)
        for block in batch.blocks:
            until = block.dst_times.repeat_interleave(block.in_degrees())
            assert (block.edge_time < until).all()


@given(st.integers(0, 99), st.booleans())
@settings(max_examples=15, deadline=None)
def test_degrees_in_time_count_the_edges_before_the_time(seed, typed):
    data = world(seed, seed, typed=typed)
    graph = data.graph
    sampler = TemporalReading((3, 3)).sampler(model_of(data), data)
    rng = np.random.default_rng(seed)
    batch = sampler.sample(rng.integers(0, NODES, 9), rng.integers(-5, END + 5, 9))
    dst = np.repeat(np.arange(NODES), graph.in_degrees())
    for block, times in zip(batch.blocks, batch.src_times, strict=True):
        pairs = zip(block.src_nodes.tolist(), times.tolist(), strict=True)
        expected = [int(((dst == node) & (graph.edge_time < t)).sum()) for node, t in pairs]
        assert block.src_degrees().tolist() == expected
        assert block.dst_degrees().tolist() == expected[: block.num_dst]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.floats(0, 1), st.floats(0, 1))
def test_equal_times_go_to_one_part_and_later_ones_to_a_later_part(times, first, second):
    shares = (first, (1 - first) * second, (1 - first) * (1 - second))
    parts = cut_by_time(np.array(times), shares)
    ordered = parts[np.argsort(times, kind="stable")]
    assert (np.diff(ordered) >= 0).all()
    assert all(len(set(parts[np.array(times) == t])) == 1 for t in times)
    assert (parts == 0).sum() >= round(len(times) * shares[0])


def test_parts_of_edges_follow_each_other_in_time():
    parts = split_by_time(world(1, 1))
    pieces = [parts.part(name) for name in ("train", "val", "test")]
    assert sum(len(p) for p in pieces) == len(parts.links) == 230
    assert pieces[0].times.max() < pieces[1].times.min()
    assert pieces[1].times.max() < pieces[2].times.min()


def test_undirected_and_inverse_edges_are_asked_for_once():
    src, dst, when = np.array([0, 1, 2, 0]), np.array([1, 2, 3, 3]), np.array([1, 2, 3, 4])
    both = {"edge_time": np.tile(when, 2)}
    ends = np.append(src, dst), np.append(dst, src)
    undirected = Dataset.in_memory(Graph.from_edges(*ends, **both))
    assert split_by_time(undirected).links.times.tolist() == when.tolist()
    types = {"edge_type": np.repeat([0, 1], 4), "edge_types": ("e", INVERSE + "e")}
    inverse = split_by_time(Dataset.in_memory(Graph.from_edges(*ends, **both, **types)))
    assert np.array_equal(inverse.links.src, src)
    assert np.array_equal(inverse.links.dst, dst)


def test_negatives_are_other_destinations_and_depend_on_the_edge_alone():
    links = questions(3, True)
    drawn = SeenDestinations(links).sample(links, 40, seed=5)
    for i in range(len(links)):
        same = links.dst[links.types == links.types[i]]
        assert set(drawn[i]) <= set(same) - {links.dst[i]}
    order = np.random.default_rng(0).permutation(len(links))
    again = SeenDestinations(links).sample(links.take(order), 40, seed=5)
    assert np.array_equal(again, drawn[order])
    assert np.array_equal(SeenDestinations(links).sample(links, 3, seed=5), drawn[:, :3])
    assert not np.array_equal(SeenDestinations(links).sample(links, 40, seed=6), drawn)


def test_negatives_are_uniform():
    from scipy import stats

    candidates = TimedLinks(np.zeros(8, np.int64), np.arange(8) * 3, np.arange(8))
    asked = TimedLinks(np.arange(9000), np.full(9000, 6), np.arange(9000))
    drawn = SeenDestinations(candidates).sample(asked, 1).ravel()
    counts = np.bincount(drawn // 3, minlength=8)
    assert counts[2] == 0
    assert stats.chisquare(np.delete(counts, 2)).pvalue > 1e-3
    unseen = replace(asked, dst=np.full(9000, 7))
    counts = np.bincount(SeenDestinations(candidates).sample(unseen, 1).ravel() // 3, minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_what_cannot_be_split_or_drawn_is_said():
    data = world(1, 1)
    timeless = replace(data, graph=replace(data.graph, edge_time=None))
    with pytest.raises(TrainingError, match="ingest a time column"):
        split_by_time(timeless)
    apart = replace(data, links=LinkSet.of([[0, 1]], [2], times=[3]))
    with pytest.raises(TrainingError, match="without a split"):
        split_by_time(apart)
    with pytest.raises(TrainingError, match="train a share"):
        split_by_time(data, (0.0, 0.5, 0.5))
    one = TimedLinks(np.array([0, 1]), np.array([2, 2]), np.array([0, 1]))
    with pytest.raises(InputError, match="one node alone"):
        SeenDestinations(one)
    typed = replace(one, dst=np.array([2, 3]), types=np.zeros(2, np.int64))
    with pytest.raises(InputError, match="came before"):
        SeenDestinations(typed).sample(replace(typed, types=np.ones(2, np.int64)), 1)
    with pytest.raises(InputError, match="task of temporal training"):
        TrainConfig(task="graph-classification", temporal=True)
    no_decoder = build_model(replace(model_of(data).config, decoder="none"))
    with pytest.raises(TrainingError, match="no decoder"):
        session_for(no_decoder, data, TrainConfig(**LINK))
    timeless_nodes = replace(data, node_time=None)
    nodes = model_of(data, "sage", "node-classification")
    with pytest.raises(TrainingError, match="time column of nodes"):
        session_for(nodes, timeless_nodes, TrainConfig(temporal=True))
    with pytest.raises(InputError, match="one for each of the 2 layers"):
        session_for(nodes, data, TrainConfig(temporal=True, fanouts=(3,)))


def meetings(rng: np.random.Generator) -> Dataset:
    """Everyone meets members of one club of two, again and again."""
    time = np.arange(1500)
    src = rng.integers(0, 60, 1500)
    dst = 60 + 2 * rng.integers(0, 10, 1500) + src % 2
    ends = np.append(src, dst), np.append(dst, src)
    return Dataset.in_memory(Graph.from_edges(*ends, num_nodes=80, edge_time=np.tile(time, 2)))


def test_edges_to_come_are_learned_and_measured_again_from_the_file(tmp_path):
    data = meetings(np.random.default_rng(0))
    recipe = temporal_recipe("tgat", data)
    torch.manual_seed(0)
    chosen = {"d_hidden": 16}
    model = build_model(architecture_for("link-prediction", data, recipe, chosen))
    settings_ = {**recipe.train, "epochs": 6, "lr": 0.01, "batch_size": 50}
    config = TrainConfig(**settings_, **LINK, num_threads=1)
    reports = list(train(model, data, config))
    assert reports[-1].metrics["val"].keys() == {"average_precision", "loss"}
    options = {k: v for k, v in LINK.items() if k != "epochs"} | {"fanouts": config.fanouts}
    metrics = evaluate_parts(model, data, **options, num_threads=1)
    # A negative of the same club cannot be told from an edge: 0.75 is the most on average, and
    # 225 edges put chance at 0.5 ± 0.03.
    assert metrics["test"]["roc_auc"] > 0.62
    assert set(metrics["test"]) == {"average_precision", "roc_auc", "mrr", "loss"}
    saved = load_model(save_model(tmp_path / "m", model, data, config, metrics))
    assert saved.info.training["temporal"] is True
    assert evaluate(saved.model, data, "test", **options, num_threads=4) == metrics["test"]


def test_nodes_are_learned_at_their_times():
    """A node's label is the kind of its latest neighbor then; its edges change kind later."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 400)
    early, late = kind[:, None] + 2 * rng.integers(0, 10, (400, 3)), np.full((400, 3), 1)
    src = np.concatenate([early.ravel(), (1 - kind)[:, None].repeat(3, 1).ravel() * late.ravel()])
    dst = np.tile(np.repeat(np.arange(20, 420), 3), 2)
    when = np.concatenate([rng.integers(0, 100, 1200), rng.integers(200, 300, 1200)])
    graph = Graph.from_edges(src, dst, num_nodes=420, edge_time=when)
    features = np.zeros((420, 2), np.float32)
    features[np.arange(20), np.arange(20) % 2] = 1
    data = Dataset.in_memory(
        graph,
        features=features,
        labels=np.append(np.full(20, -1), kind),
        node_time=np.append(np.zeros(20, np.int64), rng.integers(100, 200, 400)),
    )
    recipe = temporal_recipe("sage", data, 1, "node-classification")
    chosen = {"d_hidden": 8, "dropout": 0.0}
    model = build_model(architecture_for("node-classification", data, recipe, chosen))
    config = TrainConfig(**{**recipe.train, "epochs": 8, "lr": 0.05}, temporal=True)
    session = session_for(model, data, config)
    times = data.node_time
    val = session.val_nodes
    assert len(val) == pytest.approx(80, abs=6)
    list(train(model, data, config))
    metrics = evaluate_parts(model, data, temporal=True)
    assert metrics["test"]["accuracy"] > 0.97
    without = evaluate_parts(model, data)["test"]["accuracy"]
    assert without < metrics["test"]["accuracy"]
    assert times[val].max() <= np.quantile(times[20:], 0.82)
