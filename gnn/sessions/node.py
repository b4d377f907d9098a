"""Training on nodes: seeds with labels, their neighborhoods, their losses.

When one batch covers all seeds and takes all neighbors, its Blocks are made once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.distributed import Ranks
from gnn.errors import DivergedError, TrainingError
from gnn.evaluate import EXACT_EDGES, logits_of, using_threads
from gnn.inputs import with_inputs
from gnn.losses import balanced_seeds
from gnn.model import GNN
from gnn.monitors import monitor_of
from gnn.optimize import Stepper
from gnn.reduce import reduce_inputs
from gnn.sessions.session import (
    EpochResult,
    check_one_class,
    check_outputs,
    class_weight_of,
    loss_of,
    weighed_among_all,
)
from gnn.splits import split_nodes
from gnn.tasks import Task, task_for
from gnn.train_config import TrainConfig
from gnn.transfer import moved
from sampling import Dataset, MiniBatch, MiniBatchLoader, NeighborSampler
from sampling.errors import InputError
from sampling.kernels.reference import MASK

__all__ = ["NodeSession"]

ALL = -1


@dataclass(slots=True)
class NodeSession:
    """Training on the labeled nodes of one graph."""

    model: GNN
    data: Dataset
    config: TrainConfig
    task: Task
    y: Tensor
    val_nodes: NDArray[np.int64]
    class_weight: Tensor | None
    stepper: Stepper
    loader: MiniBatchLoader
    monitor: str
    train_nodes: NDArray[np.int64]
    whole: list[MiniBatch] | None = field(default=None)

    @classmethod
    def prepare(cls, model: GNN, data: Dataset, config: TrainConfig) -> NodeSession:
        task = task_for(config.task, data)
        if data.features is None and model.config.d_in:
            raise TrainingError(
                f"graph {data.meta.name!r} has no features; ingest it with --features"
            )
        data = with_inputs(data, model.config)
        y, labeled = task.targets(data)
        check_one_class(config, task)
        check_outputs(model, task.num_outputs(data))
        train_nodes, val_nodes = _parts(data, labeled, config)
        targets = y[torch.from_numpy(train_nodes)]
        task.fit_scale(model, targets)
        loader = cls.loader_of(model, data, config, train_nodes, y)
        takes_all = cls.takes_all(config, len(train_nodes))
        whole = list(moved(loader, model.device)) if takes_all else None
        return cls(
            model,
            data,
            config,
            task,
            y,
            val_nodes,
            class_weight_of(config, task, targets, model.config.d_out),
            Stepper.of(model, config, len(loader)),
            loader,
            monitor_of(config, task.monitor, ("loss", *task.metric_names)),
            train_nodes,
            whole,
        )

    @classmethod
    def loader_of(
        cls, model: GNN, data: Dataset, config: TrainConfig, nodes: NDArray[np.int64], y: Tensor
    ) -> MiniBatchLoader:
        """Batches of these nodes, (num_nodes,), with targets out of `y`."""
        return _loader(model, data, config, nodes, y)

    @classmethod
    def takes_all(cls, config: TrainConfig, num_seeds: int) -> bool:
        """Whether one batch has all seeds and all their neighbors."""
        return _is_whole(config, num_seeds)

    def run_epoch(self, epoch: int) -> EpochResult:
        """One pass over the training seeds."""
        began = time.perf_counter()
        self.model.train()
        logits, targets, losses, sizes, edges = [], [], [], [], 0
        for i, batch in enumerate(self._batches(epoch)):
            rows, loss = self._step(epoch, i, batch)
            logits.append(rows)
            targets.append(_targets(batch))
            losses.append(loss)
            sizes.append(self.loader.size_of(i))
            edges += sum(block.num_edges for block in batch.blocks)
        y = torch.cat(targets).cpu()
        names = {self.task.monitor, self.monitor}
        metrics = self.task.metrics(torch.cat(logits).cpu(), y, names)
        loss = Ranks.current().epoch_mean(losses, sizes)
        return EpochResult(loss, metrics, edges, time.perf_counter() - began)

    def _batches(self, epoch: int) -> Iterable[MiniBatch]:
        if self.whole is not None:
            return self.whole
        self.loader.epoch = epoch
        if self.config.balanced_seeds:
            y = self.y[torch.from_numpy(self.train_nodes)].numpy()
            self.loader.seeds = balanced_seeds(self.train_nodes, y, self.config.seed, epoch)
        return moved(self.loader, self.model.device)

    def _step(self, epoch: int, i: int, batch: MiniBatch) -> tuple[Tensor, float]:
        assert batch.x is not None, "prepare checked that there are features"
        y, size = _targets(batch), self.loader.size_of(i)
        logits = self.model(batch.blocks, batch.x)
        loss = self._loss(logits, y)
        loss = weighed_among_all(loss, self.task, y, self.class_weight, size)
        return logits.detach(), self.stepper.step(loss, epoch, i, size)

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return loss_of(self.config, self.task, self.model, logits, y, self.class_weight)

    def validate(self, epoch: int) -> dict[str, float]:
        """Loss and monitored metrics of the validation part; empty without one."""
        if self.monitor == "none":
            return {}
        with using_threads(self.config.num_threads):
            logits = self.val_logits()
        y = self.y[torch.from_numpy(self.val_nodes)]
        loss = self._loss(logits.to(self.model.device), y.to(self.model.device)).item()
        if not math.isfinite(loss):
            raise DivergedError(epoch + 1, None, loss)
        return {"loss": loss, **self.task.metrics(logits, y, {self.task.monitor, self.monitor})}

    def val_logits(self) -> Tensor:
        """What the head gives for the validation nodes, (num_val, d_out)."""
        fanouts = self.config.eval_fanouts
        return logits_of(self.model, self.data, self.val_nodes, fanouts=fanouts)


def _targets(batch: MiniBatch) -> Tensor:
    assert batch.y is not None, "the loader was given labels"
    return batch.y


def _parts(
    data: Dataset, labeled: Tensor, config: TrainConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    parts = split_nodes(
        data,
        labeled,
        split_index=config.split_index,
        split=config.split,
        seed=config.seed,
        by_time=config.temporal,
    )
    if not len(parts["train"]):
        raise TrainingError(f"split {config.split_index} has no labeled train nodes")
    if not len(parts["val"]) and config.monitor != "none":
        raise TrainingError(
            f"split {config.split_index} has no labeled val nodes to choose the best epoch with; "
            'ingest some, or pass --monitor none (monitor="none") to keep the last weights'
        )
    limit = None if data.graph.num_edges <= EXACT_EDGES else config.max_val_seeds
    return (
        _some(parts["train"], config.max_train_seeds, config.seed),
        _some(parts["val"], limit, config.seed),
    )


def _some(nodes: NDArray[np.int64], limit: int | None, seed: int) -> NDArray[np.int64]:
    if limit is None or len(nodes) <= limit:
        return nodes
    return np.sort(np.random.default_rng(seed & MASK).choice(nodes, limit, replace=False))


def _loader(
    model: GNN, data: Dataset, config: TrainConfig, nodes: NDArray[np.int64], y: Tensor
) -> MiniBatchLoader:
    fanouts = config.fanouts or (ALL,) * model.num_layers
    if len(fanouts) != model.num_layers:
        raise InputError(
            f"fanouts are {list(fanouts)}; give one for each of the {model.num_layers} layers"
        )
    sampler = NeighborSampler(data.graph, fanouts, config.seed, config.num_threads)
    whole = _is_whole(config, len(nodes))
    return MiniBatchLoader(
        data,
        sampler if whole else reduce_inputs(sampler, model, data, training=True),
        nodes,
        min(config.batch_size, len(nodes)),
        shuffle=not whole,
        seed=config.seed,
        num_workers=0 if whole else 1,
        labels=y,
        part=Ranks.current().part,
    )


def _is_whole(config: TrainConfig, num_seeds: int) -> bool:
    if config.balanced_seeds:
        return False
    takes_all = config.fanouts is None or all(k == ALL for k in config.fanouts)
    return takes_all and config.batch_size >= num_seeds
