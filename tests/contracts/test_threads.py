"""Work that is large enough for several threads: the same results, to the bit, with any number.

Under the thread sanitizer (`make sanitize`) these are the tests in which threads really meet.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from strategies import arrays

from sampling import Graph, NeighborSampler
from sampling.graph.features import FeatureTable
from sampling.graph.ids import encode_strings
from sampling.kernels import _core

NODES, EDGES, THREADS = 6_000, 60_000, 4


@pytest.fixture(scope="module")
def edges() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, NODES, EDGES), rng.integers(0, NODES, EDGES) // 3


@pytest.fixture(scope="module")
def csc(edges) -> tuple[np.ndarray, np.ndarray]:
    return _core.build_csc(*edges, NODES, 1)


def flat(result: Any) -> list[np.ndarray]:
    """All arrays of a kernel's result, in order."""
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, tuple | list):
        return [array for part in result for array in flat(part)]
    return [np.array(result)] if result is not None else []


def assert_threads_change_nothing(call) -> None:
    alone = flat(call(1))
    for threads in (2, THREADS):
        for ours, expected in zip(flat(call(threads)), alone, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_building_and_checking(edges, csc):
    time = np.arange(EDGES) % 7
    assert_threads_change_nothing(lambda n: _core.build_csc(*edges, NODES, n))
    assert_threads_change_nothing(
        lambda n: _core.csc_order(*edges, NODES, None, time, None, n)
    )  # fmt: skip
    assert_threads_change_nothing(lambda n: [np.array([_core.check_csc(*csc, n)])])


@pytest.mark.parametrize("fanouts", [[5, 5], [-1, 3], [70, 70]])
def test_sampling_a_frontier_of_thousands(csc, fanouts):
    seeds, workspace = np.arange(NODES), _core.Workspace()
    assert_threads_change_nothing(
        lambda n: _core.sample_blocks(workspace, *csc, seeds, fanouts, 3, n, True)
    )
    assert_threads_change_nothing(
        lambda n: _core.sample_neighbors(*csc, seeds, fanouts[0], 3, 0, n)
    )


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16", "int8"])
def test_rows(csc, storage):
    table = FeatureTable.from_rows(arrays(0, (NODES, 32)), storage)
    picks = np.random.default_rng(1).integers(0, NODES, EDGES)
    assert_threads_change_nothing(lambda n: _core.gather(table.array, picks, table.scale, n))
    for reduce in ("sum", "mean", "max"):
        assert_threads_change_nothing(
            lambda n, reduce=reduce: _core.aggregate(
                *csc, table.array, table.scale, None, None, reduce, n
            )
        )


def test_gradients_of_a_max(csc):
    x = arrays(0, (NODES, 64))
    _, arg = _core.aggregate(*csc, x, None, None, None, "max", 1)
    assert_threads_change_nothing(lambda n: _core.max_backward(arg, csc[1], x, NODES, n))


def test_ids():
    keys = np.random.default_rng(0).permutation(EDGES) * 7
    table, salt, _ = _core.build_id_table(keys)
    assert_threads_change_nothing(lambda n: _core.find_ids(keys, table, salt, keys[::-1].copy(), n))
    names = encode_strings([f"node {key}" for key in keys[:NODES]])
    table, salt, _ = _core.build_string_table(*names)
    assert_threads_change_nothing(lambda n: _core.find_strings(*names, table, salt, *names, n))


def test_probes():
    words = np.arange(1 << 20, dtype=np.uint64)
    assert_threads_change_nothing(lambda n: [np.array([_core.sum_stream(words, n)])])
    assert_threads_change_nothing(lambda n: [np.array([_core.sum_random_lines(words, 300_000, n)])])


def test_one_sampler_in_several_threads_of_the_caller(csc):
    sampler = NeighborSampler(Graph(*csc), [4, 4], seed=1, num_threads=2)
    batches = np.array_split(np.random.default_rng(2).permutation(NODES), 8)
    alone = [sampler.sample(batch) for batch in batches]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(sampler.sample, batches))
    for ours, expected in zip(together, alone, strict=True):
        for block, other in zip(ours, expected, strict=True):
            assert (block.src_nodes == other.src_nodes).all()
            assert (block.indices == other.indices).all()
