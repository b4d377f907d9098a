"""Building the adjacency: uniformly random edges in memory to compressed sparse columns.

Uniformly random edges are the worst case of this step: no two neighbors in the list are near
each other in the result. Ours also sorts every row by source; DGL and SciPy do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling import Graph
from service.bench.dgl_peer import converter, load_dgl
from service.bench.race import Contender, machine, race, row
from service.console import note

__all__ = ["measure"]


def measure(
    num_nodes: int, num_edges: int, num_threads: int, rounds: int, seed: int
) -> dict[str, Any]:
    """Edges built per second by ours, DGL and SciPy, as `gnn bench ingest --json` prints it."""
    note(f"drawing {num_edges:,} random edges between {num_nodes:,} nodes")
    src, dst = _random_edges(num_nodes, num_edges, seed)
    contenders = {
        "ours": _ours(src, dst, num_nodes, num_threads),
        "scipy": _scipy(src, dst, num_nodes),
    }
    dgl = load_dgl(num_threads)
    if dgl is None:
        note("dgl cannot be imported here; measuring without it")
    else:
        contenders["dgl"] = converter(dgl, src, dst, num_nodes)
    note(f"building {rounds} times with each contender in turn")
    rates = race(contenders, rounds, warmup=1)
    work = (
        f"build CSC from {num_edges} uniformly random int32 edges, {num_nodes} nodes, "
        f"{num_threads} threads"
    )
    return {"machine": machine(), "rows": [row(work, "edges/s", rates)]}


def _random_edges(
    num_nodes: int, num_edges: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    src = random.integers(0, num_nodes, num_edges, dtype=np.int32)
    return src, random.integers(0, num_nodes, num_edges, dtype=np.int32)


def _ours(src: NDArray[Any], dst: NDArray[Any], num_nodes: int, num_threads: int) -> Contender:
    def work(number: int) -> int:
        graph = Graph.from_edges(src, dst, num_nodes=num_nodes, num_threads=num_threads)
        return graph.num_edges

    return work


def _scipy(src: NDArray[Any], dst: NDArray[Any], num_nodes: int) -> Contender:
    from scipy.sparse import coo_array

    ones = np.ones(len(src), np.int8)

    def work(number: int) -> int:
        coo = coo_array((ones, (src, dst)), shape=(num_nodes, num_nodes))
        coo.has_canonical_format = True  # a multigraph keeps repeated edges: no summing of them
        return int(coo.tocsc().nnz)

    return work
