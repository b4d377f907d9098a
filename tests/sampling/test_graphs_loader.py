"""The loader of graphs: the same batches under any number of threads, a new order each epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sampling import Dataset, Graph, GraphCollection, GraphLoader
from sampling.errors import InputError


@pytest.fixture(scope="module")
def collection() -> GraphCollection:
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(50):
        n = int(rng.integers(1, 9))
        graph = Graph.from_edges(rng.integers(0, n, 12), rng.integers(0, n, 12), num_nodes=n)
        parts.append(Dataset.in_memory(graph, features=rng.normal(size=(n, 3))))
    return GraphCollection.from_graphs(parts, labels=rng.normal(size=50))


def batches(loader: GraphLoader) -> list[tuple[torch.Tensor, ...]]:
    return [(b.graphs, b.block.indptr, b.block.indices, b.x, b.y) for b in loader]


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (1, 4), (3, 2), (4, 8)])
def test_threads_change_neither_batches_nor_order(collection, workers, prefetch):
    options = {"batch_size": 7, "shuffle": True, "seed": 3}
    alone = GraphLoader(collection, np.arange(45), num_workers=0, **options)
    many = GraphLoader(collection, np.arange(45), num_workers=workers, prefetch=prefetch, **options)
    assert len(alone) == len(many) == 7
    for _ in range(2):
        for one, other in zip(batches(alone), batches(many), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_graph_comes_once_and_epochs_differ(collection):
    loader = GraphLoader(collection, torch.arange(50), batch_size=8, shuffle=True)
    first, second = ([int(g) for b in loader for g in b.graphs] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    plain = GraphLoader(collection, [4, 2], batch_size=8)
    assert [b.graphs.tolist() for b in plain] == [[4, 2]]


def test_a_loader_that_is_left_early_stops_its_threads(collection):
    for _ in GraphLoader(collection, np.arange(50), batch_size=1, num_workers=2):
        break


def test_bad_arguments_are_refused(collection):
    with pytest.raises(InputError, match="batch_size"):
        GraphLoader(collection, [0], batch_size=0)
    with pytest.raises(InputError, match="no graph 50"):
        GraphLoader(collection, [50])
