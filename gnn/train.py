"""Training: epochs of mini-batches, early stopping on the validation part, best weights last.

What an epoch does is the task's own (`gnn.sessions`). Order, neighbors and dropout are keyed by
(seed, epoch), so the same configuration gives the same weights bit for bit, and training that was
stopped between two epochs continues to them; on an accelerator all of this holds up to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnn.data import Data
from gnn.device import naming_memory
from gnn.distributed import Ranks
from gnn.errors import DivergedError
from gnn.evaluate import using_threads
from gnn.identity import graph_fingerprint
from gnn.model import GNN
from gnn.pages import kept_pages
from gnn.precision import autocast_dtype
from gnn.resume import Progress, TrainingJournal
from gnn.sessions.graph import GraphSession
from gnn.sessions.link import LinkSession
from gnn.sessions.node import NodeSession
from gnn.sessions.session import Session, keyed_randomness, score_of
from gnn.sessions.temporal import TemporalLinkSession, TemporalNodeSession
from gnn.sessions.unsupervised import UnsupervisedSession
from gnn.train_config import TrainConfig
from sampling import Dataset
from sampling.graph.collection import GraphCollection
from sampling.graph.sparse_features import SPARSE

__all__ = ["EpochReport", "train"]

ROWS_AT_ONCE = 1 << 16

SESSIONS: dict[str, Callable[[GNN, Any, TrainConfig], Session]] = {
    "node-classification": NodeSession.prepare,
    "node-regression": NodeSession.prepare,
    "graph-classification": GraphSession.prepare,
    "graph-regression": GraphSession.prepare,
    "link-prediction": LinkSession.prepare,
    "unsupervised": UnsupervisedSession.prepare,
}
TEMPORAL_SESSIONS: dict[str, Callable[[GNN, Any, TrainConfig], Session]] = {
    "node-classification": TemporalNodeSession.prepare,
    "node-regression": TemporalNodeSession.prepare,
    "link-prediction": TemporalLinkSession.prepare,
}


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch did.

    Attributes:
        epoch: its number, from 1.
        num_epochs: how many there are at most.
        loss: mean training loss.
        metrics: {"train": {…}, "val": {…}}; of training, measured on the way with dropout, on this
            process's share where several train.
        best_epoch: the epoch whose weights are kept so far.
        seconds: time of the epoch, validation included.
        sampled_edges: edges of all Blocks of the epoch, of this process.
        edges_per_s: the same per second of training.
        lr: learning rate of the last step.
        history: of every epoch so far {"epoch", "loss", "train": {…}, "val": {…}}, those before a
            training was stopped included.
    """

    epoch: int
    num_epochs: int
    loss: float
    metrics: dict[str, dict[str, float]]
    best_epoch: int
    seconds: float
    sampled_edges: int
    edges_per_s: float
    lr: float = 0.0
    history: tuple[dict[str, Any], ...] = ()


def train(
    model: GNN,
    data: Data,
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
        DivergedError: the loss is not a number; the model then holds the best weights so far. It
            names a node whose features are not finite, where there is one.
        DeviceMemoryError: a step does not fit the memory of the accelerator.
        InputError: there is no such device here, or it has not that precision.
        SchemaMismatchError: the model does not fit the graph's features.
        ResumeError: the state was made with other settings.
    """
    config = config or TrainConfig()
    ranks = Ranks.current()
    placed = _placed(model, config, ranks)
    with kept_pages(), placed as device, naming_memory(device, config.batch_size):
        yield from _epochs(model, data, config, resume_dir, resume)


@contextmanager
def _placed(model: GNN, config: TrainConfig, ranks: Ranks) -> Iterator[torch.device]:
    """The model where and how the configuration says; where and how it was afterwards."""
    device = ranks.device(config.device)
    before = model.device, model.precision
    model.precision = autocast_dtype(config.precision, device)
    model.to(device)
    try:
        yield device
    finally:
        model.to(before[0])
        model.precision = before[1]


def _epochs(
    model: GNN, data: Data, config: TrainConfig, resume_dir: str | Path | None, resume: bool
) -> Iterator[EpochReport]:
    if model.columns is not None and isinstance(data, Dataset) and data.features is not None:
        model.columns.fit(data.features)
    ranks, session = Ranks.current(), session_for(model, data, config)
    stepper = session.stepper
    journal = TrainingJournal.open(resume_dir, _identity(model, data, config))
    progress = Progress.start(model)
    if resume:
        progress = journal.load(model, stepper) or progress
    ranks.wait()
    while progress.epoch < config.epochs and not progress.has_waited(config.patience):
        began = time.perf_counter()
        try:
            keyed = keyed_randomness(config.seed, progress.epoch, model.device)
            with using_threads(config.num_threads), keyed:
                result = session.run_epoch(progress.epoch)
            ranks.same_buffers(model)
            val = session.validate(progress.epoch)
        except DivergedError as error:
            progress.restore_best(model)
            raise _with_culprit(error, data) from None
        score = score_of(session.monitor, val)
        metrics = {"train": result.metrics, "val": val}
        progress.finish_epoch(model, score, result.loss, metrics)
        stepper.schedule.finish_epoch(score)
        if ranks.writes:
            journal.save(progress, model, stepper)
        yield EpochReport(
            epoch=progress.epoch,
            num_epochs=config.epochs,
            loss=result.loss,
            metrics=metrics,
            best_epoch=progress.best_epoch,
            seconds=time.perf_counter() - began,
            sampled_edges=result.edges,
            edges_per_s=result.edges / max(result.seconds, 1e-9),
            lr=stepper.optimizer.param_groups[0]["lr"],
            history=tuple(progress.history),
        )
    progress.restore_best(model)


def session_for(model: GNN, data: Data, config: TrainConfig) -> Session:
    """The session of the configured task."""
    sessions = TEMPORAL_SESSIONS if config.temporal else SESSIONS
    return sessions[config.task](model, data, config)


def _with_culprit(error: DivergedError, data: Data) -> DivergedError:
    """The error with the first node or graph whose features are not finite, if there is one."""
    nodes = data.nodes if isinstance(data, GraphCollection) else data
    features = nodes.features
    if features is None or features.storage in ("int8", SPARSE):
        return error
    for start in range(0, features.num_rows, ROWS_AT_ONCE):
        rows = features.rows(start, min(start + ROWS_AT_ONCE, features.num_rows))
        bad = np.flatnonzero(~torch.isfinite(rows).all(dim=1).numpy())
        if len(bad):
            culprit = _named(data, start + int(bad[0]))
            return DivergedError(error.epoch, error.batch, error.loss, error.what, culprit)
    return error


def _named(data: Data, node: int) -> str:
    """A node, or the graph that it belongs to, by its id."""
    if isinstance(data, GraphCollection):
        graph = np.searchsorted(data.offsets, [node], side="right") - 1
        return f"graph {data.ids.to_ids(graph)[0]!r}"
    return f"node {data.ids.to_ids(np.array([node]))[0]!r}"


def _identity(model: GNN, data: Data, config: TrainConfig) -> dict[str, object]:
    """What must be equal for a training to be continued."""
    settings = asdict(config)
    for name in ("epochs", "num_threads", "device"):
        if name != "epochs" or config.lr_schedule != "cosine":
            del settings[name]
    graph = {
        "num_nodes": data.meta.num_nodes,
        "num_edges": data.meta.num_edges,
        "fingerprint": graph_fingerprint(data),
    }
    return {**settings, "graph": graph, "model": asdict(model.config)}
