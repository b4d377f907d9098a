"""Mini-batches ready for a model: sampled, with the input rows of their nodes gathered."""

from __future__ import annotations

from typing import Any

import numpy as np

from service.bench.machine import machine
from service.bench.problem import Problem, random_rows, rmat_graph, seed_batches
from service.bench.race import race, row, threads_in_words
from service.bench.systems import best, contenders, open_systems
from service.console import note

__all__ = ["measure"]

BATCHES = 32


def measure(
    num_nodes: int,
    num_edges: int,
    fanouts: list[int],
    batch_size: int,
    width: int,
    num_threads: int,
    rounds: int,
    seed: int,
    tuned: bool = True,
) -> dict[str, Any]:
    """Edges per second in batches with rows, as `gnn bench loader --json` prints it."""
    note(f"making an R-MAT graph of {num_nodes:,} nodes and {num_edges:,} edges")
    graph = rmat_graph(num_nodes, num_edges, seed, num_threads)
    batches = seed_batches(graph, (1 + rounds, BATCHES, batch_size), seed)
    rows = random_rows(num_nodes, width, seed, np.float32)
    problem = Problem(graph, rows, batches, fanouts, seed)
    note(f"loading {rounds} rounds of {BATCHES} batches with each contender in turn")
    with open_systems(problem, num_threads, tuned, ("int32", "int64")) as systems:
        racing = contenders(systems, problem, "load", num_threads)
        workers = contenders(systems, problem, "load_workers", num_threads)
        racing |= {f"{name}, worker processes": each for name, each in workers.items()}
        rates = best(race(racing, rounds, warmup=1))
    work = (
        f"load {','.join(map(str, fanouts))} for {batches.shape[2]} seeds with float32 rows "
        f"{width} wide; R-MAT {num_nodes} nodes {num_edges} edges, {threads_in_words(num_threads)}"
    )
    return {"machine": machine(), "rows": [row(work, "edges/s", rates)]}
