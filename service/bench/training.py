"""One epoch of mini-batch GraphSAGE, ours as `gnn train` runs it and DGL's as its examples do.

Both have the same layers, seeds, fanouts, batch size, features, labels and optimizer (Adam), no
dropout, float32 unless said, and start from weights of their own. Seeds are visited in a new order
every epoch. Labels follow a random direction of the features, so both can be seen to learn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor, nn

from gnn import GNN, ModelConfig, TrainConfig, build_model
from gnn.pages import kept_pages
from gnn.sessions.node import NodeSession
from sampling import Block, Dataset, Graph
from sampling.graph.features import FeatureTable
from service.bench.problem import Problem

__all__ = ["CLASSES", "DglTraining", "OursTraining", "Steps", "labels", "stage_seconds",
           "train_seeds"]  # fmt: skip

CLASSES = 16
LR = 0.003
STAGES = ("sample", "gather", "forward", "backward", "step")


def train_seeds(graph: Graph, count: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Distinct nodes with in-neighbors, (1, batches, batch size), about `count` of them."""
    reachable = np.flatnonzero(graph.in_degrees())
    size = min(batch_size, len(reachable))
    batches = max(1, min(-(-count // size), len(reachable) // size))
    chosen = np.random.default_rng(seed).choice(reachable, batches * size, replace=False)
    return chosen.astype(np.int64).reshape(1, batches, size)


def labels(problem: Problem) -> NDArray[np.int64]:
    """A class for every seed, -1 for other nodes, (num_nodes,)."""
    seeds, random = problem.batches.reshape(-1), np.random.default_rng(problem.seed)
    directions = random.normal(size=(problem.rows.shape[1], CLASSES)).astype(np.float32)
    out = np.full(problem.graph.num_nodes, -1, np.int64)
    out[seeds] = (np.asarray(problem.rows[seeds], np.float32) @ directions).argmax(axis=1)
    return out


class Steps(Protocol):
    """The parts of a training step, one after the other, for a breakdown.

    Attributes:
        optimizer: of the model's weights.
    """

    optimizer: torch.optim.Optimizer

    def sample(self, seeds: NDArray[np.int64]) -> Any:
        """Blocks for these seeds."""

    def gather(self, sampled: Any) -> Any:
        """Input rows for them."""

    def loss(self, sampled: Any, rows: Any, seeds: NDArray[np.int64]) -> Tensor:
        """The loss of a batch."""


def stage_seconds(steps: Steps, batches: NDArray[np.int64]) -> dict[str, float]:
    """Seconds per batch and stage, one stage after the other, the first batch not counted."""
    totals = dict.fromkeys(STAGES, 0.0)
    for number, seeds in enumerate(batches):
        times = [time.perf_counter()]

        def lap(times: list[float] = times) -> None:
            times.append(time.perf_counter())

        _step(steps, seeds, lap)
        if number or len(batches) == 1:
            for name, began, ended in zip(STAGES, times, times[1:], strict=False):
                totals[name] += ended - began
    return {name: total / max(len(batches) - 1, 1) for name, total in totals.items()}


def _step(steps: Steps, seeds: NDArray[np.int64], lap: Callable[[], None]) -> None:
    sampled = steps.sample(seeds)
    lap()
    rows = steps.gather(sampled)
    lap()
    loss = steps.loss(sampled, rows, seeds)
    lap()
    steps.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    lap()
    steps.optimizer.step()
    lap()


class OursTraining:
    """Our epoch, that of `gnn train`.

    Args:
        problem: with rows, seeds and widths.
        table: the rows.
        num_threads: threads of torch and of the sampler.
        precision: of `gnn.precision`.
    """

    def __init__(
        self, problem: Problem, table: FeatureTable, num_threads: int, precision: str = "float32"
    ) -> None:
        self.problem, self.losses = problem, list[float]()
        config = TrainConfig(
            batch_size=problem.batches.shape[2],
            fanouts=tuple(problem.fanouts),
            lr=LR,
            weight_decay=0.0,
            monitor="none",
            seed=problem.seed,
            num_threads=num_threads,
            device="cpu",
        )
        torch.manual_seed(problem.seed)
        self.model = _model(problem)
        self.model.precision = torch.bfloat16 if precision == "bfloat16" else None
        self.session = NodeSession.prepare(self.model, _dataset(problem, table), config)
        self.optimizer = self.session.stepper.optimizer

    def epoch(self, number: int) -> int:
        """One pass over the seeds; how many they are."""
        with kept_pages():
            self.losses.append(self.session.run_epoch(number).loss)
        return self.problem.batches.size

    def sample(self, seeds: NDArray[np.int64]) -> Sequence[Block]:
        return self.session.loader.sampler.sample(seeds)

    def gather(self, sampled: Sequence[Block]) -> Tensor:
        features, sampler = self.session.data.features, self.session.loader.sampler
        assert features is not None, "the problem has rows"
        return features.gather(sampled[0].src_nodes, sampler.num_threads)

    def loss(self, sampled: Sequence[Block], rows: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        self.model.train()
        return F.cross_entropy(self.model(sampled, rows), self.session.y[torch.from_numpy(seeds)])


def _model(problem: Problem) -> GNN:
    return build_model(
        ModelConfig(
            d_in=problem.rows.shape[1],
            d_hidden=problem.hidden,
            d_out=CLASSES,
            num_layers=len(problem.fanouts),
            dropout=0.0,
            head="none",
        )
    )


def _dataset(problem: Problem, table: FeatureTable) -> Dataset:
    parts = np.zeros(problem.graph.num_nodes, np.uint8)
    parts[problem.batches.reshape(-1)] = 1
    return Dataset.in_memory(
        problem.graph,
        features=table,
        labels=labels(problem),
        splits=parts,
        classes=list(range(CLASSES)),
    )


class DglTraining:
    """DGL's epoch: `dgl.dataloading.DataLoader` and `dgl.nn.SAGEConv`.

    Args:
        dgl: the package.
        graph: a DGL graph.
        rows: features, (num_nodes, d) float32.
        problem: with seeds and widths.
        kind: type of node numbers.
    """

    def __init__(self, dgl: Any, graph: Any, rows: Tensor, problem: Problem, kind: Any) -> None:
        self.dgl, self.graph, self.problem, self.losses = dgl, graph, problem, list[float]()
        self.seeds = torch.from_numpy(problem.batches.reshape(-1).copy()).to(kind)
        graph.ndata["x"], graph.ndata["y"] = rows, torch.from_numpy(labels(problem))
        torch.manual_seed(problem.seed)
        widths = [rows.shape[1], *[problem.hidden] * (len(problem.fanouts) - 1), CLASSES]
        self.layers = nn.ModuleList(dgl.nn.SAGEConv(a, b, "mean") for a, b in pairwise(widths))
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.layers.parameters(), lr=LR)
        # Fused sampling of int32 nodes gives wrong blocks from a sampler's second batch on.
        self.sampler = dgl.dataloading.NeighborSampler(
            problem.fanouts,
            prefetch_node_feats=["x"],
            prefetch_labels=["y"],
            fused=kind == torch.int64,
        )

    def epoch(self, num_workers: int = 0) -> int:
        """One pass over the seeds; how many they are."""
        loader = self.dgl.dataloading.DataLoader(
            self.graph,
            self.seeds,
            self.sampler,
            batch_size=self.problem.batches.shape[2],
            shuffle=True,
            num_workers=num_workers,
        )
        losses = []
        for _, _, blocks in loader:
            loss = self._loss(blocks, blocks[0].srcdata["x"], blocks[-1].dstdata["y"])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self.optimizer.step()
            losses.append(loss.item())
        self.losses.append(float(np.mean(losses)))
        return len(self.seeds)

    def sample(self, seeds: NDArray[np.int64]) -> Any:
        return self.sampler.sample(self.graph, torch.from_numpy(seeds).to(self.seeds.dtype))

    def gather(self, sampled: Any) -> Tensor:
        rows: Tensor = self.graph.ndata["x"][sampled[0].long()]
        return rows

    def loss(self, sampled: Any, rows: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        return self._loss(sampled[2], rows, self.graph.ndata["y"][sampled[1].long()])

    def _loss(self, blocks: Any, x: Tensor, y: Tensor) -> Tensor:
        last = len(self.layers) - 1
        for i, (layer, block) in enumerate(zip(self.layers, blocks, strict=True)):
            x = layer(block, x)
            x = x if i == last else F.relu(x)
        return F.cross_entropy(x, y)
