"""Compiled heavy-edge matching and its twin give exactly the same clusters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import edge_lists

from sampling.kernels import _core, reference


def symmetric(edges, weights, seed):
    """Both directions of every edge, with one weight per pair: few distinct ones, or many."""
    src = np.concatenate([edges.src, edges.dst])
    dst = np.concatenate([edges.dst, edges.src])
    indptr, indices = reference.build_csc(src, dst, edges.num_nodes, 1)
    if weights == "none":
        return indptr, indices.astype(edges.src.dtype), None
    owner = np.repeat(np.arange(edges.num_nodes), np.diff(indptr))
    low, high = np.minimum(owner, indices), np.maximum(owner, indices)
    table = np.random.default_rng(seed).random(edges.num_nodes**2).astype(np.float32)
    if weights == "few":
        table = np.floor(table * 3)
    if weights == "rising":
        table = np.arange(edges.num_nodes**2, dtype=np.float32)
    return indptr, indices.astype(edges.src.dtype), table[low * edges.num_nodes + high]


@given(
    edge_lists(max_nodes=60, max_edges=400),
    st.sampled_from(["none", "few", "many", "rising"]),
    st.integers(0, 2**64 - 1),
    st.integers(1, 4),
)
def test_clusters_are_equal(edges, weights, seed, threads):
    graph = symmetric(edges, weights, seed)
    got = _core.heavy_edge_matching(*graph, seed, threads)
    np.testing.assert_array_equal(got, reference.heavy_edge_matching(*graph, seed, 1))


@given(edge_lists(), st.integers(0, 2**64 - 1))
def test_a_matching_has_pairs_of_neighbors_and_no_free_edge(edges, seed):
    indptr, indices, _ = symmetric(edges, "none", seed)
    cluster = _core.heavy_edge_matching(indptr, indices, None, seed, 2)
    sizes = np.bincount(cluster)
    assert set(sizes.tolist()) <= {1, 2}
    owner = np.repeat(np.arange(edges.num_nodes), np.diff(indptr))
    inside = cluster[owner] == cluster[indices]
    assert len(np.unique(cluster[owner[inside & (owner != indices)]])) == (sizes == 2).sum()
    alone = sizes[cluster] == 1
    assert not (alone[owner] & alone[indices] & (owner != indices)).any()


@given(edge_lists(), st.integers(0, 2**64 - 1))
def test_a_graph_with_edges_one_way_is_read_within_its_bounds(edges, seed):
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    one, many = (_core.heavy_edge_matching(indptr, indices, None, seed, t) for t in (1, 3))
    assert np.array_equal(one, many)
    assert np.bincount(one).max(initial=0) <= 2


@pytest.mark.parametrize(
    ("indptr", "indices", "weight"),
    [
        ([0, 1, 2], [1, 7], None),
        ([0, 1, 2], [-1, 0], None),
        ([0, 1, 3], [1, 0], None),
        ([0, 9, 2], [1, 0], None),
        ([0, 1, 2], [1, 0], [1.0]),
        ([0, 1, 2], [1, 0], [1.0, np.nan]),
    ],
)
def test_wrong_arrays_raise_and_read_nothing_outside(indptr, indices, weight):
    factors = None if weight is None else np.array(weight, np.float32)
    with pytest.raises(ValueError, match=r"outside|span|differs|finite"):
        _core.heavy_edge_matching(np.array(indptr), np.array(indices), factors, 0, 2)
