"""DGL at the same work as ours: its CSC graph, its NeighborSampler, its COO to CSC conversion.

DGL takes int32 and int64 graphs; the sampler is measured with both and the faster one counts.
Tuned means what an expert can do without changing DGL: a finished int32 CSC and huge pages. Those
are chosen by environment variables that are read when a process starts, so the tuned measurement
is this file run as a program of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.bench.race import Contender, race

__all__ = ["Options", "converter", "load_dgl", "measure_tuned", "samplers"]

TUNING = {"THP_MEM_ALLOC_ENABLE": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@dataclass(frozen=True, slots=True)
class Options:
    """What to sample, and how often.

    Attributes:
        fanouts: neighbors per node for each layer, first layer first.
        seeds: dense nodes, (warmup + rounds, batch_size).
        num_threads: threads of every contender.
        rounds: batches that count.
        warmup: batches before them.
    """

    fanouts: list[int]
    seeds: NDArray[Any]
    num_threads: int
    rounds: int
    warmup: int


def load_dgl(num_threads: int) -> Any | None:
    """The package, limited to `num_threads`; None where it cannot be imported."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import dgl
    except (ImportError, OSError):  # FileNotFoundError when DGL lacks a binary for this torch
        return None
    torch.set_num_threads(num_threads)
    dgl.utils.set_num_threads(num_threads)
    return dgl


def samplers(
    dgl: Any, src: NDArray[Any], dst: NDArray[Any], num_nodes: int, options: Options
) -> dict[str, Contender]:
    """DGL's NeighborSampler over its own graph of these edges, by name of the index type."""
    kinds = [np.int64] if len(src) >= 2**31 else [np.int32, np.int64]
    return {
        np.dtype(kind).name: _sampler(dgl, _graph(dgl, src, dst, num_nodes, kind), options, kind)
        for kind in kinds
    }


def _graph(dgl: Any, src: NDArray[Any], dst: NDArray[Any], num_nodes: int, kind: type[Any]) -> Any:
    """As DGL's users have it: made from an edge list, then kept as CSC alone."""
    pair = tuple(torch.from_numpy(array.astype(kind, copy=False)) for array in (src, dst))
    return dgl.graph(pair, num_nodes=num_nodes).formats("csc")


def _graph_of_csc(dgl: Any, indptr: NDArray[Any], indices: NDArray[Any]) -> Any:
    """Made from a finished CSC in torch's memory: no edge ids, huge pages if it has any."""
    arrays = [torch.empty(a.shape, dtype=torch.int32).copy_(torch.from_numpy(a.astype(np.int32)))
              for a in (indptr, indices)]  # fmt: skip
    csc = (*arrays, torch.empty(0, dtype=torch.int32))
    return dgl.graph(("csc", csc), num_nodes=len(indptr) - 1)


def _sampler(dgl: Any, graph: Any, options: Options, kind: type[Any]) -> Contender:
    sampler = dgl.dataloading.NeighborSampler(options.fanouts)
    batches = torch.from_numpy(options.seeds.astype(kind))

    def work(number: int) -> int:
        _, _, blocks = sampler.sample(graph, batches[number])
        return sum(int(block.num_edges()) for block in blocks)

    return work


def converter(dgl: Any, src: NDArray[Any], dst: NDArray[Any], num_nodes: int) -> Contender:
    """DGL's conversion of an edge list to CSC; the edge list itself is wrapped, not copied."""
    pair = (torch.from_numpy(src), torch.from_numpy(dst))

    def work(number: int) -> int:
        graph = dgl.graph(pair, num_nodes=num_nodes)
        graph.adj_tensors("csc")
        return len(src)

    return work


def measure_tuned(indptr: NDArray[Any], indices: NDArray[Any], options: Options) -> float | None:
    """DGL's sampling rate with int32 and huge pages; None where it cannot be measured."""
    if len(indices) >= 2**31:
        return None
    with tempfile.TemporaryDirectory(prefix="gnn-bench-") as folder:
        arrays = {"indptr": indptr, "indices": indices, "seeds": options.seeds}
        for name, array in arrays.items():
            np.save(Path(folder) / f"{name}.npy", array)
        chosen = [options.fanouts, options.num_threads, options.rounds, options.warmup]
        child = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "service.bench.dgl_peer", folder, json.dumps(chosen)],
            env=os.environ | TUNING | {"OMP_NUM_THREADS": str(options.num_threads)},
            capture_output=True,
            text=True,
            check=False,
        )
    return None if child.returncode else float(json.loads(child.stdout.splitlines()[-1]))


def _child(folder: str, chosen: str) -> None:
    indptr, indices, seeds = (
        np.load(Path(folder) / f"{name}.npy", mmap_mode="r")
        for name in ("indptr", "indices", "seeds")
    )
    fanouts, num_threads, rounds, warmup = json.loads(chosen)
    options = Options(fanouts, seeds, num_threads, rounds, warmup)
    dgl = load_dgl(num_threads)
    graph = _graph_of_csc(dgl, indptr, indices)
    contender = _sampler(dgl, graph, options, np.int32)
    print(json.dumps(race({"dgl": contender}, rounds, warmup)["dgl"]))


if __name__ == "__main__":
    _child(*sys.argv[1:])
