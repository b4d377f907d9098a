"""Edges by source: kept for those that are differentiated again, for as long as they live."""

from __future__ import annotations

import gc

import pytest
import torch

from gnn import aggregate
from gnn.by_source import _seen, by_source
from sampling import kernels


def edges() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([0, 2, 3, 3]), torch.tensor([1, 0, 1], dtype=torch.int32)


@pytest.fixture
def transpositions(monkeypatch) -> list[int]:
    made: list[int] = []
    plain = kernels.transpose
    monkeypatch.setattr(
        "gnn.by_source.kernels.transpose", lambda *a: made.append(len(a[1])) or plain(*a)
    )
    return made


def test_it_lists_what_leaves_every_source():
    indptr, indices = edges()
    for _ in range(3):
        found = by_source(indptr, indices, 4)
        assert found.indptr.tolist() == [0, 1, 3, 3, 3]
        assert found.destinations.tolist() == [0, 0, 1]
        assert found.order.tolist() == [1, 0, 2]


def test_edges_that_come_again_are_transposed_twice(transpositions):
    indptr, indices = edges()
    kept = [by_source(indptr, indices, 3) for _ in range(5)]
    assert len(transpositions) == 2
    assert kept[1] is kept[4]


def test_other_edges_are_not_taken_for_those_that_were_seen(transpositions):
    indptr, indices = edges()
    moved = torch.tensor([0, 1, 3, 3])

    def listed(offsets: torch.Tensor, num_src: int) -> list[list[int]]:
        """Offsets and destinations, when they have been kept."""
        for _ in range(3):
            found = by_source(offsets, indices, num_src)
        return [found.indptr.tolist(), found.destinations.tolist()]

    assert listed(indptr, 3) == [[0, 1, 3, 3], [0, 0, 1]]
    assert listed(indptr, 4) == [[0, 1, 3, 3, 3], [0, 0, 1]]
    assert listed(moved, 4) == [[0, 1, 3, 3, 3], [1, 0, 1]]
    indices[0] = 2
    assert listed(moved, 4) == [[0, 1, 2, 3, 3], [1, 1, 0]]
    assert len(transpositions) == 8


def test_what_is_kept_goes_with_the_edges():
    gc.collect()
    before = len(_seen)
    indptr, indices = edges()
    for _ in range(2):
        by_source(indptr, indices, 3)
    assert len(_seen) == before + 1
    del indices
    gc.collect()
    assert len(_seen) == before


def test_training_on_a_whole_graph_transposes_it_twice(make_graph, transpositions):
    block = make_graph().block()
    weight = torch.rand(block.num_edges, requires_grad=True)
    gradients = []
    for _ in range(4):
        x = torch.ones(block.num_src, 2, requires_grad=True)
        aggregate(block, aggregate(block, x, "mean"), "sum", weight).square().sum().backward()
        gradients.append((x.grad, weight.grad))
        weight.grad = None
    assert len(transpositions) == 2
    for found in gradients:
        assert torch.equal(found[0], gradients[0][0])
        assert torch.equal(found[1], gradients[0][1])
