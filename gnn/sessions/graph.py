"""Training on whole graphs of a collection: batches of graphs, one target each."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.distributed import Ranks
from gnn.errors import DivergedError, TrainingError
from gnn.evaluate import using_threads
from gnn.graph_evaluate import check_collection, graph_inputs, graph_logits, graph_parts
from gnn.losses import balanced_seeds
from gnn.model import GNN
from gnn.monitors import monitor_of
from gnn.optimize import Stepper
from gnn.sessions.session import (
    EpochResult,
    check_outputs,
    class_weight_of,
    loss_of,
    weighed_among_all,
)
from gnn.tasks import Task, task_named
from gnn.train_config import TrainConfig
from gnn.transfer import moved
from sampling import FeatureTable
from sampling.errors import InputError
from sampling.graph.collection import GraphCollection
from sampling.graphs_loader import GraphLoader

__all__ = ["GraphSession"]


@dataclass(slots=True)
class GraphSession:
    """Training on the labeled graphs of a collection; `targets` are `y` beside the model."""

    model: GNN
    data: GraphCollection
    config: TrainConfig
    task: Task
    y: Tensor
    val_graphs: NDArray[np.int64]
    class_weight: Tensor | None
    stepper: Stepper
    loader: GraphLoader
    monitor: str
    train_graphs: NDArray[np.int64]
    targets: Tensor

    @classmethod
    def prepare(cls, model: GNN, data: object, config: TrainConfig) -> GraphSession:
        """Check that model, data and configuration fit, and open the loader."""
        if not isinstance(data, GraphCollection):
            raise InputError(
                f"{config.task} is trained on a collection of graphs, and this is one graph; make "
                "a collection with `gnn ingest-graphs`, or choose another --task"
            )
        task = task_named(config.task)
        check_collection(model, data)
        y, labeled = task.targets(data)
        check_outputs(model, task.num_outputs(data))
        parts = graph_parts(
            data, labeled, split_index=config.split_index, split=config.split, seed=config.seed
        )
        for part in ("train", "val"):
            needed = part == "train" or config.monitor != "none"
            if needed and not len(parts[part]):
                raise TrainingError(f"split {config.split_index} has no labeled {part} graphs")
        if model.columns is not None and data.nodes.features is not None:
            rows = data.batch(parts["train"]).x
            assert rows is not None, "the collection has features"
            model.columns.fit(FeatureTable(rows.numpy()))
        targets = y[torch.from_numpy(parts["train"])]
        task.fit_scale(model, targets)
        loader = GraphLoader(
            data,
            parts["train"],
            config.batch_size,
            shuffle=True,
            seed=config.seed,
            part=Ranks.current().part,
        )
        weight = class_weight_of(config, task, targets, model.config.d_out)
        monitor = monitor_of(config, task.monitor, ("loss", *task.metric_names))
        stepper = Stepper.of(model, config, len(loader))
        return cls(
            model,
            data,
            config,
            task,
            y,
            parts["val"],
            weight,
            stepper,
            loader,
            monitor,
            parts["train"],
            y.to(model.device),
        )

    def run_epoch(self, epoch: int) -> EpochResult:
        """One pass over the training graphs."""
        began = time.perf_counter()
        self.model.train()
        self.loader.epoch = epoch
        if self.config.balanced_seeds:
            codes = self.y[torch.from_numpy(self.train_graphs)].numpy()
            self.loader.graphs = balanced_seeds(self.train_graphs, codes, self.config.seed, epoch)
        logits, targets, losses, sizes, edges = [], [], [], [], 0
        for i, batch in enumerate(moved(self.loader, self.model.device)):
            y, size = self.targets[batch.graphs], self.loader.size_of(i)
            rows = self.model(*graph_inputs(self.model, batch))
            loss = weighed_among_all(self._loss(rows, y), self.task, y, self.class_weight, size)
            losses.append(self.stepper.step(loss, epoch, i, size))
            sizes.append(size)
            logits.append(rows.detach())
            targets.append(y)
            edges += batch.block.num_edges
        y = torch.cat(targets).cpu()
        names = {self.task.monitor, self.monitor}
        metrics = self.task.metrics(torch.cat(logits).cpu(), y, names)
        mean = Ranks.current().epoch_mean(losses, sizes)
        return EpochResult(mean, metrics, edges, time.perf_counter() - began)

    def validate(self, epoch: int) -> dict[str, float]:
        """Loss and monitored metrics of the validation part; empty without one."""
        if self.monitor == "none":
            return {}
        with using_threads(self.config.num_threads):
            logits = graph_logits(self.model, self.data, self.val_graphs)
        y = self.y[torch.from_numpy(self.val_graphs)]
        loss = self._loss(logits.to(self.model.device), y.to(self.model.device)).item()
        if not math.isfinite(loss):
            raise DivergedError(epoch + 1, None, loss)
        return {"loss": loss, **self.task.metrics(logits, y, {self.task.monitor, self.monitor})}

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return loss_of(self.config, self.task, self.model, logits, y, self.class_weight)
