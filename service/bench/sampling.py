"""Neighbor sampling, end to end from Python: seeds in, relabeled blocks out.

Ours and the peers take turns at the same seeds on the same R-MAT graph, with one thread and with
several, with all threads on one batch and with a batch on each. `sample and mean` adds what a
first layer starts with: the mean of float16 input rows over every neighborhood of the first hop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sampling import NeighborSampler
from service.bench.machine import LINE_BYTES, Limits, lines_drawn, machine, measure_limits
from service.bench.problem import (
    WALK_STEPS,
    WALKS_PER_SEED,
    Problem,
    random_rows,
    rmat_graph,
    seed_batches,
)
from service.bench.race import row, threads_in_words
from service.bench.systems import System, compete, open_systems
from service.console import note

__all__ = ["WORKS", "measure"]

WARMUP = 2
SEEDS_PER_ROUND = 8192
MOST_BATCHES = 64
WORKS = {
    "sample": ("sample {fanouts} for {size} seeds, threads share a batch", "edges/s"),
    "sample_each": ("sample {fanouts} for {size} seeds, a batch per thread", "edges/s"),
    "sample_mean": ("sample {fanouts} for {size} seeds and mean float16 rows", "edges/s"),
    "sample_weighted": ("sample {fanouts} by weight for {size} seeds", "edges/s"),
    "sample_temporal": ("sample {fanouts} before a time for {size} seeds", "edges/s"),
    "walk": ("random walks of {steps} steps, {walks} from each of {size} seeds", "steps/s"),
}


def measure(
    num_nodes: int,
    num_edges: int,
    fanouts: list[int],
    batch_sizes: list[int],
    width: int,
    num_threads: int,
    rounds: int,
    seed: int,
    tuned: bool = True,
    works: Sequence[str] = tuple(WORKS),
) -> dict[str, Any]:
    """Sampled edges per second of ours and of peers, as `gnn bench sampling --json` prints it."""
    note(f"making an R-MAT graph of {num_nodes:,} nodes and {num_edges:,} edges")
    graph = rmat_graph(num_nodes, num_edges, seed, num_threads)
    rows = random_rows(num_nodes, width, seed, np.float16)
    base = Problem(graph, rows, fanouts=fanouts, seed=seed)
    threads = sorted({1, num_threads}, reverse=True)
    limits = {n: measure_limits(graph.size_bytes, n) for n in threads}
    found: list[dict[str, Any]] = []
    for size in batch_sizes:
        per_round = max(min(SEEDS_PER_ROUND // size, MOST_BATCHES), 2 * num_threads)
        batches = seed_batches(graph, (WARMUP + rounds, per_round, size), seed)
        problem = replace(base, batches=batches)
        note(f"sampling {rounds} rounds of {per_round} batches of {size:,} seeds in turn")
        with open_systems(problem, num_threads, tuned, ("int32", "int64")) as systems:
            found += _rows(problem, systems, limits, rounds, works)
    return {"machine": machine(limits), "rows": found}


def _rows(
    problem: Problem,
    systems: dict[str, System],
    limits: dict[int, Limits],
    rounds: int,
    works: Sequence[str],
) -> Iterator[dict[str, Any]]:
    shared: dict[str, float] = {}
    for work in works:
        words, unit = WORKS[work]
        for num_threads, limit in limits.items():
            if work == "sample_each" and num_threads == 1:
                continue
            rates = compete(systems, problem, work, num_threads, rounds, WARMUP)
            if work == "sample":
                shared = rates
            if work == "sample_each":  # a peer may do several batches in the way it does best
                rates = {
                    name: rate if name == "ours" else max(rate, shared.get(name, rate))
                    for name, rate in rates.items()
                }
            bound = None if work == "walk" else _most_edges(problem, work, limit)
            yield row(_title(problem, words, num_threads), unit, rates, bound)


def _title(problem: Problem, words: str, num_threads: int) -> str:
    graph, fanouts = problem.graph, ",".join(map(str, problem.fanouts))
    size = problem.batches.shape[2]
    work = words.format(fanouts=fanouts, size=size, steps=WALK_STEPS, walks=WALKS_PER_SEED)
    return (
        f"{work}; R-MAT {graph.num_nodes} nodes {graph.num_edges} edges, "
        f"{threads_in_words(num_threads)}"
    )


def _most_edges(problem: Problem, work: str, limits: Limits) -> float:
    """Edges per second that the lines of a sample, and of its rows, allow."""
    sampler = NeighborSampler(problem.graph, problem.fanouts, problem.seed)
    blocks = sampler.sample(problem.batches[0, 0])
    row_bytes = problem.rows[:1].nbytes if work == "sample_mean" else 0
    lines = lines_drawn(problem.graph, blocks) + blocks[0].num_edges * -(-row_bytes // LINE_BYTES)
    return sum(block.num_edges for block in blocks) / limits.seconds(lines)
