"""Hops that are reduced while they are drawn: what is compiled equals its slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import room_for_sums
from strategies import arrays, edge_lists

from sampling.graph.features import FeatureTable
from sampling.kernels import _core, reference

STORAGES = ["float32", "float16", "bfloat16", "int8"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("reduce", ["sum", "mean"])
@given(
    edge_lists(),
    st.sampled_from([-1, 0, 1, 3, 16, 70]),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_hops_reduced_while_drawn_agree(storage, reduce, edges, fanout, columns, seed, weighted):
    indptr, indices = reference.build_csc(edges.src, edges.dst, edges.num_nodes, 1)
    table = FeatureTable.from_rows(arrays(seed, (edges.num_nodes, columns)), storage)
    weight = arrays(seed + 1, (edges.num_nodes,)) if weighted else None
    nodes = np.random.default_rng(seed).integers(0, edges.num_nodes, 600)
    hop = (indptr, indices, nodes, fanout, seed, 1, table.array, table.scale, weight, reduce)
    offsets, rows = _core.sample_aggregate(*hop, 1)
    twin_offsets, twin_rows = reference.sample_aggregate(*hop, 1)
    np.testing.assert_array_equal(offsets, twin_offsets)
    plain = np.abs(reference.to_float32(table.array, table.scale))
    sizes = None if weight is None else np.abs(weight)
    unsigned = (*hop[:6], plain, None, sizes, reduce)
    _, added = reference.sample_aggregate(*unsigned, 1)
    assert (np.abs(rows - twin_rows) <= room_for_sums(offsets, added)).all()
    assert (_core.sample_aggregate(*hop, 3)[1] == rows).all()
