"""An epoch of mini-batch GraphSAGE: seeds trained on per second, and where the time goes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from service.bench.dgl_peer import Dgl
from service.bench.machine import machine
from service.bench.ours import Ours
from service.bench.problem import Problem, random_rows, rmat_graph
from service.bench.race import race, row, threads_in_words
from service.bench.systems import System, best, contenders, open_systems
from service.bench.training import stage_seconds, train_seeds
from service.console import note

__all__ = ["measure"]

STAGE_BATCHES = 12
GEMM_REPEATS = 5


def measure(
    num_nodes: int,
    num_edges: int,
    num_seeds: int,
    fanouts: list[int],
    batch_size: int,
    width: int,
    hidden: int,
    num_threads: int,
    rounds: int,
    seed: int,
    tuned: bool = True,
) -> dict[str, Any]:
    """Seeds per second in epochs of training, as `gnn bench train --json` prints it."""
    note(f"making an R-MAT graph of {num_nodes:,} nodes and {num_edges:,} edges")
    graph = rmat_graph(num_nodes, num_edges, seed, num_threads)
    seeds = train_seeds(graph, num_seeds, batch_size, seed)
    rows = random_rows(num_nodes, width, seed, np.float32)
    problem = Problem(graph, rows, seeds, fanouts, seed, hidden=hidden)
    note(f"training {rounds} epochs of {seeds.size:,} seeds with each contender in turn")
    with open_systems(problem, num_threads, tuned, ("int64",)) as systems:
        racing = contenders(systems, problem, "train", num_threads)
        workers = contenders(systems, problem, "train_workers", num_threads)
        racing |= {f"{name}, a worker process": each for name, each in workers.items()}
        mixed = contenders(systems, problem, "train_mixed", num_threads)
        racing |= {"ours bfloat16": mixed["ours"]}
        rates = best(race(racing, rounds, warmup=1))
        note("taking the steps apart")
        seconds = {name: _stages(system, problem) for name, system in systems.items()}
    bfloat16 = rates.pop("ours bfloat16")
    work = (
        f"train {','.join(map(str, fanouts))} for {seeds.shape[2]} seeds, {width} features, "
        f"{hidden} hidden; R-MAT {num_nodes} nodes {num_edges} edges, "
        f"{threads_in_words(num_threads)}"
    )
    batches = {name: found for name, found in seconds.items() if found}
    epochs = {name: seeds.size / rate for name, rate in rates.items()}
    more: dict[str, Any] = {"seconds_per_epoch": epochs, "seconds_per_batch": batches}
    return {
        "machine": machine() | {"gemm_gflops": _gemm_rate(hidden, num_threads)},
        "rows": [
            row(work, "seeds/s", rates, **more),
            row(f"{work}, bfloat16 beside float32", "seeds/s", rates | {"ours": bfloat16}),
        ],
    }


def _stages(system: System, problem: Problem) -> dict[str, float]:
    """Seconds of every stage of a step; empty for who does not train in this process."""
    if not isinstance(system, (Ours, Dgl)):
        return {}
    return stage_seconds(system.training, problem.batches[0][:STAGE_BATCHES])


def _gemm_rate(hidden: int, num_threads: int) -> float:
    """What dense products of this width reach here, in float32."""
    torch.set_num_threads(num_threads)
    size = 1 << 14
    a, b = torch.randn(size, hidden), torch.randn(hidden, hidden)

    def rate(number: int) -> float:
        began = time.perf_counter()
        torch.mm(a, b)
        return 2e-9 * size * hidden * hidden / (time.perf_counter() - began)

    return race({"gemm": rate}, GEMM_REPEATS, warmup=1)["gemm"]
