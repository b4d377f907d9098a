"""Training: epochs of mini-batches, early stopping on the validation part, best weights last.

Adam (Kingma, Ba 2015) on the task's loss. Order, neighbors and dropout are keyed by (seed,
epoch), so the same configuration gives the same weights bit for bit, and training that was
stopped between two epochs continues to them. When one batch covers all seeds and takes all
neighbors, its Blocks are made once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.errors import DivergedError, TrainingError
from gnn.evaluate import EXACT_EDGES, check_schema, logits_of, using_threads
from gnn.identity import graph_fingerprint
from gnn.metrics import LOWER_IS_BETTER
from gnn.model import GNN
from gnn.reduce import reduce_inputs
from gnn.resume import Progress, TrainingJournal
from gnn.splits import split_nodes
from gnn.tasks import Task, task_named
from gnn.train_config import TrainConfig
from sampling import Dataset, MiniBatch, MiniBatchLoader, NeighborSampler
from sampling.errors import InputError
from sampling.kernels.reference import GOLDEN, MASK, mix

__all__ = ["EpochReport", "train"]

ALL = -1


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch did.

    Attributes:
        epoch: its number, from 1.
        num_epochs: how many there are at most.
        loss: mean training loss.
        metrics: {"train": {…}, "val": {…}}; of training, measured on the way with dropout.
        best_epoch: the epoch whose weights are kept so far.
        seconds: time of the epoch, validation included.
        sampled_edges: edges of all Blocks of the epoch.
        edges_per_s: the same per second of training.
    """

    epoch: int
    num_epochs: int
    loss: float
    metrics: dict[str, dict[str, float]]
    best_epoch: int
    seconds: float
    sampled_edges: int
    edges_per_s: float


def train(
    model: GNN,
    data: Dataset,
    config: TrainConfig | None = None,
    *,
    resume_dir: str | Path | None = None,
    resume: bool = False,
) -> Iterator[EpochReport]:
    """Train `model` in place, one report per epoch; at the end it holds its best weights.

    Args:
        model: fresh from `build_model`.
        data: a graph with features and labels.
        config: how.
        resume_dir: where the state after each epoch is kept; nowhere when left out.
        resume: continue from that state where there is one.

    Raises:
        TrainingError: there are no features or labels, a part of the split is empty, or the
            labels do not fit the task.
        DivergedError: the loss is not a number; the model then holds the best weights so far.
        SchemaMismatchError: the model does not fit the graph's features.
        ResumeError: the state was made with other settings.
    """
    config = config or TrainConfig()
    session = _Session.prepare(model, data, config)
    journal = TrainingJournal.open(resume_dir, _identity(model, data, config))
    progress = Progress.start(model)
    if resume:
        progress = journal.load(model, session.optimizer) or progress
    while progress.epoch < config.epochs and not progress.has_waited(config.patience):
        began = time.perf_counter()
        try:
            with using_threads(config.num_threads), _randomness(config.seed, progress.epoch):
                result = session.run_epoch(progress.epoch)
            val = session.validate(progress.epoch)
        except DivergedError:
            progress.restore_best(model)
            raise
        progress.finish_epoch(model, session.score(val), result.loss)
        journal.save(progress, model, session.optimizer)
        yield EpochReport(
            epoch=progress.epoch,
            num_epochs=config.epochs,
            loss=result.loss,
            metrics={"train": result.metrics, "val": val},
            best_epoch=progress.best_epoch,
            seconds=time.perf_counter() - began,
            sampled_edges=result.edges,
            edges_per_s=result.edges / max(result.seconds, 1e-9),
        )
    progress.restore_best(model)


@dataclass(frozen=True, slots=True)
class _Epoch:
    loss: float
    metrics: dict[str, float]
    edges: int
    seconds: float


@dataclass(slots=True)
class _Session:
    """The parts of one training that stay the same from epoch to epoch."""

    model: GNN
    data: Dataset
    config: TrainConfig
    task: Task
    y: Tensor
    val_nodes: NDArray[np.int64]
    class_weight: Tensor | None
    optimizer: torch.optim.Optimizer
    loader: MiniBatchLoader
    whole: list[MiniBatch] | None = field(default=None)

    @classmethod
    def prepare(cls, model: GNN, data: Dataset, config: TrainConfig) -> _Session:
        task = task_named(config.task)
        if data.features is None:
            raise TrainingError(
                f"graph {data.meta.name!r} has no features; ingest it with --features"
            )
        check_schema(model, data)
        y, labeled = task.targets(data)
        _check_outputs(model, task.num_outputs(data))
        train_nodes, val_nodes = _parts(data, labeled, config)
        targets = y[torch.from_numpy(train_nodes)]
        task.fit_scale(model, targets)
        loader = _loader(model, data, config, train_nodes, y)
        whole = list(loader) if _is_whole(config, len(train_nodes)) else None
        return cls(
            model,
            data,
            config,
            task,
            y,
            val_nodes,
            _class_weight(config, targets, model.config.d_out),
            _optimizer(model, config),
            loader,
            whole,
        )

    def run_epoch(self, epoch: int) -> _Epoch:
        """One pass over the training seeds."""
        began = time.perf_counter()
        self.model.train()
        logits, targets, losses, edges = [], [], [], 0
        for i, batch in enumerate(self._batches(epoch)):
            rows, loss = self._step(epoch, i, batch)
            logits.append(rows)
            targets.append(self.y[batch.seeds])
            losses.append(loss * len(rows))
            edges += sum(block.num_edges for block in batch.blocks)
        y = torch.cat(targets)
        names = {self.task.monitor, self.monitor}
        metrics = self.task.metrics(torch.cat(logits), y, names)
        return _Epoch(math.fsum(losses) / len(y), metrics, edges, time.perf_counter() - began)

    def _batches(self, epoch: int) -> Iterable[MiniBatch]:
        if self.whole is not None:
            return self.whole
        self.loader.epoch = epoch
        return self.loader

    def _step(self, epoch: int, i: int, batch: MiniBatch) -> tuple[Tensor, float]:
        assert batch.x is not None, "prepare checked that there are features"
        self.optimizer.zero_grad()
        logits = self.model(batch.blocks, batch.x)
        loss = self.task.loss(self.model, logits, self.y[batch.seeds], self.class_weight)
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(epoch + 1, i + 1, value)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return logits.detach(), value

    def validate(self, epoch: int) -> dict[str, float]:
        """Loss and monitored metrics of the validation part; empty without one."""
        if self.monitor == "none":
            return {}
        with using_threads(self.config.num_threads):
            logits = logits_of(
                self.model, self.data, self.val_nodes, fanouts=self.config.eval_fanouts
            )
        y = self.y[torch.from_numpy(self.val_nodes)]
        loss = self.task.loss(self.model, logits, y, self.class_weight).item()
        if not math.isfinite(loss):
            raise DivergedError(epoch + 1, None, loss)
        return {"loss": loss, **self.task.metrics(logits, y, {self.task.monitor, self.monitor})}

    @property
    def monitor(self) -> str:
        return self.config.monitor or self.task.monitor

    def score(self, val: dict[str, float]) -> tuple[float, float] | None:
        """What the best epoch has most of: the monitored metric, then a low loss."""
        if self.monitor == "none":
            return None
        if self.monitor not in val:
            raise TrainingError(
                f"{self.monitor} is not defined on the validation nodes; monitor another metric"
            )
        sign = -1.0 if self.monitor in LOWER_IS_BETTER else 1.0
        return sign * val[self.monitor], -val["loss"]


def _parts(
    data: Dataset, labeled: Tensor, config: TrainConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    parts = split_nodes(
        data,
        labeled,
        split_index=config.split_index,
        split=config.split,
        seed=config.seed,
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
    )


def _is_whole(config: TrainConfig, num_seeds: int) -> bool:
    takes_all = config.fanouts is None or all(k == ALL for k in config.fanouts)
    return takes_all and config.batch_size >= num_seeds


def _optimizer(model: GNN, config: TrainConfig) -> torch.optim.Optimizer:
    first = list(model.convs[0].parameters())
    rest = [p for p in model.parameters() if not any(p is q for q in first)]
    decay_rest = config.weight_decay if config.weight_decay_layers == "all" else 0.0
    groups = [{"params": first, "weight_decay": config.weight_decay}]
    if rest:
        groups.append({"params": rest, "weight_decay": decay_rest})
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr)


def _class_weight(config: TrainConfig, y: Tensor, num_classes: int) -> Tensor | None:
    if config.class_weights == "none" or y.is_floating_point():
        return None
    counts = torch.bincount(y, minlength=num_classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(y) / (present * counts.clamp(min=1)), 0.0)


def _check_outputs(model: GNN, expected: int) -> None:
    if model.config.d_out != expected:
        raise TrainingError(
            f"the model gives {model.config.d_out} outputs, but the labels need {expected}; "
            f"build it with d_out={expected}"
        )


@contextmanager
def _randomness(seed: int, epoch: int) -> Iterator[None]:
    """Torch's generator keyed by (seed, epoch) inside, as it was outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix((seed * GOLDEN + epoch + 1) & MASK))
        yield


def _identity(model: GNN, data: Dataset, config: TrainConfig) -> dict[str, object]:
    """What must be equal for a training to be continued."""
    settings = asdict(config)
    for name in ("epochs", "num_threads"):
        del settings[name]
    graph = {
        "num_nodes": data.graph.num_nodes,
        "num_edges": data.graph.num_edges,
        "fingerprint": graph_fingerprint(data),
    }
    return {**settings, "graph": graph, "model": asdict(model.config)}
