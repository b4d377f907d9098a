"""DGL (Wang et al. 2019) at the same works as ours, as its documentation does them.

As shipped, a graph is made from an edge list with int32 or int64 nodes. Tuned means what an
expert can do without changing DGL: a finished int32 CSC in torch's memory with huge pages, which
environment variables choose when a process starts (`service.bench.remote`).

DGL 1.1.3 samples in two ways. The fused one keeps a map of all nodes in the sampler, and with
int32 nodes it does not clear the map: from a sampler's second batch on, edges name sources that
the block does not have. So an int32 graph gets a new sampler for every batch or the way that is
not fused, whichever a trial finds faster.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.bench.problem import WALK_STEPS, Problem
from service.bench.race import race, timed
from service.bench.training import DglTraining

__all__ = ["Dgl", "converter", "import_dgl"]

NODES_PER_TILE = 4096
TRIALS = 3


def import_dgl() -> Any | None:
    """The package; None where it cannot be imported."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import dgl
    except (ImportError, OSError):  # FileNotFoundError when DGL lacks a binary for this torch
        return None
    return dgl


class Dgl:
    """One method per work, like `Ours`.

    Args:
        problem: what to work on.
        index: "int32" or "int64", the type of node numbers.
        tuned: hand the finished CSC over instead of an edge list.
    """

    def __init__(self, problem: Problem, index: str = "int32", tuned: bool = False) -> None:
        self.dgl: Any = import_dgl()
        self.problem, self.tuned = problem, tuned
        self.kind = getattr(torch, index)
        self.num_threads = 1

    def use_threads(self, num_threads: int) -> None:
        """Work with this many threads from now on."""
        if num_threads != self.num_threads:
            self.__dict__.pop("_fuses", None)  # to be found anew, with this many
        self.num_threads = num_threads
        torch.set_num_threads(num_threads)
        self.dgl.utils.set_num_threads(num_threads)

    def make_ready(self) -> None:
        """Make what is made once: the graph and the rows."""
        _ = self.graph, self.rows

    @cached_property
    def graph(self) -> Any:
        """Compressed sparse columns alone, as is best for sampling."""
        graph = self.problem.graph
        if self.tuned:
            no_ids = torch.empty(0, dtype=self.kind)
            csc = (self._own(graph.indptr), self._own(graph.indices), no_ids)
            return self.dgl.graph(("csc", csc), num_nodes=graph.num_nodes)
        dst = np.repeat(np.arange(graph.num_nodes, dtype=graph.indices.dtype), graph.in_degrees())
        pair = tuple(torch.from_numpy(a).to(self.kind) for a in (graph.indices, dst))
        return self.dgl.graph(pair, num_nodes=graph.num_nodes).formats("csc")

    @cached_property
    def rows(self) -> Tensor:
        """The features, in torch's own memory when tuned."""
        rows = torch.from_numpy(self.problem.rows)
        return torch.empty_like(rows).copy_(rows) if self.tuned else rows

    def sample(self, number: int) -> int:
        """Sampled edges of the round's batches, one after the other, all threads on each."""
        return sum(self._sample(self._sampler(), seeds) for seeds in self._batches(number))

    def sample_each(self, number: int) -> int:
        """The same with a batch per thread; DGL's fused sampling is not for several at once."""
        one_thread: Callable[[int], None] = self.dgl.utils.set_num_threads
        with ThreadPoolExecutor(self.num_threads, initializer=one_thread, initargs=(1,)) as pool:
            sampler = self._new_sampler(fused=False)
            return sum(pool.map(lambda seeds: self._sample(sampler, seeds), self._batches(number)))

    def sample_mean(self, number: int) -> int:
        """Batches with the mean of input rows that the first layer starts with."""
        return sum(self._sample_mean(seeds) for seeds in self._batches(number))

    def sample_weighted(self, number: int) -> int:
        """`sample` where a neighbor is drawn in proportion to the weight of its edge."""
        if "w" not in self.graph.edata:
            self.graph.edata["w"] = torch.from_numpy(self.problem.edge_weights())
        sampler = self._new_sampler(prob="w")
        return sum(self._sample(sampler, seeds) for seeds in self._batches(number))

    def sample_temporal(self, number: int) -> int:
        """What DGL has for edges that must not be seen: a probability for every edge."""
        return self.sample_weighted(number)

    def walk(self, number: int) -> int:
        """Steps of uniform walks along in-neighbors from all seeds.

        DGL walks along out-edges; read as rows, our columns are the edges turned around.
        """
        starts = torch.from_numpy(self.problem.walk_starts(number)).to(self.kind)
        traces, _ = self.dgl.sampling.random_walk(self._turned, starts, length=WALK_STEPS)
        return int((traces[:, 1:] >= 0).sum())

    def mean(self, number: int) -> Tensor:
        """The mean over in-neighbors of every node."""
        return self._mean(self.graph, self.rows)

    def load(self, number: int) -> int:
        """Sampled edges of the round's batches, with their input rows, loaded by the caller."""
        return self._load(number, 0)

    def load_workers(self, number: int) -> int:
        """The same, loaded by a process per thread."""
        return self._load(number, self.num_threads)

    def train(self, number: int) -> int:
        """Seeds of one epoch of training, loaded by the caller."""
        return self.training.epoch()

    def train_workers(self, number: int) -> int:
        """The same, loaded by a worker process."""
        return self.training.epoch(num_workers=1)

    @cached_property
    def training(self) -> DglTraining:
        """A model in training."""
        return DglTraining(self.dgl, self.graph, self.rows, self.problem, self.kind)

    def embed(self, number: int) -> Tensor:
        """Every node through every layer: all in-neighbors of one layer, batch by batch."""
        x = self.rows.float()
        sampler = self.dgl.dataloading.MultiLayerFullNeighborSampler(
            1, fused=self.kind == torch.int64
        )
        nodes = torch.arange(self.graph.num_nodes(), dtype=self.kind)
        for layer in self._layers():
            out = torch.empty_like(x)
            loader = self.dgl.dataloading.DataLoader(
                self.graph, nodes, sampler, batch_size=NODES_PER_TILE
            )
            for inputs, outputs, (block,) in loader:
                rows = x[inputs.long()]
                out[outputs.long()] = layer(rows[: len(outputs)], self._mean(block, rows))
            x = out
        return x

    def embed_full(self, number: int) -> Tensor:
        """Every node through every layer: the whole graph at once."""
        x = self.rows.float()
        for layer in self._layers():
            x = layer(x, self._mean(self.graph, x))
        return x

    @cached_property
    def _turned(self) -> Any:
        graph = self.problem.graph
        csr = (self._own(graph.indptr), self._own(graph.indices), torch.empty(0, dtype=self.kind))
        return self.dgl.graph(("csr", csr), num_nodes=graph.num_nodes)

    def _own(self, array: NDArray[Any]) -> Tensor:
        return torch.empty(array.shape, dtype=self.kind).copy_(torch.from_numpy(array))

    def _batches(self, number: int) -> Tensor:
        return torch.from_numpy(self.problem.batches[number]).to(self.kind)

    def _sampler(self) -> Any:
        if self._fuses and self.kind == torch.int64:
            return self._kept_sampler
        return self._new_sampler(fused=self._fuses)

    @cached_property
    def _kept_sampler(self) -> Any:
        return self._new_sampler()

    @cached_property
    def _fuses(self) -> bool:
        """Whether the fused way is the faster one for the first batch."""
        seeds = self._batches(0)[0]
        ways = {
            name: timed(partial(self._sample_once, fused=name == "fused", seeds=seeds), int)
            for name in ("fused", "plain")
        }
        rates = race(ways, TRIALS, warmup=1)
        return rates["fused"] > rates["plain"]

    def _sample_once(self, number: int, fused: bool, seeds: Tensor) -> int:
        return self._sample(self._new_sampler(fused=fused), seeds)

    def _new_sampler(self, **options: Any) -> Any:
        return self.dgl.dataloading.NeighborSampler(self.problem.fanouts, **options)

    def _sample(self, sampler: Any, seeds: Tensor) -> int:
        _, _, blocks = sampler.sample(self.graph, seeds)
        return sum(int(block.num_edges()) for block in blocks)

    def _sample_mean(self, seeds: Tensor) -> int:
        inputs, _, blocks = self._sampler().sample(self.graph, seeds)
        self._mean(blocks[0], self.rows[inputs.long()].float())
        return sum(int(block.num_edges()) for block in blocks)

    def _mean(self, graph: Any, rows: Tensor) -> Tensor:
        function = self.dgl.function
        with graph.local_scope():
            graph.srcdata["x"] = rows
            graph.update_all(function.copy_u("x", "m"), function.mean("m", "mean"))
            out: Tensor = graph.dstdata["mean"]
            return out

    def _load(self, number: int, num_workers: int) -> int:
        self.graph.ndata["x"] = self.rows
        loader = self.dgl.dataloading.DataLoader(
            self.graph,
            self._batches(number).reshape(-1),
            self._new_sampler(prefetch_node_feats=["x"], fused=self.kind == torch.int64),
            batch_size=self.problem.batches.shape[2],
            num_workers=num_workers,
        )
        edges = 0
        for _, _, blocks in loader:
            assert len(blocks[0].srcdata["x"]) == blocks[0].num_src_nodes()
            edges += sum(int(block.num_edges()) for block in blocks)
        return edges

    def _layers(self) -> list[Callable[[Tensor, Tensor], Tensor]]:
        weights = [[torch.from_numpy(a) for a in arrays] for arrays in self.problem.weights()]
        last = len(weights) - 1

        def layer(i: int, own: Tensor, received: Tensor) -> Tensor:
            w_self, w_neigh, bias = weights[i]
            out = own @ w_self.T + received @ w_neigh.T + bias
            return out if i == last else out.relu()

        return [lambda own, received, i=i: layer(i, own, received) for i in range(last + 1)]  # type: ignore[misc]  # the default binds i


def converter(
    src: NDArray[Any], dst: NDArray[Any], num_nodes: int, num_threads: int
) -> Callable[[int], Any]:
    """DGL's conversion of an edge list to CSC; the edge list itself is wrapped, not copied."""
    dgl: Any = import_dgl()
    torch.set_num_threads(num_threads)
    dgl.utils.set_num_threads(num_threads)
    pair = (torch.from_numpy(src), torch.from_numpy(dst))

    def work(number: int) -> Any:
        return dgl.graph(pair, num_nodes=num_nodes).adj_tensors("csc")

    return work
