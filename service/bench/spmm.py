"""The mean of feature rows over all in-neighbors of every node: a sparse matrix times a dense.

Ours reads rows of every storage type; the peers read float32, in which they are fastest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from service.bench.machine import machine
from service.bench.ours import Ours
from service.bench.problem import Problem, random_rows, rmat_graph
from service.bench.race import row, threads_in_words
from service.bench.systems import System, compete, open_systems
from service.console import note

__all__ = ["measure"]

STORED = ("float32", "float16", "int8")


def measure(
    num_nodes: int,
    num_edges: int,
    width: int,
    num_threads: int,
    rounds: int,
    seed: int,
    tuned: bool = True,
) -> dict[str, Any]:
    """Edges aggregated per second by ours and peers, as `gnn bench spmm --json` prints it."""
    note(f"making an R-MAT graph of {num_nodes:,} nodes and {num_edges:,} edges")
    graph = rmat_graph(num_nodes, num_edges, seed, num_threads)
    problem = Problem(graph, random_rows(num_nodes, width, seed, np.float32), seed=seed)
    with open_systems(problem, num_threads, tuned) as systems:
        systems |= {storage: Ours(problem, storage) for storage in STORED[1:]}
        note(f"aggregating {rounds} times with each contender in turn")
        rows = [r for n in sorted({1, num_threads}) for r in _rows(problem, systems, n, rounds)]
    return {"machine": machine(), "rows": rows}


def _rows(
    problem: Problem, systems: dict[str, System], num_threads: int, rounds: int
) -> Iterator[dict[str, Any]]:
    rates = compete(systems, problem, "mean", num_threads, rounds)
    peers = {name: rate for name, rate in rates.items() if name not in (*STORED, "ours")}
    graph, width = problem.graph, problem.rows.shape[1]
    for storage in STORED:
        rate = rates["ours" if storage == "float32" else storage]
        yield row(
            f"mean of rows {width} wide, ours {storage}; R-MAT {graph.num_nodes} nodes "
            f"{graph.num_edges} edges, {threads_in_words(num_threads)}",
            "edges/s",
            {"ours": rate, **peers},
            ns_per_edge=1e9 / rate,
        )
