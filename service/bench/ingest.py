"""Building the adjacency: edges in memory to compressed sparse columns.

Uniformly random edges are the worst case of this step: no two neighbors in the list are near
each other in the result. R-MAT edges have hubs. Ours also sorts every row by source; DGL and
SciPy do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling import Graph
from service.bench.dgl_peer import converter, import_dgl
from service.bench.machine import Limits, machine, measure_limits
from service.bench.problem import rmat_edges
from service.bench.race import race, row, threads_in_words, timed
from service.console import note

__all__ = ["measure"]

Edges = tuple[NDArray[Any], NDArray[Any]]

STREAMED_BYTES = 36
"""Bytes per edge that radix partitioning moves: ends twice in, buckets out and in, sources out."""


def measure(
    num_nodes: int, num_edges: int, num_threads: int, rounds: int, seed: int
) -> dict[str, Any]:
    """Edges built per second by ours, DGL and SciPy, as `gnn bench ingest --json` prints it."""
    limits = measure_limits(num_edges * 8, num_threads)
    kinds: dict[str, Callable[[], Edges]] = {
        "uniformly random": lambda: _random_edges(num_nodes, num_edges, seed),
        "R-MAT": lambda: rmat_edges(num_nodes, num_edges, seed, num_threads),
    }
    rows = []
    for kind, draw in kinds.items():
        note(f"drawing {num_edges:,} {kind} edges between {num_nodes:,} nodes")
        rows.append(_row(kind, draw(), num_nodes, num_threads, rounds, limits))
    return {"machine": machine({num_threads: limits}), "rows": rows}


def _row(
    kind: str, edges: Edges, num_nodes: int, num_threads: int, rounds: int, limits: Limits
) -> dict[str, Any]:
    src, dst = edges
    works = {
        "ours": _ours(src, dst, num_nodes, num_threads),
        "scipy": _scipy(src, dst, num_nodes),
    }
    if import_dgl() is None:
        note("dgl cannot be imported here; measuring without it")
    else:
        works["dgl"] = converter(src, dst, num_nodes, num_threads)
    note(f"building {rounds} times with each contender in turn")
    racing = {name: timed(work, lambda _: len(src)) for name, work in works.items()}
    return row(
        f"build CSC from {len(src)} {kind} {src.dtype} edges, {num_nodes} nodes, "
        f"{threads_in_words(num_threads)}",
        "edges/s",
        race(racing, rounds, warmup=1),
        1 / limits.seconds(0, STREAMED_BYTES),
    )


def _random_edges(num_nodes: int, num_edges: int, seed: int) -> Edges:
    random, kind = np.random.default_rng(seed), np.int32 if num_nodes < 2**31 else np.int64
    src = random.integers(0, num_nodes, num_edges, dtype=kind)
    return src, random.integers(0, num_nodes, num_edges, dtype=kind)


def _ours(
    src: NDArray[Any], dst: NDArray[Any], num_nodes: int, num_threads: int
) -> Callable[[int], Any]:
    return lambda number: Graph.from_edges(src, dst, num_nodes=num_nodes, num_threads=num_threads)


def _scipy(src: NDArray[Any], dst: NDArray[Any], num_nodes: int) -> Callable[[int], Any]:
    from scipy.sparse import coo_array

    ones = np.ones(len(src), np.int8)

    def work(number: int) -> Any:
        coo = coo_array((ones, (src, dst)), shape=(num_nodes, num_nodes))
        coo.has_canonical_format = True  # a multigraph keeps repeated edges: no summing of them
        return coo.tocsc()

    return work
