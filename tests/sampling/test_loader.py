"""The loader: same batches under any number of threads, new ones each epoch, errors that arrive."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from sampling import Dataset, Graph, MiniBatchLoader, NeighborSampler, NodeIds
from sampling.errors import InputError


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(rng.integers(0, 500, 8000), rng.integers(0, 500, 8000), num_nodes=500)
    return Dataset.in_memory(
        graph,
        features=rng.normal(size=(500, 6)).astype(np.float32),
        labels=rng.integers(0, 4, 500),
        ids=NodeIds.range(500),
    )


def loader(data: Dataset, **options: object) -> MiniBatchLoader:
    sampler = NeighborSampler(data.graph, [4, 4], seed=0)
    return MiniBatchLoader(data, sampler, np.arange(333), batch_size=50, **options)


def batches(source: MiniBatchLoader) -> list[tuple[torch.Tensor, ...]]:
    return [(b.seeds, b.blocks[0].src_nodes, b.blocks[0].indices, b.x, b.y) for b in source]


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (1, 4), (3, 2), (4, 8)])
def test_threads_change_neither_batches_nor_order(data, workers, prefetch):
    alone = loader(data, shuffle=True, num_workers=0)
    threaded = loader(data, shuffle=True, num_workers=workers, prefetch=prefetch)
    for _ in range(2):
        for one, other in zip(batches(alone), batches(threaded), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_seed_comes_once_and_rows_are_its_own(data):
    seen = []
    for batch in loader(data, shuffle=True):
        seen += batch.seeds.tolist()
        rows = torch.from_numpy(data.features.array)[batch.blocks[0].src_nodes]
        assert torch.equal(batch.x, rows)
        assert torch.equal(batch.y, torch.from_numpy(data.labels)[batch.seeds])
        assert torch.equal(batch.blocks[-1].dst_nodes, batch.seeds)
    assert sorted(seen) == list(range(333))


def test_epochs_differ_in_order_and_neighbors(data):
    source = loader(data, shuffle=True)
    first, second = batches(source), batches(source)
    assert not torch.equal(first[0][0], second[0][0])
    fixed = loader(data, resample=False)
    assert all(torch.equal(a[2], b[2]) for a, b in zip(batches(fixed), batches(fixed), strict=True))


def test_an_epoch_can_be_played_again(data):
    source = loader(data, shuffle=True)
    batches(source)
    second = batches(source)
    again = loader(data, shuffle=True)
    again.epoch = 1
    for one, other in zip(second, batches(again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_failure_in_a_thread_reaches_the_caller_and_ends_the_threads(data):
    bad = MiniBatchLoader(data, NeighborSampler(data.graph, [2]), [1, 2, 999], 1, num_workers=2)
    before = threading.active_count()
    with pytest.raises(InputError, match="seed 999"):
        list(bad)
    assert threading.active_count() == before


def test_leaving_early_ends_the_threads(data):
    before = threading.active_count()
    for _ in loader(data, num_workers=3):
        break
    assert threading.active_count() == before


def test_a_batch_size_of_zero_is_refused(data):
    with pytest.raises(InputError, match="batch_size is 0"):
        MiniBatchLoader(data, NeighborSampler(data.graph, [2]), [1], 0)
