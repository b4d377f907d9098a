"""Rows between layers: the same answers with them and without, and never those of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import DIM, NUM_NODES, World, add_model, random_data

from sampling import Dataset, GraphStore
from service import layered as layered_module
from service.hidden import HiddenCache, HiddenKey
from service.layered import KEPT
from service.plan import BatchKey
from service.predictor import Predictor, open_predictor
from service.settings import Settings

KEY = HiddenKey("model", "graph", 1, 7)
OTHERS = [
    HiddenKey("other", "graph", 1, 7),
    HiddenKey("model", "other", 1, 7),
    HiddenKey("model", "graph", 0, 7),
    HiddenKey("model", "graph", 1, 8),
    HiddenKey("model", "graph", 1, None),
]
NODES = np.arange(50, dtype=np.int64)


def rows_of(nodes: np.ndarray, salt: float = 0.0) -> np.ndarray:
    return np.stack([nodes, nodes + salt], axis=1).astype(np.float32)


def test_what_was_put_is_found_under_its_own_key_alone():
    cache = HiddenCache(100_000)
    cache.put(KEY, NODES, rows_of(NODES))
    found, rows = cache.get(KEY, NODES[::-1].copy(), 2)
    assert found.mean() > 0.9
    assert (rows == rows_of(NODES[::-1][found])).all()
    for other in OTHERS:
        assert not cache.get(other, NODES, 2)[0].any()
    assert not cache.get(KEY, NODES + 1000, 2)[0].any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([KEY, *OTHERS]),
            st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True),
            st.sampled_from([2, 3]),
        ),
        max_size=30,
    ),
    st.integers(0, 400),
)
def test_a_row_that_is_found_was_put_under_its_key(puts, limit_bytes):
    """However few the slots are: what another key or node left there is not taken for it."""
    cache, put = HiddenCache(limit_bytes), dict[tuple, np.ndarray]()
    for number, (key, nodes, width) in enumerate(puts):
        array = np.array(nodes, np.int64)
        rows = np.full((len(nodes), width), number, np.float32)
        cache.put(key, array, rows)
        put |= {(key, node, width): row for node, row in zip(nodes, rows, strict=True)}
        for asked in (KEY, *OTHERS):
            found, rows = cache.get(asked, array, width)
            for node, row in zip(array[found].tolist(), rows, strict=True):
                assert (row <= put[asked, node, width]).all()
                assert row[0] in [n for n, (k, p, w) in enumerate(puts[: number + 1])
                                  if k == asked and node in p and w == width]  # fmt: skip
        assert cache.size_bytes <= limit_bytes


def test_a_row_in_use_stays_until_the_hand_came_by():
    cache = HiddenCache(2 * 4 + 21)  # one slot
    first, second = np.array([1]), np.array([2])
    cache.put(KEY, first, rows_of(first))
    assert cache.get(KEY, first, 2)[0].all()
    cache.put(KEY, second, rows_of(second))
    assert cache.get(KEY, first, 2)[0].all()
    cache.put(KEY, second, rows_of(second))
    cache.put(KEY, second, rows_of(second))
    assert cache.get(KEY, second, 2)[0].all()


def test_nothing_is_kept_without_room():
    cache = HiddenCache(0)
    cache.put(KEY, NODES, rows_of(NODES))
    assert not cache.get(KEY, NODES, 2)[0].any()
    assert cache.size_bytes == 0


def opened(world: World, hidden_cache_bytes: int, **changes: object) -> Predictor:
    given = world.settings(cache_bytes=0, hidden_cache_bytes=hidden_cache_bytes, **changes)
    return open_predictor(world.graph, world.models, None, given)


def compute(predictor: Predictor, nodes: np.ndarray, seed: int | None, model: str = "default"):
    key = BatchKey(predictor.registry.get(model), "exact" if seed is None else "sampled", seed)
    return predictor.compute(key, nodes)


@pytest.fixture(autouse=True)
def _small_batches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are kept however little lies under them."""
    monkeypatch.setattr(layered_module, "LEAST_EDGES", 0)
    monkeypatch.setattr(layered_module, "LEAST_BATCH_EDGES", 0)


@pytest.mark.parametrize("seed", [None, 0, 2**63 - 1])
def test_answers_are_the_same_with_rows_kept_and_without(world: World, seed: int | None):
    plain, keeps = opened(world, 0), opened(world, 1 << 20)
    hits = 0
    for nodes in (NODES, NODES + 25, np.array([0]), NODES * 20, NODES):
        expected, found = compute(plain, nodes, seed), compute(keeps, nodes, seed)
        np.testing.assert_allclose(found.rows, expected.rows, atol=1e-5)
        np.testing.assert_allclose(found.outputs, expected.outputs, atol=1e-5)
        hits += sum(hit for hit, _ in found.hidden.values())
    assert hits > 100
    assert not expected.hidden


def test_a_second_batch_of_the_same_nodes_reads_one_hop(world: World):
    predictor = opened(world, 1 << 20)
    first, again = compute(predictor, NODES, 3), compute(predictor, NODES, 3)
    assert first.sampled_edges > again.sampled_edges
    degrees = np.diff(predictor.data.graph.indptr)[NODES]
    assert again.sampled_edges <= np.minimum(degrees, 3).sum() * 1.5
    np.testing.assert_allclose(again.rows, first.rows, atol=1e-5)
    other = compute(predictor, NODES, 4)
    assert sum(hit for hit, _ in other.hidden.values()) == 0


def test_a_small_cache_changes_no_answer(world: World):
    plain, keeps = opened(world, 0), opened(world, 3000)
    rng = np.random.default_rng(0)
    for _ in range(6):
        nodes = np.unique(rng.integers(0, NUM_NODES, 40))
        expected = compute(plain, nodes, 5).rows
        np.testing.assert_allclose(compute(keeps, nodes, 5).rows, expected, atol=1e-5)


NODE_CONVS = sorted(KEPT)
VARIANTS = {
    "sage_gcn": {"conv": "sage", "aggregator": "gcn"},
    "norm_first": {"conv": "gcn", "norm": "layer", "norm_first": True, "residual": True,
                   "encoder": "linear"},
}  # fmt: skip


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model of three layers for every convolution that needs nothing but rows."""
    root = tmp_path_factory.mktemp("zoo")
    GraphStore.write(root / "graph", random_data(False, 4000))
    data: Dataset = GraphStore.open(root / "graph")
    for conv in [*NODE_CONVS, "rgcn"]:
        more = {"jumping": "cat"} if conv in ("gcn", "gat") else {}
        add_model(root / "models" / conv, data, 1, fanouts=(3, 2, 2), conv=conv, d_in=DIM, **more)
    for name, chosen in VARIANTS.items():
        add_model(root / "models" / name, data, 1, fanouts=(3, 2, 2), d_in=DIM, **chosen)
    add_model(root / "models" / "default", data, 2, fanouts=(3,))
    return World(root / "graph", root / "models", root / "none", data)


@pytest.fixture(scope="module")
def pair(zoo: World) -> tuple[Predictor, Predictor]:
    return opened(zoo, 0), opened(zoo, 1 << 20)


@pytest.mark.parametrize("conv", [*NODE_CONVS, *VARIANTS])
def test_every_convolution_gives_the_same_with_rows_kept(
    pair: tuple[Predictor, Predictor], conv: str
):
    plain, keeps = pair
    for seed in (None, 1):
        for nodes in (NODES[:20], NODES[10:30]):
            expected = compute(plain, nodes, seed, conv).rows
            np.testing.assert_allclose(
                compute(keeps, nodes, seed, conv).rows, expected, atol=1e-5, rtol=1e-5
            )


def test_what_reads_more_than_rows_is_computed_from_the_bottom(
    pair: tuple[Predictor, Predictor],
):
    assert not compute(pair[1], NODES[:20], None, "rgcn").hidden
    assert compute(pair[1], NODES[:20], None, "gcn").hidden


def test_a_model_of_one_layer_has_nothing_to_keep(pair: tuple[Predictor, Predictor]):
    assert not compute(pair[1], NODES, 0).hidden


def test_the_command_line_and_a_service_agree(world: World, tmp_path: Path):
    ids = [100, 101, 150]
    plain = opened(world, 0).predict(ids, mode="exact", include=["embedding"])
    predictor = opened(world, 1 << 20)
    for _ in range(2):
        found = predictor.predict(ids, mode="exact", include=["embedding"])
        for one, other in zip(plain.predictions, found.predictions, strict=True):
            np.testing.assert_allclose(one["embedding"], other["embedding"], atol=1e-5)
    assert Settings(graph=world.graph, models=world.models).hidden_cache_bytes > 0
