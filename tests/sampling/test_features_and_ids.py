"""Feature storage types and node ids: what goes in comes out, or is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import FeatureTable, NodeIds
from sampling.errors import FeatureError, InputError, UnknownNodeError
from sampling.graph.ids import encode_strings

settings.register_profile("ids", max_examples=50, deadline=None)
settings.load_profile("ids")


@pytest.mark.parametrize(
    ("storage", "tolerance"),
    [("float32", 0), ("float16", 2**-11), ("bfloat16", 2**-8), ("int8", None)],
)
def test_storage_types_keep_their_precision(storage, tolerance):
    rows = np.random.default_rng(0).normal(size=(300, 19)).astype(np.float32)
    table = FeatureTable.from_rows(rows, storage)
    error = np.abs(table.rows(0, 300).numpy() - rows)
    limit = table.scale / 2 * 1.0001 if tolerance is None else np.abs(rows) * tolerance
    assert (error <= limit + 1e-7).all()
    nodes = torch.tensor([5, 0, 299, 5])
    assert torch.equal(table.gather(nodes), table.rows(0, 300)[nodes])


def test_bfloat16_rounds_as_torch_does():
    rows = np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32)
    table = FeatureTable.from_rows(rows, "bfloat16")
    assert torch.equal(table.tensor(), torch.from_numpy(rows).bfloat16())


def test_binary_features_are_exact_in_int8():
    rows = (np.random.default_rng(2).random((50, 10)) < 0.3).astype(np.float32)
    rows[:, 3] = 0
    assert np.array_equal(FeatureTable.from_rows(rows, "int8").rows(0, 50).numpy(), rows)


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_not_finite_float32_are_refused_with_their_place(storage, value):
    rows = np.zeros((4, 3))
    rows[2, 1] = value
    with pytest.raises(FeatureError, match=r"features\[2, 1\] is"), np.errstate(all="ignore"):
        FeatureTable.from_rows(rows, storage)


def test_a_value_too_large_for_float16_is_refused():
    with pytest.raises(FeatureError, match="65504"):
        FeatureTable.from_rows(np.array([[1.0, 70_000.0]]), "float16")


INT_IDS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1, max_size=60)


@given(INT_IDS)
def test_integer_ids_go_there_and_back(keys):
    ids = NodeIds.from_ints(np.array(keys, np.int64))
    nodes = np.arange(len(keys))
    assert ids.to_ids(nodes) == keys
    assert ids.to_dense(keys).tolist() == nodes.tolist()
    again = NodeIds.from_arrays(ids.header(), ids.arrays())
    assert again.to_dense(keys).tolist() == nodes.tolist()


@given(st.lists(st.text(max_size=12), unique=True, min_size=1, max_size=60))
def test_string_ids_go_there_and_back(keys):
    ids = NodeIds.from_strings(*encode_strings(keys))
    assert ids.to_dense(keys).tolist() == list(range(len(keys)))
    if not any("\ud800" <= c <= "\udfff" for key in keys for c in key):
        assert ids.to_ids(np.arange(len(keys))) == keys


def test_a_run_of_integers_stores_nothing():
    ids = NodeIds.from_ints(np.arange(7, 1000))
    assert ids.arrays() == {}
    assert ids.find([7, 999, 1000, 6]).tolist() == [0, 992, -1, -1]


@pytest.mark.parametrize("wrong", ["1", 1.0, True, None, 2**63, -(2**63) - 1])
def test_an_id_of_another_type_is_unknown(wrong):
    for ids in (NodeIds.range(5), NodeIds.from_ints(np.array([1, 9]))):
        with pytest.raises(UnknownNodeError, match="not in the graph"):
            ids.to_dense([1, wrong])
    strings = NodeIds.from_strings(*encode_strings(["a", "b"]))
    with pytest.raises(UnknownNodeError, match="7"):
        strings.to_dense(["a", 7])


def test_unknown_ids_are_listed_and_repeats_refused():
    with pytest.raises(UnknownNodeError) as caught:
        NodeIds.range(3).to_dense([0, 9, 1, -4])
    assert caught.value.ids == [9, -4]
    with pytest.raises(InputError, match="node id 4 appears twice"):
        NodeIds.from_ints(np.array([4, 1, 4]))
    with pytest.raises(InputError, match="node id 'x' appears twice"):
        NodeIds.from_strings(*encode_strings(["x", "y", "x"]))
