"""Compiled extraction of subgraphs and its twin find exactly the same edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import edge_lists

from sampling.kernels import _core, reference


def assert_equal(arguments: tuple) -> None:
    twin = reference.induced_subgraph(*arguments, 1)
    for threads in (1, 2, 3):
        for one, other in zip(_core.induced_subgraph(*arguments, threads), twin, strict=True):
            np.testing.assert_array_equal(one, other)


@given(edge_lists(max_edges=600), st.integers(0, 2**32 - 1))
def test_the_edges_between_nodes_are_equal(edges, seed):
    rng = np.random.default_rng(seed)
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    nodes = rng.permutation(edges.num_nodes)[: rng.integers(0, edges.num_nodes + 1)]
    assert_equal((indptr, indices.astype(edges.src.dtype), nodes, None))


@given(edge_lists(), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_components_share_nodes_and_no_edges(edges, num_groups, seed):
    rng = np.random.default_rng(seed)
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    members = rng.permutation(num_groups * edges.num_nodes)[: rng.integers(0, 60)]
    groups, nodes = members // edges.num_nodes, members % edges.num_nodes
    assert_equal((indptr, indices, nodes, groups))
    _, local, _ = reference.induced_subgraph(indptr, indices, nodes, groups, 1)
    assert_equal((indptr, indices, nodes, groups * 1000))
    offsets = _core.induced_subgraph(indptr, indices, nodes, groups, 2)[0]
    np.testing.assert_array_equal(groups[local], np.repeat(groups, np.diff(offsets)))


def test_thousands_of_rows_are_cut_by_several_threads():
    rng = np.random.default_rng(1)
    src, dst = rng.integers(0, 3000, 40_000), rng.integers(0, 3000, 40_000)
    dst[:5000] = 7
    indptr, indices = reference.build_csc(src, dst, 3000, 1)
    assert_equal((indptr, indices, rng.permutation(3000)[:1700], None))


@pytest.mark.parametrize(
    ("indptr", "indices", "nodes", "groups"),
    [
        ([0, 1, 2], [1, 7], [0, 1], None),
        ([0, 1, 2], [1, 0], [0, 2], None),
        ([0, 1, 2], [1, 0], [0, -1], None),
        ([0, 10**9, 2], [1, 0], [0, 1], None),
        ([0, 1, 2], [1, 0], [0, 1, 0], None),
        ([0, 1, 2], [1, 0], [0, 0], [1, 1]),
        ([0, 1, 2], [1, 0], [0, 1], [0, -1]),
        ([0, 1, 2], [1, 0], [0, 1], [0, 2**62]),
        ([0, 1, 2], [1, 0], [0, 1], [0]),
    ],
)
def test_wrong_arrays_raise_and_read_nothing_outside(indptr, indices, nodes, groups):
    component = None if groups is None else np.array(groups)
    arrays = (np.array(indptr), np.array(indices), np.array(nodes), component, 2)
    with pytest.raises(ValueError, match=r"outside|span|twice|differ"):
        _core.induced_subgraph(*arrays)
