"""Embedding every node: GraphSAGE layer by layer, equal weights for all contenders.

Ours stores the input rows as float32, float16 or int8; peers have float32. How far the rows of
every contender are from ours in float32 is part of the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.bench.machine import machine
from service.bench.ours import Ours
from service.bench.problem import Problem, random_rows, rmat_graph
from service.bench.race import race, row, threads_in_words
from service.bench.systems import System, contenders, open_systems
from service.console import note

__all__ = ["measure"]

STORED = ("float16", "int8")
COMPARED_ROWS = 4096


def measure(
    num_nodes: int,
    num_edges: int,
    width: int,
    num_layers: int,
    num_threads: int,
    rounds: int,
    seed: int,
    tuned: bool = True,
) -> dict[str, Any]:
    """Nodes embedded per second by ours and peers, as `gnn bench embed --json` prints it."""
    note(f"making an R-MAT graph of {num_nodes:,} nodes and {num_edges:,} edges")
    graph = rmat_graph(num_nodes, num_edges, seed, num_threads)
    rows = random_rows(num_nodes, width, seed, np.float32)
    problem = Problem(graph, rows, seed=seed, num_layers=num_layers)
    note(f"embedding all nodes {rounds} times with each contender in turn")
    with open_systems(problem, num_threads, tuned) as systems:
        systems |= {storage: Ours(problem, storage) for storage in STORED}
        racing = contenders(systems, problem, "embed", num_threads)
        racing |= {
            f"{name}, whole graph": contender
            for name, contender in contenders(systems, problem, "embed_full", num_threads).items()
        }
        distances = _distances(systems)  # and warms everybody up
        rates = race(racing, rounds, warmup=0)
    peers = {name: rate for name, rate in rates.items() if name not in (*STORED, "ours")}
    work = (
        f"embed all nodes, GraphSAGE {num_layers} layers {width} wide; R-MAT {num_nodes} nodes "
        f"{num_edges} edges, {threads_in_words(num_threads)}, ours "
    )
    found = [
        row(work + storage, "nodes/s", {"ours": rates[name], **peers})
        for name, storage in {"ours": "float32", **{s: s for s in STORED}}.items()
    ]
    found[0]["max_abs_difference"] = distances
    return {"machine": machine(), "rows": found}


def _distances(systems: dict[str, System]) -> dict[str, float]:
    """The largest difference of an embedding from ours in float32, by contender."""
    samples = {
        f"{name}, whole graph" if work == "embed_full" else name: _sample(getattr(system, work)(0))
        for name, system in systems.items()
        for work in ("embed", "embed_full")
        if hasattr(system, work)
    }
    ours = samples.pop("ours")
    return {name: float(np.abs(rows - ours).max()) for name, rows in samples.items()}


def _sample(rows: torch.Tensor) -> NDArray[np.float32]:
    step = max(len(rows) // COMPARED_ROWS, 1)
    return rows[::step].numpy().copy()
