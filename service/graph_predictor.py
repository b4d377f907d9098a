"""Predictions for whole graphs that a client sends: one block-diagonal graph, one forward pass.

Models for tasks on graphs need no stored graph. What a client sends becomes the same Block that
training reads, so a posted graph gets the answer that it would get in a collection.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn import SavedModel, outputs
from gnn.tasks import GRAPH_TASKS
from sampling import Block, Graph
from service.answers import label_sets
from service.errors import LimitError, NonFiniteError, NotCalibratedError, PostedGraphError
from service.model_index import ModelIndex, open_saved
from service.repository import ModelRepository
from service.routing import Routing
from service.settings import Settings

__all__ = [
    "GraphModels",
    "GraphPredictor",
    "PostedGraph",
    "can_include",
    "check_include",
    "graph_entries",
]


class PostedGraph(Protocol):
    """A graph as it is sent."""

    @property
    def node_features(self) -> Sequence[Sequence[float]]: ...

    @property
    def edges(self) -> Sequence[Sequence[int]]: ...

    @property
    def edge_features(self) -> Sequence[Sequence[float]] | None: ...

    @property
    def positions(self) -> Sequence[Sequence[float]] | None: ...


@dataclass(frozen=True, slots=True)
class Posted:
    """Some graphs side by side."""

    block: Block
    x: Tensor


class GraphModels(ModelRepository[SavedModel]):
    """Models for tasks on whole graphs, opened once each and kept.

    Args:
        settings: default, and what models must fulfill.
        index: of the directory of models.
        routing: which version answers to which name.
    """

    subject = "whole graphs"

    def __init__(self, settings: Settings, index: ModelIndex, routing: Routing) -> None:
        self.settings = settings
        super().__init__(index, routing, settings.default_model)
        self.follow(routing, lambda model: None)

    def _serves(self, task: str | None) -> bool:
        return task in GRAPH_TASKS

    def _load(self, name: str, version: int) -> SavedModel:
        settings = self.settings
        certified = settings.require_certificate
        return open_saved(self.root, name, version, settings.allowed_modules, certified)


class GraphPredictor:
    """What models for tasks on graphs say of posted graphs.

    Args:
        models: that answer.
        settings: limits.
    """

    def __init__(self, models: GraphModels, settings: Settings) -> None:
        self.models, self.settings = models, settings

    def predict(
        self, saved: SavedModel, graphs: Sequence[PostedGraph], include: Sequence[str]
    ) -> list[dict[str, Any]]:
        """One entry per graph, in the order sent.

        Raises:
            PostedGraphError: a graph is not what the model reads; names it and the fault.
            LimitError: the graphs are too large together.
            NonFiniteError: the model answered with NaN or infinity.
            NotCalibratedError: prediction sets are asked for, and the model has none.
        """
        check_include(saved, include)
        answers, rows = self.outputs(saved, graphs)
        return graph_entries(saved, answers, rows, include)

    def outputs(
        self,
        saved: SavedModel,
        graphs: Sequence[PostedGraph],
        seconds: dict[str, float] | None = None,
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Probabilities or values, (len(graphs), d_out), and embeddings, (len(graphs), d).

        Args:
            saved: the model.
            graphs: as they were sent.
            seconds: takes the time to `gather` what was sent, and to `compute`.

        Raises:
            GnnError: as `predict`.
        """
        began = time.perf_counter()
        posted = _side_by_side(saved, graphs, self.settings)
        gathered = time.perf_counter()
        with torch.inference_mode():
            rows = saved.model.encode_graphs(posted.block, posted.x)
            answers: NDArray[np.float32] = outputs(saved.info.task, saved.model.head(rows)).numpy()
        if seconds is not None:
            seconds |= {"gather": gathered - began, "compute": time.perf_counter() - gathered}
        if not np.isfinite(answers).all():
            raise NonFiniteError(saved.info.name, saved.info.version)
        return answers, rows

    def self_test(self) -> None:
        """Compute a prediction of every open model.

        Raises:
            GnnError: it cannot be done.
        """
        for name in self.models.names:
            saved = self.models.opened(name)
            if saved is not None:
                self.test(saved)

    def test(self, saved: SavedModel) -> None:
        """Compute a prediction for a graph of one node.

        Raises:
            GnnError: it cannot be done.
        """
        self.outputs(saved, [smallest_graph(saved)])


@dataclass(frozen=True, slots=True)
class OneNode:
    """A graph of one node and no edge."""

    node_features: Sequence[Sequence[float]]
    edges: Sequence[Sequence[int]]
    edge_features: Sequence[Sequence[float]] | None
    positions: Sequence[Sequence[float]] | None


def smallest_graph(saved: SavedModel) -> OneNode:
    """A graph that a model can read, with zeros for features."""
    config = saved.model.config
    return OneNode([[0.0] * (config.d_in - config.d_position)], [], [], [[0.0] * config.d_position])


def _side_by_side(saved: SavedModel, graphs: Sequence[PostedGraph], settings: Settings) -> Posted:
    sizes = [len(graph.node_features) for graph in graphs]
    counts = [len(graph.edges) for graph in graphs]
    for what, limit, got in (
        ("nodes of all graphs", settings.max_graph_nodes, sum(sizes)),
        ("edges of all graphs", settings.max_graph_edges, sum(counts)),
    ):
        if got > limit:
            raise LimitError(what, limit, got)
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    config = saved.model.config
    x = _rows(graphs, sizes, "node_features", config.d_in - config.d_position)
    if config.d_position:
        x = np.concatenate([x, _rows(graphs, sizes, "positions", config.d_position)], axis=1)
    src, dst = _edges(graphs, sizes, offsets)
    of_edges = _rows(graphs, counts, "edge_features", config.d_edge) if config.d_edge else None
    graph = Graph.from_edges(src, dst, num_nodes=int(offsets[-1]), edge_features=of_edges)
    block = replace(graph.block(), graph_offsets=torch.from_numpy(offsets))
    return Posted(block, torch.from_numpy(x))


def _rows(
    graphs: Sequence[PostedGraph], sizes: Sequence[int], name: str, width: int
) -> NDArray[np.float32]:
    parts = [np.zeros((0, width), np.float32)]
    for number, (graph, size) in enumerate(zip(graphs, sizes, strict=True)):
        given = getattr(graph, name)
        if given is None:
            raise PostedGraphError(number, name, "is missing, and the model reads it")
        if len(given) != size:
            raise PostedGraphError(number, name, f"has {len(given)} rows; {size} are needed")
        if any(len(row) != width for row in given):
            bad = next(i for i, row in enumerate(given) if len(row) != width)
            raise PostedGraphError(
                number, name, f"has {len(given[bad])} numbers in row {bad}; the model reads {width}"
            )
        with np.errstate(over="ignore"):
            rows = np.asarray(given, np.float64).reshape(size, width).astype(np.float32)
        if not np.isfinite(rows).all():
            raise PostedGraphError(number, name, "holds a number that is no finite float32")
        parts.append(rows)
    return np.concatenate(parts)


def _edges(
    graphs: Sequence[PostedGraph], sizes: Sequence[int], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    parts = [np.zeros((0, 2), np.int64)]
    for number, (graph, size) in enumerate(zip(graphs, sizes, strict=True)):
        edges = np.asarray(graph.edges, np.int64).reshape(-1, 2)
        outside = (edges < 0) | (edges >= size)
        if outside.any():
            bad = int(np.flatnonzero(outside.any(axis=1))[0])
            raise PostedGraphError(
                number, "edges", f"has {edges[bad].tolist()} as edge {bad}; the graph's nodes run "
                f"from 0 to {size - 1}"
            )  # fmt: skip
        parts.append(edges + offsets[number])
    both = np.concatenate(parts)
    return both[:, 0].copy(), both[:, 1].copy()


def can_include(saved: SavedModel, include: Sequence[str]) -> bool:
    """Whether a model can answer all that is asked for: prediction sets need a calibration."""
    return saved.info.calibration is not None or "prediction_set" not in include


def check_include(saved: SavedModel, include: Sequence[str]) -> None:
    """Refuse what a model cannot answer, before anything is computed.

    Raises:
        NotCalibratedError: prediction sets are asked for, and the model has none.
    """
    if not can_include(saved, include):
        raise NotCalibratedError(saved.info.name, saved.info.version)


def graph_entries(
    saved: SavedModel, answers: NDArray[np.float32], rows: Tensor, include: Sequence[str]
) -> list[dict[str, Any]]:
    """One entry per graph: what is asked for of its outputs and of its embedding."""
    entries = _entries(saved, answers, include)
    if "embedding" in include:
        for entry, row in zip(entries, rows.float().tolist(), strict=True):
            entry["embedding"] = row
    return entries


def _entries(
    saved: SavedModel, answers: NDArray[np.float32], include: Sequence[str]
) -> list[dict[str, Any]]:
    if saved.info.task != "graph-classification":
        values = answers[:, 0] if answers.shape[1] == 1 else answers
        return [{"value": value} for value in values.tolist()]
    classes, names = saved.info.classes, [str(name) for name in saved.info.classes]
    entries: list[dict[str, Any]] = []
    for row, best in zip(answers.tolist(), answers.argmax(axis=1).tolist(), strict=True):
        entry: dict[str, Any] = {}
        if "label" in include:
            entry |= {"label": classes[best], "score": row[best]}
        if "probabilities" in include:
            entry["probabilities"] = dict(zip(names, row, strict=True))
        entries.append(entry)
    calibration = saved.info.calibration
    if "prediction_set" in include and calibration is not None:
        sets = label_sets(calibration, answers, classes)
        for entry, members in zip(entries, sets, strict=True):
            entry["prediction_set"] = members
    return entries
