"""Contenders of the training race train the same model on the same seeds, and learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from service.bench import train
from service.bench.dgl_peer import Dgl, import_dgl
from service.bench.ours import Ours
from service.bench.problem import Problem, random_rows, rmat_graph
from service.bench.training import labels, stage_seconds, train_seeds


@pytest.fixture(autouse=True)
def _peers_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def problem() -> Problem:
    graph = rmat_graph(600, 6000, seed=0, num_threads=1)
    seeds = train_seeds(graph, 200, 50, seed=0)
    return Problem(graph, random_rows(600, 8, 0, np.float32), seeds, [4, 3], hidden=32)


def test_seeds_are_distinct_nodes_with_neighbors_in_whole_batches(problem: Problem):
    seeds = problem.batches
    assert seeds.shape == (1, 4, 50)
    assert len(np.unique(seeds)) == 200
    assert (problem.graph.in_degrees()[seeds] > 0).all()
    known = labels(problem)
    assert (known[seeds] >= 0).all()
    assert (known >= 0).sum() == 200


def test_all_contenders_learn_alike(problem: Problem):
    assert import_dgl() is not None, "dgl is one of the test packages"
    ours, dgl = Ours(problem), Dgl(problem, "int64")
    for system in (ours, dgl):
        system.use_threads(1)
        for number in range(25):
            assert system.train(number) == 200
        first, last = system.training.losses[0], system.training.losses[-1]
        assert last < 0.7 * first
    assert ours.training.losses[-1] == pytest.approx(dgl.training.losses[-1], rel=0.25)
    parts = [sum(p.numel() for p in model.parameters())
             for model in (ours.training.model, dgl.training.layers)]  # fmt: skip
    assert parts[0] == parts[1]


def test_mixed_precision_learns_too(problem: Problem):
    ours = Ours(problem)
    ours.use_threads(1)
    for number in range(25):
        ours.train_mixed(number)
    losses = ours._mixed.losses
    assert losses[-1] < 0.7 * losses[0]


def test_a_step_is_taken_apart(problem: Problem):
    found = stage_seconds(Ours(problem).training, problem.batches[0])
    assert list(found) == ["sample", "gather", "forward", "backward", "step"]
    assert all(seconds > 0 for seconds in found.values())


def test_the_race_says_rates_epochs_and_stages():
    result = train.measure(300, 3000, 64, [3, 2], 32, 8, 16, 1, 1, 0, tuned=False)
    first, second = result["rows"]
    assert set(first["peers"]) == {"dgl", "dgl, a worker process"}
    assert set(first["seconds_per_epoch"]) == {"ours", *first["peers"]}
    assert {"ours", "dgl int64"} & first["seconds_per_batch"].keys() >= {"ours"}
    assert second["unit"] == "seeds/s"
    assert result["machine"]["gemm_gflops"] > 0
