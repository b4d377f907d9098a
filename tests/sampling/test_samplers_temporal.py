"""Nothing leaks: no block holds an edge that the seed it serves could not have known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import edge_lists

from sampling import Graph, TemporalBatch, TemporalNeighborSampler
from sampling.errors import InputError

TIMES = st.integers(-12, 12)


@st.composite
def timed_graphs(draw: st.DrawFn) -> Graph:
    edges = draw(edge_lists(max_nodes=15))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = rng.integers(0, 3, len(edges.src)) if draw(st.booleans()) else None
    return edges.graph(edge_time=rng.integers(-10, 10, len(edges.src)), edge_type=kinds)


def requests(graph: Graph) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, graph.num_nodes - 1), TIMES), max_size=10)


def eligible(graph: Graph, node: int, time: int, window: int | None) -> list[int]:
    edges = range(int(graph.indptr[node]), int(graph.indptr[node + 1]))
    oldest = -(2**63) if window is None else time - window
    return [e for e in edges if oldest <= graph.edge_time[e] < time]


def entries(batch: TemporalBatch, layer: int) -> list[tuple[int, int]]:
    nodes, times = batch.blocks[layer].src_nodes, batch.src_times[layer]
    return list(zip(nodes.tolist(), times.tolist(), strict=True))


@given(timed_graphs(), st.sampled_from(["uniform", "recent"]), st.sampled_from([None, 1, 6]),
       st.lists(st.sampled_from([-1, 1, 3]), min_size=1, max_size=3), st.data())  # fmt: skip
def test_every_edge_is_before_the_seed_it_serves(graph, strategy, window, fanouts, data):
    pairs = data.draw(requests(graph))
    seeds, times = [p[0] for p in pairs], [p[1] for p in pairs]
    sampler = TemporalNeighborSampler(graph, fanouts, strategy, window, seed=3)
    batch = sampler.sample(seeds, times)
    assert entries(batch, -1)[: len(pairs)] == pairs
    for layer, (block, fanout) in enumerate(zip(batch.blocks, fanouts, strict=True)):
        sources = entries(batch, layer)
        assert len(set(sources[len(pairs) :])) == len(sources) - len(pairs)
        ends, edges = block.indptr.tolist(), block.edge_ids.tolist()
        for i, (node, time) in enumerate(sources[: block.num_dst]):
            row = edges[ends[i] : ends[i + 1]]
            allowed = eligible(graph, node, time, window)
            assert set(row) <= set(allowed)
            assert len(row) == len(set(row))
            assert len(row) == (len(allowed) if fanout < 0 else min(fanout, len(allowed)))
            drawn = [sources[j] for j in block.indices[ends[i] : ends[i + 1]].tolist()]
            assert drawn == [(int(graph.indices[e]), time) for e in row]
            if strategy == "recent" and row:
                latest = sorted(graph.edge_time[allowed].tolist())[-len(row) :]
                assert sorted(graph.edge_time[row].tolist()) == latest


@given(timed_graphs(), st.sampled_from([None, 4]), st.data())
def test_the_receptive_field_is_that_of_brute_force(graph, window, data):
    pairs = data.draw(requests(graph))
    sampler = TemporalNeighborSampler(graph, [-1, -1, -1], window=window)
    batch = sampler.sample([p[0] for p in pairs], [p[1] for p in pairs])
    reached = set(pairs)
    for layer in (2, 1, 0):
        reached |= {
            (int(graph.indices[e]), time)
            for node, time in reached
            for e in eligible(graph, node, time, window)
        }
        assert set(entries(batch, layer)) == reached


def test_a_later_seed_tells_an_earlier_one_nothing():
    """Edges 2 → 1 at 50 and 1 → 0 at 10: seen from time 20, node 1 has no in-neighbors."""
    graph = Graph.from_edges([1, 2], [0, 1], edge_time=[10, 50])
    batch = TemporalNeighborSampler(graph, [-1, -1]).sample([0, 0], times=[20, 60])
    assert entries(batch, 0) == [(0, 20), (0, 60), (1, 20), (1, 60), (2, 60)]
    assert batch.blocks[0].in_degrees().tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("typed", [False, True])
def test_draws_are_uniform_over_what_is_eligible(typed):
    rows, degree = 20_000, 100
    kinds = np.repeat(np.arange(2, dtype=np.int16), 50) if typed else None
    times = np.tile(np.arange(50), 2) if typed else np.arange(100) // 2
    graph = Graph(
        np.arange(rows + 1) * degree, np.zeros(rows * degree, np.int32),
        edge_type=None if kinds is None else np.tile(kinds, rows), edge_time=np.tile(times, rows),
        edge_types=("a", "b"),
    )  # fmt: skip
    sampler = TemporalNeighborSampler(graph, [5], window=30, seed=1)
    [block] = sampler.sample(np.arange(rows), np.full(rows, 40)).blocks
    drawn = block.edge_ids.numpy().reshape(rows, 5) % degree
    counts = np.bincount(drawn.ravel(), minlength=degree)
    open_to = (times >= 10) & (times < 40)
    assert (counts[~open_to] == 0).all()
    # Five of sixty without replacement: counts vary less than multinomial ones.
    assert stats.chisquare(counts[open_to]).pvalue > 1e-4
    assert (np.diff(np.sort(drawn, axis=1)) > 0).all()


def test_other_times_draw_other_edges():
    graph = Graph(np.array([0, 1000]), np.zeros(1000, np.int32), edge_time=np.zeros(1000, np.int64))
    batch = TemporalNeighborSampler(graph, [5]).sample([0, 0, 0], [1, 2, 1])
    first, second, again = batch.blocks[0].edge_ids.reshape(3, 5).tolist()
    assert first == again
    assert first != second


def test_extreme_times_are_no_exception():
    low, high = -(2**63), 2**63 - 1
    graph = Graph.from_edges([1, 2, 3], [0, 0, 0], edge_time=[low, 0, high])
    sampler = TemporalNeighborSampler(graph, [-1], window=high)
    batch = sampler.sample([0, 0, 0], [low, 5, high])
    assert batch.blocks[0].in_degrees().tolist() == [0, 1, 1]
    everything = TemporalNeighborSampler(graph, [-1]).sample([0, 0, 0], [low, 5, high])
    assert everything.blocks[0].in_degrees().tolist() == [0, 2, 2]


def test_node_times_are_looked_up():
    graph = Graph.from_edges([1, 2, 0], [0, 0, 2], edge_time=[1, 2, 3])
    sampler = TemporalNeighborSampler(graph, [-1, -1])
    [*blocks] = sampler.at_node_times([2, 0, 9]).sample([2, 0])
    expected = sampler.sample([2, 0], [9, 2]).blocks
    for one, other in zip(blocks, expected, strict=True):
        assert one.edge_ids.tolist() == other.edge_ids.tolist()


@pytest.mark.parametrize(
    ("options", "times", "words"),
    [
        ({"strategy": "newest"}, [1], "strategy 'newest' is unknown; choose uniform or recent"),
        ({"window": 0}, [1], "window is 0"),
        ({"window": -5}, [1], "window is -5"),
        ({"window": 0.5}, [1], "window is 0.5"),
        ({}, [1, 2], "one integer for each of the 1 seeds"),
        ({}, [0.5], "one integer for each of the 1 seeds"),
        ({}, np.array([2**64 - 1], np.uint64), "more than 64 signed bits"),
    ],
)
def test_bad_requests_get_one_sentence(options, times, words):
    graph = Graph.from_edges([1], [0], edge_time=[1])
    with pytest.raises(InputError, match=words):
        TemporalNeighborSampler(graph, [1], **options).sample([0], times)


def test_a_graph_without_times_is_refused():
    with pytest.raises(InputError, match="no edge times"):
        TemporalNeighborSampler(Graph.from_edges([1], [0]), [1])
    with pytest.raises(InputError, match="each of the 2 nodes"):
        graph = Graph.from_edges([1], [0], edge_time=[1])
        TemporalNeighborSampler(graph, [1]).at_node_times([1])
