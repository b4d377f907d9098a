"""What contenders of a race compute is the same; how fast they are is not tested anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sampling import kernels
from service.bench import dgl_peer
from service.bench import systems as bench_systems
from service.bench.array_peers import Numpy, Scipy, Torch
from service.bench.dgl_peer import Dgl, import_dgl
from service.bench.machine import Limits, lines_drawn, measure_limits
from service.bench.ours import Ours, first_layer_means
from service.bench.problem import Problem, random_rows, rmat_graph, seed_batches
from service.bench.race import race, row, threads_in_words, timed
from service.bench.remote import Remote


@pytest.fixture(autouse=True)
def _peers_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def problem() -> Problem:
    graph = rmat_graph(300, 3000, seed=0, num_threads=2)
    batches = seed_batches(graph, (2, 3, 16), seed=0)
    rows = random_rows(300, 8, 0, np.float32)
    return Problem(graph, rows, batches, [4, 3], seed=5)


@pytest.fixture(scope="module")
def dgl(problem: Problem) -> Dgl:
    if import_dgl() is None:
        pytest.skip("dgl cannot be imported here")
    return Dgl(problem)


@pytest.mark.parametrize("peer", [Scipy, Torch])
def test_array_peers_take_the_same_mean(problem: Problem, peer):
    np.testing.assert_allclose(peer(problem).mean(0), Ours(problem).mean(0), atol=1e-5)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("peer", [Torch, Numpy])
def test_array_peers_gather_the_same_rows(problem: Problem, peer, storage):
    expected = Ours(problem, storage).gather(1)
    np.testing.assert_array_equal(peer(problem, storage).gather(1), expected)


@pytest.mark.parametrize("tuned", [False, True])
def test_dgl_takes_the_same_mean_and_embeds_alike(
    problem: Problem, dgl: Dgl, tuned: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dgl_peer, "NODES_PER_TILE", 64)
    peer = Dgl(problem, tuned=tuned)
    np.testing.assert_allclose(peer.mean(0), Ours(problem).mean(0), atol=1e-5)
    expected = Ours(problem).embed(0)
    np.testing.assert_allclose(peer.embed(0), expected, atol=1e-5)
    np.testing.assert_allclose(peer.embed_full(0), expected, atol=1e-5)


@pytest.mark.parametrize("work", ["sample", "sample_each", "sample_mean", "load"])
def test_samplers_draw_as_many_edges_as_ours_from_all_neighbors(
    problem: Problem, dgl: Dgl, work: str
):
    full = Problem(problem.graph, problem.rows, problem.batches, [-1, -1])
    assert getattr(Dgl(full), work)(0) == getattr(Ours(full), work)(0) > 0


def test_weighted_samples_and_walks_of_dgl_run(problem: Problem, dgl: Dgl):
    assert 0 < dgl.sample_weighted(0) <= 3 * 16 * (3 + 4 * 4)
    assert 0 < dgl.walk(0) <= 3 * 16 * 10 * 20


def test_means_of_the_first_layer_are_those_of_its_block(problem: Problem):
    ours = Ours(problem)
    seeds = problem.batches[0, 0]
    edges, means = first_layer_means(ours.sampler, seeds, ours.table)
    blocks = ours.sampler.sample(seeds)
    assert edges == sum(block.num_edges for block in blocks)
    block = blocks[0]
    for i in (0, block.num_dst - 1):
        neighbors = block.src_nodes[block.indices[block.indptr[i] : block.indptr[i + 1]]]
        expected = problem.rows[neighbors].mean(axis=0) if len(neighbors) else 0
        np.testing.assert_allclose(means[i], expected, atol=1e-5)


def test_a_tuned_peer_answers_from_its_own_process(problem: Problem, dgl: Dgl):
    with Remote(problem, 1) as remote:
        rates = race({"mean": remote.contender("mean"), "sample": remote.contender("sample")}, 1, 0)
    assert min(rates.values()) > 0


def test_a_tuned_peer_that_ended_is_named(problem: Problem):
    remote = Remote(problem, 1)
    with remote, pytest.raises((RuntimeError, BrokenPipeError)):
        remote.contender("no such work")(0)


def test_a_saved_problem_is_loaded_as_it_was(problem: Problem, tmp_path):
    problem.save(tmp_path)
    again = Problem.load(tmp_path)
    for name in ("rows", "batches", "fanouts", "seed", "num_layers"):
        np.testing.assert_array_equal(getattr(again, name), getattr(problem, name))
    np.testing.assert_array_equal(again.graph.indices, problem.graph.indices)


def test_a_race_takes_the_median_of_what_counts():
    rates = iter([100.0, 1.0, 3.0, 2.0])
    assert race({"ours": lambda number: next(rates)}, rounds=3, warmup=1) == {"ours": 2.0}
    assert timed(lambda number: 7, lambda result: result * 0)(0) == 0


def test_a_row_says_ratios_and_the_fraction_of_a_limit():
    found = row("work", "edges/s", {"ours": 6.0, "peer": 3.0}, limit=8.0, note=1)
    assert found["peers"] == {"peer": {"value": 3.0, "ratio": 2.0}}
    assert found["limit"] == {"value": 8.0, "fraction": 0.75}
    assert found["note"] == 1
    assert [threads_in_words(n) for n in (1, 2)] == ["1 thread", "2 threads"]


def test_saved_results_become_a_picture(tmp_path):
    found = {"rows": [row("gather 25000000 rows", "rows/s", {"ours": 6e6, "torch": 3e6})]}
    (tmp_path / "a.json").write_text(f"progress\n{json.dumps(found)}\n")
    plot(tmp_path / "out.svg", tmp_path / "a.json")
    picture = (tmp_path / "out.svg").read_text()
    for words in ("gather 25 M rows", "torch", "ours 2.0×"):
        assert words in picture


def test_a_picture_of_nothing_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"rows": []}))
    done = plot(tmp_path / "out.svg", tmp_path / "a.json", check=False)
    assert done.returncode == 2
    assert "no row of" in done.stderr


def plot(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/plot.py", *map(str, arguments)]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(command, cwd=root, check=check, capture_output=True, text=True)


def test_the_better_kind_of_dgl_counts():
    assert bench_systems.best({"ours": 3.0, "dgl": 1.0, "dgl int64": 2.0}) == {
        "ours": 3.0, "dgl": 2.0}  # fmt: skip


def test_limits_add_lines_and_bytes():
    assert Limits(10.0, 100.0).seconds(5, 50) == 1.0
    measured = measure_limits(1 << 16, 1)
    assert measured.lines_per_s > 0
    assert measured.bytes_per_s > 0


def test_a_full_sample_reads_all_lines_of_its_rows(problem: Problem):
    graph = problem.graph
    node = int(np.argmax(graph.in_degrees()))
    degree = int(graph.in_degrees()[node])
    [block] = Ours(Problem(graph, fanouts=[-1])).sampler.sample([node])
    lines = -(-degree * 4 // 64)
    assert lines_drawn(graph, [block]) == pytest.approx(1 + lines, rel=0.05)


def test_every_core_counts_as_a_default():
    assert Ours(Problem(rmat_graph(10, 20, 0, 1))).num_threads == kernels.default_threads()
