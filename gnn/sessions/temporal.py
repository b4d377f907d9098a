"""Training that respects time: edges and nodes are predicted from earlier edges alone.

Every step samples what came strictly before each of its targets (`TemporalNeighborSampler`).
Later edges are for validation, and the last ones for test; they become memory once they have
happened, as in TGAT (Xu et al. 2020), and never train.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gnn.distributed import Ranks
from gnn.errors import DivergedError, TrainingError
from gnn.evaluate import using_threads
from gnn.inputs import with_inputs
from gnn.link_losses import pair_loss
from gnn.model import GNN
from gnn.monitors import monitor_of
from gnn.optimize import Stepper
from gnn.sessions.node import NodeSession
from gnn.sessions.session import EpochResult
from gnn.temporal_evaluate import (
    EVAL_NEGATIVES,
    TEMPORAL_MEASURED,
    TemporalReading,
    node_times,
    score_batch,
    temporal_link_metrics,
    temporal_logits,
)
from gnn.temporal_split import TemporalParts, split_by_time
from gnn.train_config import TrainConfig
from gnn.transfer import moved
from sampling import Dataset, MiniBatchLoader
from sampling.temporal_links import TemporalLinkLoader, TimedLinks

__all__ = ["TemporalLinkSession", "TemporalNodeSession"]

MONITOR = "average_precision"


@dataclass(slots=True)
class TemporalLinkSession:
    """Training on the edges of one graph, in time.

    Attributes:
        parts: edges by time.
        reading: what the model reads of the past in validation.
        loss: "bce", "bpr" or "softmax" among an edge and its negatives.
    """

    model: GNN
    data: Dataset
    config: TrainConfig
    parts: TemporalParts
    reading: TemporalReading
    loss: str
    stepper: Stepper
    loader: TemporalLinkLoader
    monitor: str

    @classmethod
    def prepare(cls, model: GNN, data: Dataset, config: TrainConfig) -> TemporalLinkSession:
        if model.decoder is None:
            raise TrainingError('the model has no decoder; build it with one, as in decoder="mlp"')
        parts = split_by_time(data, config.split)
        own = MONITOR if len(parts.part("val")) else "none"
        monitor = monitor_of(config, own, TEMPORAL_MEASURED)
        if monitor != "none" and not len(parts.part("val")):
            raise TrainingError("there are no val edges to choose the best epoch with; give val a "
                                'share, or pass --monitor none (monitor="none")')  # fmt: skip
        loader = _loader(model, with_inputs(data, model.config), parts, config)
        return cls(
            model,
            data,
            config,
            parts,
            _reading(config, config.eval_fanouts or config.fanouts),
            "bce" if config.link_loss == "auto" else config.link_loss,
            Stepper.of(model, config, len(loader)),
            loader,
            monitor,
        )

    def run_epoch(self, epoch: int) -> EpochResult:
        """One pass over the training edges."""
        began = time.perf_counter()
        self.model.train()
        losses, sizes, edges = [], [], 0
        self.loader.epoch = epoch
        for i, batch in enumerate(moved(self.loader, self.model.device)):
            loss = pair_loss(self.loss, *score_batch(self.model, batch))
            sizes.append(self.loader.size_of(i))
            losses.append(self.stepper.step(loss, epoch, i, sizes[-1]))
            edges += sum(block.num_edges for block in batch.blocks)
        mean = Ranks.current().epoch_mean(losses, sizes)
        return EpochResult(mean, {}, edges, time.perf_counter() - began)

    def validate(self, epoch: int) -> dict[str, float]:
        """Metrics of the validation edges; empty without any."""
        if self.monitor == "none":
            return {}
        with using_threads(self.config.num_threads):
            found = temporal_link_metrics(
                self.model,
                self.data,
                self.parts,
                ("val",),
                self.reading,
                num_negatives=EVAL_NEGATIVES if self.monitor == "mrr" else 1,
                limit=self.config.max_val_seeds,
            )["val"]
        if not all(math.isfinite(value) for value in found.values()):
            raise DivergedError(epoch + 1, None, math.nan)
        return {name: value for name, value in found.items() if name in ("loss", self.monitor)}


class TemporalNodeSession(NodeSession):
    """Training on the labeled nodes of one graph, each at its own time."""

    @classmethod
    def loader_of(
        cls, model: GNN, data: Dataset, config: TrainConfig, nodes: NDArray[np.int64], y: Tensor
    ) -> MiniBatchLoader:
        """Batches of nodes, and what came before each."""
        sampler = _reading(config, config.fanouts).sampler(model, data, config.seed)
        return MiniBatchLoader(
            data,
            sampler.at_node_times(node_times(data)),
            nodes,
            min(config.batch_size, len(nodes)),
            shuffle=True,
            seed=config.seed,
            labels=y,
            part=Ranks.current().part,
        )

    @classmethod
    def takes_all(cls, config: TrainConfig, num_seeds: int) -> bool:
        """Never: batches are drawn anew, in a new order."""
        return False

    def val_logits(self) -> Tensor:
        """What the head gives for the validation nodes, from all that came before them."""
        reading = _reading(self.config, self.config.eval_fanouts)
        return temporal_logits(self.model, self.data, self.val_nodes, reading)


def _reading(config: TrainConfig, fanouts: tuple[int, ...] | None) -> TemporalReading:
    return TemporalReading(fanouts, config.strategy, config.num_threads)


def _loader(
    model: GNN, data: Dataset, parts: TemporalParts, config: TrainConfig
) -> TemporalLinkLoader:
    return TemporalLinkLoader(
        data,
        _reading(config, config.fanouts).sampler(model, data, config.seed),
        _some(parts.part("train"), config),
        parts.seen("train"),
        config.batch_size,
        max(config.num_negatives, 1),
        shuffle=True,
        seed=config.seed,
        part=Ranks.current().part,
    )


def _some(links: TimedLinks, config: TrainConfig) -> TimedLinks:
    """The latest of them, where fewer are to be trained on."""
    most = config.max_train_seeds
    return links if most is None else links.take(slice(max(len(links) - most, 0), None))
