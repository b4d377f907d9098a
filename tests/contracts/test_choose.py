"""Kernels that draw by a rule: the compiled ones draw exactly the edges of their twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from sampling import Graph
from sampling.kernels import _core, reference

settings.register_profile("choose", max_examples=60, deadline=None)
settings.load_profile("choose")

FANOUTS = st.lists(st.sampled_from([-1, 0, 1, 3, 17, 70]), min_size=1, max_size=3)
SEEDS = st.integers(0, 2**64 - 1)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Typed, timed, weighted graphs; many weights are zero, and some are far from the others."""
    edges = draw(edge_lists(max_nodes=12, max_edges=900))
    rng, size = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), len(edges.src)
    weight = rng.integers(0, 4, size) * 10.0 ** rng.integers(-3, 4, size)
    kinds = rng.integers(0, 3, size) if draw(st.booleans()) else None
    return edges.graph(edge_type=kinds, edge_weight=weight, edge_time=rng.integers(-9, 9, size))


def assert_equal_batches(name: str, *args: object, threads: int = 2) -> None:
    ours = getattr(_core, name)(_core.ChoiceWorkspace(), *args, threads)
    twin = getattr(reference, name)(reference.ChoiceWorkspace(), *args, threads)
    for one, other in zip(ours[:-1], twin[:-1], strict=True):
        np.testing.assert_array_equal(one, other)
    for hop, expected in zip(ours[-1], twin[-1], strict=True):
        assert hop[2] == expected[2]
        for i in (0, 1, 3):
            np.testing.assert_array_equal(hop[i], expected[i])
            assert hop[i].dtype == expected[i].dtype


@given(graphs(), FANOUTS, SEEDS)
def test_weighted_draws_are_equal(graph, fanouts, seed):
    table = _core.alias_table(graph.indptr, graph.edge_weight, 2)
    np.testing.assert_array_equal(table, reference.alias_table(graph.indptr, graph.edge_weight, 1))
    nodes = np.arange(graph.num_nodes)
    assert_equal_batches(
        "weighted_blocks", graph.indptr, graph.indices, graph.edge_weight, table, nodes, fanouts, seed
    )  # fmt: skip


@given(graphs(), st.lists(st.sampled_from([0, 1, 7, 40]), min_size=1, max_size=2), SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_draws_with_replacement_are_equal(weighted, graph, fanouts, seed):
    table = _core.alias_table(graph.indptr, graph.edge_weight, 1) if weighted else None
    assert_equal_batches(
        "replacement_blocks", graph.indptr, graph.indices, table, np.arange(graph.num_nodes), fanouts, seed
    )  # fmt: skip


@given(graphs(), st.lists(st.lists(st.sampled_from([-1, 0, 1, 5, 66]), min_size=3, max_size=3),
                          min_size=1, max_size=2), SEEDS)  # fmt: skip
def test_typed_draws_are_equal(graph, fanouts, seed):
    assert_equal_batches(
        "typed_blocks", graph.indptr, graph.indices, graph.edge_type, np.arange(graph.num_nodes),
        np.array(fanouts, np.int64), seed,
    )  # fmt: skip


@given(graphs(), FANOUTS, SEEDS)
def test_layer_draws_are_equal(graph, fanouts, seed):
    assert_equal_batches(
        "labor_blocks", graph.indptr, graph.indices, np.arange(graph.num_nodes), fanouts, seed
    )


@given(graphs(), FANOUTS, SEEDS, st.booleans(), st.sampled_from([None, 1, 5, 2**63 - 1]), st.data())
def test_temporal_draws_are_equal(graph, fanouts, seed, recent, window, data):
    node, time = st.integers(0, graph.num_nodes - 1), st.sampled_from([-(2**63), -9, 0, 4, 9, 2**63 - 1])
    pairs = data.draw(st.lists(st.tuples(node, time), max_size=20))
    seeds, times = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    assert_equal_batches(
        "temporal_blocks", graph.indptr, graph.indices, graph.edge_type, graph.edge_time,
        seeds, times, fanouts, recent, window, seed,
    )  # fmt: skip
