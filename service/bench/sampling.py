"""Neighbor sampling, end to end from Python: seeds in, relabeled blocks out.

The graph is R-MAT (Chakrabarti, Zhan, Faloutsos 2004) with the Graph500 corner probabilities,
made in memory by `sampling.graph.synthetic`; the seeds are uniform over the nodes that have
in-neighbors, the same for every contender.
"""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling import Graph, NeighborSampler
from sampling.graph.synthetic import RmatConfig
from service.bench.dgl_peer import Options, load_dgl, measure_tuned, samplers
from service.bench.race import Contender, machine, race, row
from service.console import note

__all__ = ["measure", "rmat_edges"]

WARMUP = 3
CHUNK_EDGES = 1 << 16


def measure(
    num_nodes: int,
    num_edges: int,
    fanouts: list[int],
    batch_size: int,
    num_threads: int,
    rounds: int,
    seed: int,
    tuned: bool = True,
) -> dict[str, Any]:
    """Sampled edges per second of ours and of DGL, as `gnn bench sampling --json` prints it."""
    note(f"making an R-MAT graph of {num_nodes:,} nodes and {num_edges:,} edges")
    src, dst = rmat_edges(num_nodes, num_edges, seed, num_threads)
    graph = Graph.from_edges(src, dst, num_nodes=num_nodes)
    seeds = _seeds(graph, batch_size, WARMUP + rounds, seed)
    options = Options(fanouts, seeds, num_threads, rounds, WARMUP)
    peers = _peers(src, dst, num_nodes, options)
    del src, dst
    gc.collect()
    note(f"sampling {rounds} batches of {batch_size:,} seeds with each contender in turn")
    rates = race({"ours": _ours(graph, options, seed), **peers}, rounds, WARMUP)
    peers.clear()
    best = {"dgl": max(rates[name] for name in rates if name != "ours")} if len(rates) > 1 else {}
    if best and tuned and (rate := measure_tuned(graph.indptr, graph.indices, options)):
        best["dgl tuned"] = rate
    work = (
        f"sample {','.join(map(str, fanouts))} for {batch_size} seeds in R-MAT, {num_nodes} nodes, "
        f"{num_edges} edges, {num_threads} threads"
    )
    return {"machine": machine(), "rows": [row(work, "edges/s", {"ours": rates["ours"], **best})]}


def rmat_edges(
    num_nodes: int, num_edges: int, seed: int, num_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The edges that `gnn synth rmat` would write, in memory."""
    config = RmatConfig(nodes=num_nodes, edges=num_edges, seed=seed)
    config.check()
    kind = np.int32 if num_nodes < 2**31 else np.int64
    src, dst = np.empty(num_edges, kind), np.empty(num_edges, kind)

    def fill(start: int) -> None:
        end = min(start + CHUNK_EDGES, num_edges)
        src[start:end], dst[start:end] = config.pairs(start, end)

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(fill, range(0, num_edges, CHUNK_EDGES)))
    return src, dst


def _ours(graph: Graph, options: Options, seed: int) -> Contender:
    sampler = NeighborSampler(graph, options.fanouts, seed, options.num_threads)

    def work(number: int) -> int:
        blocks = sampler.sample(options.seeds[number], seed + number)
        return sum(block.num_edges for block in blocks)

    return work


def _peers(
    src: NDArray[Any], dst: NDArray[Any], num_nodes: int, options: Options
) -> dict[str, Contender]:
    dgl = load_dgl(options.num_threads)
    if dgl is None:
        note("dgl cannot be imported here; measuring ours alone")
        return {}
    return samplers(dgl, src, dst, num_nodes, options)


def _seeds(graph: Graph, batch_size: int, batches: int, seed: int) -> NDArray[np.int64]:
    reachable = np.flatnonzero(graph.in_degrees())
    random = np.random.default_rng(seed)
    rows = [random.choice(reachable, min(batch_size, len(reachable)), replace=False)
            for _ in range(batches)]  # fmt: skip
    return np.stack(rows)
