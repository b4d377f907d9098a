"""Compiled label propagation and its twin give exactly the same labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import edge_lists

from sampling.kernels import _core, reference


@given(
    edge_lists(),
    st.integers(1, 50),
    st.integers(0, 12),
    st.integers(0, 30),
    st.integers(0, 2**64 - 1),
)
def test_labels_are_equal(edges, num_labels, least, capacity, seed):
    rng = np.random.default_rng(seed)
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    weights = rng.integers(1, 4, edges.num_nodes)
    labels = rng.integers(-1, num_labels, edges.num_nodes)
    order = rng.integers(0, edges.num_nodes, 2 * edges.num_nodes)
    graph = (indptr, indices.astype(edges.src.dtype))
    rest = (weights, labels, order, num_labels, least, capacity, seed)
    np.testing.assert_array_equal(
        _core.propagate_labels(*graph, *rest), reference.propagate_labels(*graph, *rest)
    )


@pytest.mark.parametrize(
    ("indices", "weights", "labels", "order", "num_labels"),
    [
        ([1, 7], [1, 1], [0, 0], [0, 1], 1),
        ([1, 0], [1], [0, 0], [0, 1], 1),
        ([1, 0], [1, 1], [0, 1], [0, 1], 1),
        ([1, 0], [1, 1], [0, -2], [0, 1], 1),
        ([1, 0], [1, 1], [0, 0], [0, 2], 1),
        ([1, 0], [1, 1], [-1, -1], [0, 1], 0),
    ],
)
def test_wrong_arrays_raise_and_read_nothing_outside(indices, weights, labels, order, num_labels):
    arrays = [np.array(a) for a in ([0, 1, 2], indices, weights, labels, order)]
    with pytest.raises(ValueError, match=r"outside|differ|no labels"):
        _core.propagate_labels(*arrays, num_labels, 0, 5, 1)
