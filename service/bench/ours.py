"""Ours at every work that the benchmarks know, as its users would call it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnn import ModelConfig, build_model
from gnn.layerwise import infer
from gnn.model import GNN
from sampling import (
    Dataset,
    InputReduction,
    MiniBatchLoader,
    NeighborSampler,
    ReducedNeighborSampler,
    TemporalNeighborSampler,
    WeightedNeighborSampler,
    kernels,
    random_walks,
)
from sampling.graph.features import FeatureTable
from sampling.graph.ids import NodeIds
from sampling.graph.meta import GraphMeta, IdInfo
from sampling.sampler import Sampler
from service.bench.problem import WALK_STEPS, Problem
from service.bench.training import OursTraining

__all__ = ["Ours", "dataset", "first_layer_means"]


class Ours:
    """One method per work; each does the work of round `number`.

    Args:
        problem: what to work on.
        storage: number type of the rows.
    """

    def __init__(self, problem: Problem, storage: str = "float32") -> None:
        self.problem, self.storage = problem, storage
        self.table = problem.table(storage) if problem.rows.size else None
        self.use_threads(kernels.default_threads())

    def use_threads(self, num_threads: int) -> None:
        """Work with this many threads from now on."""
        torch.set_num_threads(num_threads)
        self.num_threads = num_threads
        self.sampler = self._sampler(num_threads)
        self.lone_sampler = self._sampler(1)

    def sample(self, number: int) -> int:
        """Sampled edges of the round's batches, one after the other, all threads on each."""
        return sum(self._sample(self.sampler, seeds) for seeds in self.problem.batches[number])

    def sample_each(self, number: int) -> int:
        """The same with a batch per thread."""
        with ThreadPoolExecutor(self.num_threads) as pool:
            batches = self.problem.batches[number]
            return sum(pool.map(lambda seeds: self._sample(self.lone_sampler, seeds), batches))

    def sample_mean(self, number: int) -> int:
        """Batches with the mean of input rows that the first layer starts with."""
        return sum(
            first_layer_means(self.sampler, seeds, self._rows())[0]
            for seeds in self.problem.batches[number]
        )

    def sample_weighted(self, number: int) -> int:
        """`sample` where a neighbor is drawn in proportion to the weight of its edge."""
        self._weighted.num_threads = self.num_threads
        return sum(self._sample(self._weighted, seeds) for seeds in self.problem.batches[number])

    def sample_temporal(self, number: int) -> int:
        """`sample` of edges before a time of each seed's own."""
        self._temporal.num_threads = self.num_threads
        batches = zip(self.problem.batches[number], self.problem.seed_times(number), strict=True)
        return sum(
            block.num_edges
            for seeds, times in batches
            for block in self._temporal.sample(seeds, times).blocks
        )

    def walk(self, number: int) -> int:
        """Steps of uniform walks along in-neighbors from all seeds."""
        starts, threads = self.problem.walk_starts(number), self.num_threads
        walks = random_walks(
            self.problem.graph, starts, WALK_STEPS, seed=number, num_threads=threads
        )
        return int((walks[:, 1:] >= 0).sum())

    def gather(self, number: int) -> torch.Tensor:
        """Rows of the round's nodes as float32."""
        nodes = torch.from_numpy(self.problem.batches[number].reshape(-1))
        return self._rows().gather(nodes, self.num_threads)

    def mean(self, number: int) -> NDArray[np.float32]:
        """The mean over in-neighbors of every node."""
        graph, table = self.problem.graph, self._rows()
        return kernels.aggregate(
            graph.indptr,
            graph.indices,
            table.array,
            table.scale,
            None,
            None,
            "mean",
            self.num_threads,
        )[0]

    def load(self, number: int) -> int:
        """Sampled edges of the round's batches, with their input rows, from the loader."""
        seeds = self.problem.batches[number]
        loader = MiniBatchLoader(
            dataset(self.problem.graph, self._rows()),
            self.lone_sampler,
            seeds.reshape(-1),
            seeds.shape[1],
            num_workers=self.num_threads,
        )
        return sum(sum(block.num_edges for block in batch.blocks) for batch in loader)

    def train(self, number: int) -> int:
        """Seeds of one epoch of training."""
        return self.training.epoch(number)

    def train_mixed(self, number: int) -> int:
        """The same with dense maps in bfloat16."""
        return self._mixed.epoch(number)

    @cached_property
    def training(self) -> OursTraining:
        """A model in training, with the threads of the moment it is first asked for."""
        return OursTraining(self.problem, self._rows(), self.num_threads)

    @cached_property
    def _mixed(self) -> OursTraining:
        return OursTraining(self.problem, self._rows(), self.num_threads, "bfloat16")

    def embed(self, number: int) -> torch.Tensor:
        """Every node through every layer, layer by layer."""
        return infer(sage_model(self.problem), dataset(self.problem.graph, self._rows()))

    @cached_property
    def _weighted(self) -> WeightedNeighborSampler:
        graph = replace(self.problem.graph, edge_weight=self.problem.edge_weights())
        return WeightedNeighborSampler(graph, self.problem.fanouts, self.problem.seed)

    @cached_property
    def _temporal(self) -> TemporalNeighborSampler:
        graph = replace(self.problem.graph, edge_time=self.problem.edge_times())
        return TemporalNeighborSampler(graph, self.problem.fanouts, seed=self.problem.seed)

    def _sampler(self, num_threads: int) -> NeighborSampler:
        fanouts = self.problem.fanouts or [1]
        return NeighborSampler(self.problem.graph, fanouts, self.problem.seed, num_threads)

    def _sample(self, sampler: Sampler, seeds: NDArray[np.int64]) -> int:
        return sum(block.num_edges for block in sampler.sample(seeds))

    def _rows(self) -> FeatureTable:
        assert self.table is not None, "this work has a problem with rows"
        return self.table


def first_layer_means(
    sampler: NeighborSampler, seeds: NDArray[np.int64], table: FeatureTable
) -> tuple[int, torch.Tensor]:
    """Edges of a sample, and the mean of rows over each neighborhood of its first block."""
    means = ReducedNeighborSampler(sampler, table, InputReduction("mean"))
    blocks = means.sample(seeds)
    received = blocks[0].received
    assert received is not None, "the sampler reduced the first block"
    return sum(int(block.indptr[-1]) for block in blocks), received


def dataset(graph: Any, table: FeatureTable) -> Dataset:
    """A graph and its rows as one dataset in memory."""
    types = [(t.name, t.start, t.end) for t in graph.node_types]
    meta = GraphMeta(
        name="bench",
        num_nodes=graph.num_nodes,
        num_edges=graph.num_edges,
        node_types=types,
        edge_types=list(graph.edge_types),
        ids=IdInfo(kind="range", num_nodes=graph.num_nodes),
    )
    return Dataset(graph, NodeIds.range(graph.num_nodes), meta, table)


@cache
def _empty_model(width: int, num_layers: int) -> GNN:
    config = ModelConfig(
        d_in=width, d_hidden=width, d_out=width, num_layers=num_layers, head="none"
    )
    return build_model(config)


def sage_model(problem: Problem) -> GNN:
    """GraphSAGE with the weights of the problem."""
    model = _empty_model(problem.rows.shape[1], problem.num_layers)
    for i, arrays in enumerate(problem.weights()):
        own, neighbors, bias = (torch.from_numpy(array) for array in arrays)
        conv: Any = model.conv(i)
        conv.own.weight.data, conv.own.bias.data = own, bias
        conv.neighbors.weight.data = neighbors
    return model
