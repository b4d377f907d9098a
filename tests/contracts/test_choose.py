"""Kernels that draw by a rule: the compiled ones draw exactly the edges of their twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import edge_lists

from sampling import Graph
from sampling.kernels import _core, reference

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
        "weighted_blocks", graph.indptr, graph.indices, graph.edge_weight, table, nodes, fanouts,
        seed,
    )  # fmt: skip


@given(graphs(), st.lists(st.sampled_from([0, 1, 7, 40]), min_size=1, max_size=2), SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_draws_with_replacement_are_equal(weighted, graph, fanouts, seed):
    table = _core.alias_table(graph.indptr, graph.edge_weight, 1) if weighted else None
    assert_equal_batches(
        "replacement_blocks", graph.indptr, graph.indices, table, np.arange(graph.num_nodes),
        fanouts, seed,
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
    node, time = (
        st.integers(0, graph.num_nodes - 1),
        st.sampled_from([-(2**63), -9, 0, 4, 9, 2**63 - 1]),
    )
    pairs = data.draw(st.lists(st.tuples(node, time), max_size=20))
    seeds, times = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    assert_equal_batches(
        "temporal_blocks", graph.indptr, graph.indices, graph.edge_type, graph.edge_time,
        seeds, times, fanouts, recent, window, seed,
    )  # fmt: skip


@pytest.mark.parametrize("wide", [np.int32, np.int64])
def test_hubs_are_drawn_alike_by_every_rule(wide):
    """Long rows: alias draws that run out of patience, races over several runs, many hash runs."""
    degree, rng = 3000, np.random.default_rng(0)
    indptr = np.array([0, degree, 2 * degree, 3 * degree], np.int64)
    indices = (np.arange(3 * degree) % 3).astype(wide)
    heavy = rng.random(3 * degree).astype(np.float32)
    heavy[5], heavy[degree : 2 * degree] = 1e9, 0
    heavy[degree + 7] = 1
    table, nodes = reference.alias_table(indptr, heavy, 1), np.array([2, 0, 1, 0])
    np.testing.assert_array_equal(table, _core.alias_table(indptr, heavy, 2))
    times = np.tile(np.arange(degree) // 2, 3)
    for fanout in (1, 40, 800):
        fanouts, per_type = [fanout], np.array([[fanout]])
        assert_equal_batches("weighted_blocks", indptr, indices, heavy, table, nodes, fanouts, 7)
        assert_equal_batches("replacement_blocks", indptr, indices, table, nodes, fanouts, 7)
        assert_equal_batches("replacement_blocks", indptr, indices, None, nodes, fanouts, 7)
        assert_equal_batches("typed_blocks", indptr, indices, None, nodes, per_type, 7)
        assert_equal_batches("labor_blocks", indptr, indices, nodes, fanouts, 7)
        for recent in (False, True):
            assert_equal_batches(
                "temporal_blocks", indptr, indices, None, times, nodes, nodes + 900, fanouts,
                recent, 500, 7,
            )  # fmt: skip


def test_rows_of_every_length_are_cut_alike_at_every_time():
    """Searches side by side leave their ring at different turns."""
    lengths = np.random.default_rng(0).permutation(np.arange(60).repeat(2))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = (np.arange(indptr[-1]) % len(lengths)).astype(np.int32)
    times = np.concatenate([np.arange(n) // 3 for n in lengths])
    nodes, cuts = np.divmod(np.arange(len(lengths) * 22), 22)
    for window in (None, 4):
        assert_equal_batches(
            "temporal_blocks", indptr, indices, None, times, nodes, cuts - 1, [-1], False, window, 7
        )


def test_the_logarithm_is_right():
    x = np.concatenate(
        [1 - 0.5 ** np.arange(2, 54), 0.5 ** np.arange(54), np.linspace(0.4, 1, 999)]
    )
    np.testing.assert_allclose(reference.natural_log(x), np.log(x), rtol=1e-13, atol=0)


@given(st.lists(st.floats(0, 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=200))
def test_an_alias_table_holds_the_share_of_every_weight(weights):
    """The table's own probabilities are the weights' shares on a grid of 2^-32 of the mean."""
    weight, degree = np.array(weights, np.float32), len(weights)
    table = _core.alias_table(np.array([0, degree], np.int64), weight, 1)
    threshold, alias = (table >> 32).astype(object), (table & 0xFFFFFFFF).astype(np.int64)
    if not weight.any():
        assert (alias == 0xFFFFFFFF).all()
        return
    mass = np.zeros(degree, object)
    for i in range(degree):
        mass[i] += threshold[i]
        mass[alias[i]] += 2**32 - threshold[i]
    assert sum(mass) == degree * 2**32
    assert ((mass == 0) == (weight == 0)).all()
    exact = weight.astype(np.float64) / weight.sum(dtype=np.float64) * degree * 2**32
    assert (np.abs(mass.astype(np.float64) - exact) <= 2 * degree + 1e-9 * exact).all()


@pytest.mark.parametrize("broken", ["indptr falls", "an edge leaves", "differs in length"])
def test_nothing_is_read_outside_whatever_the_arrays_say(broken):
    indptr, indices = np.array([0, 3, 3], np.int64), np.array([0, 1, 1], np.int32)
    types = np.zeros(3, np.int16)
    if broken == "indptr falls":
        indptr[1] = 2**40
    elif broken == "an edge leaves":
        indices[1] = 2
    else:
        types = types[:2]
    nodes, fanouts = np.array([0, 1]), np.array([[-1], [-1]])
    with pytest.raises(ValueError, match=broken):
        _core.typed_blocks(_core.ChoiceWorkspace(), indptr, indices, types, nodes, fanouts, 0, 2)


def test_a_table_that_points_outside_its_row_draws_nothing():
    indptr, indices = np.array([0, 100], np.int64), np.zeros(100, np.int32)
    table, weight = np.full(100, 2**31 + 5, np.uint64), np.zeros(100, np.float32)
    for name, edge_data in (("weighted_blocks", (weight, table)), ("replacement_blocks", (table,))):
        kernel = getattr(_core, name)
        _, [hop] = kernel(
            _core.ChoiceWorkspace(), indptr, indices, *edge_data, np.zeros(1, np.int64), [5], 0, 1
        )
        assert hop[3].size == 0


def test_weights_that_are_no_weights_make_no_table():
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="a weight is negative or not finite"):
            _core.alias_table(np.array([0, 1], np.int64), np.array([bad], np.float32), 1)
