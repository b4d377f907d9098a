"""A fanout per edge type: as many of each type as there should be, uniform within a type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import edge_lists

from sampling import Graph, TypedNeighborSampler
from sampling.errors import InputError

NAMES = ("cites", "follows", "likes")


@given(edge_lists(), st.lists(st.sampled_from([-1, 0, 1, 4]), min_size=3, max_size=3), st.data())
def test_every_type_has_its_own_fanout(edges, fanouts, data):
    kinds = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, len(edges.src))
    graph = edges.graph(edge_type=kinds, edge_types=NAMES)
    sampler = TypedNeighborSampler(graph, [dict(zip(NAMES, fanouts, strict=True))])
    [block] = sampler.sample(np.arange(edges.num_nodes))
    owner = np.repeat(np.arange(edges.num_nodes), block.in_degrees().numpy())
    assert len(set(block.edge_ids.tolist())) == block.num_edges
    for code, fanout in enumerate(fanouts):
        drawn = np.bincount(owner[block.edge_type.numpy() == code], minlength=edges.num_nodes)
        there = np.bincount(edges.dst[kinds == code], minlength=edges.num_nodes)
        np.testing.assert_array_equal(drawn, there if fanout < 0 else np.minimum(there, fanout))


def test_draws_within_a_type_are_uniform_and_independent_of_the_others():
    rows, counts = 20_000, (7, 40, 90)
    degree = sum(counts)
    graph = Graph(
        np.arange(rows + 1) * degree,
        np.zeros(rows * degree, np.int32),
        edge_type=np.tile(np.repeat(np.arange(3, dtype=np.int16), counts), rows),
        edge_types=NAMES,
    )
    [block] = TypedNeighborSampler(graph, [3], seed=1).sample(np.arange(rows))
    place = block.edge_ids.numpy().reshape(rows, 9) % degree
    for first, count, columns in zip((0, 7, 47), counts, (slice(3), slice(3, 6), slice(6, 9)),
                                     strict=True):  # fmt: skip
        drawn = place[:, columns] - first
        assert stats.chisquare(np.bincount(drawn.ravel(), minlength=count)).pvalue > 1e-4
    table = np.histogram2d(place[:, 3] < 27, place[:, 6] < 92, bins=2)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_a_mapping_leaves_types_out_and_layers_may_differ():
    graph = Graph.from_edges(
        [1, 2, 3, 2], [0, 0, 0, 1], edge_type=[0, 1, 2, 1], edge_types=NAMES, num_nodes=4
    )
    lower, upper = TypedNeighborSampler(graph, [{"follows": 5}, -1]).sample([0])
    assert upper.edge_type.tolist() == [0, 1, 2]
    assert lower.edge_type.tolist() == [1, 1]
    assert lower.dst_nodes.tolist() == [0, 1, 2, 3]


def test_a_graph_of_one_type_needs_no_codes():
    graph = Graph.from_edges([1, 2, 3], [0, 0, 0])
    for fanout in (2, {"edge": 2}):
        assert TypedNeighborSampler(graph, [fanout]).sample([0])[0].num_edges == 2


@pytest.mark.parametrize(
    ("fanouts", "words"),
    [
        ([{"hates": 1}], "edge type 'hates'; the graph has 'edge'"),
        ([{"edge": -3}], "a fanout is -3"),
        ({"edge": 3}, "give an integer or a mapping per layer"),
        (["edge"], "a fanout is 'edge'"),
    ],
)
def test_bad_fanouts_get_one_sentence(fanouts, words):
    with pytest.raises(InputError, match=words):
        TypedNeighborSampler(Graph.from_edges([1], [0]), fanouts)
