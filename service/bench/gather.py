"""Gathering feature rows of random nodes as float32, from every storage type."""

from __future__ import annotations

from typing import Any

import numpy as np

from sampling import Graph
from service.bench.array_peers import Numpy, Torch
from service.bench.machine import LINE_BYTES, Limits, machine, measure_limits
from service.bench.ours import Ours
from service.bench.problem import Problem, random_rows
from service.bench.race import row, threads_in_words
from service.bench.systems import System, compete
from service.console import note

__all__ = ["measure"]

WARMUP = 2
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def measure(
    num_rows: int, batch_size: int, width: int, num_threads: int, rounds: int, seed: int
) -> dict[str, Any]:
    """Rows gathered per second by ours and peers, as `gnn bench gather --json` prints it."""
    note(f"gathering {batch_size:,} of {num_rows:,} rows, {width} wide, {rounds} times in turn")
    empty = Graph(np.zeros(num_rows + 1, np.int64), np.zeros(0, np.int32))
    nodes = np.random.default_rng(seed).integers(0, num_rows, (WARMUP + rounds, 1, batch_size))
    problem = Problem(empty, random_rows(num_rows, width, seed, np.float32), nodes)
    threads = sorted({1, num_threads})
    limits = {n: measure_limits(problem.rows.nbytes, n) for n in threads}
    rows = [_row(problem, storage, n, limits[n], rounds) for storage in ITEM_BYTES for n in threads]
    return {"machine": machine(limits), "rows": rows}


def _row(
    problem: Problem, storage: str, num_threads: int, limits: Limits, rounds: int
) -> dict[str, Any]:
    systems: dict[str, System] = {"ours": Ours(problem, storage), "torch": Torch(problem, storage)}
    if storage != "bfloat16":
        systems["numpy"] = Numpy(problem, storage)
    rates = compete(systems, problem, "gather", num_threads, rounds, WARMUP)
    row_bytes = problem.rows.shape[1] * ITEM_BYTES[storage]
    bound = 1 / limits.seconds(-(-row_bytes // LINE_BYTES))
    return row(
        f"gather random rows, {problem.rows.shape[1]} wide, {storage} to float32; "
        f"{len(problem.rows)} rows, {threads_in_words(num_threads)}",
        "rows/s",
        rates,
        bound,
        ns_per_row=1e9 / rates["ours"],
        gb_per_s=rates["ours"] * row_bytes / 1e9,
    )
