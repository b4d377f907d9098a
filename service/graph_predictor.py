"""Predictions for whole graphs that a client sends: one block-diagonal graph, one forward pass.

Models for tasks on graphs need no stored graph. What a client sends becomes the same Block that
training reads, so a posted graph gets the answer that it would get in a collection.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn import SavedModel, list_models, list_versions, load_model, model_info, model_path, outputs
from gnn.tasks import GRAPH_TASKS
from sampling import Block, Graph
from sampling.errors import GnnError
from service.errors import (
    LimitError,
    ModelNotFoundError,
    NonFiniteError,
    PostedGraphError,
    VersionNotFoundError,
)
from service.settings import Settings

__all__ = ["GraphPredictor", "PostedGraph", "graph_entries", "is_for_graphs"]

DEFAULT = "default"
MAX_OPEN = 16

log = structlog.get_logger()


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


class GraphPredictor:
    """Models for tasks on graphs, opened once each, and what they say of posted graphs.

    Args:
        root: directory with one folder per model name.
        settings: limits and threads.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root, self.settings = root, settings
        self.names = [name for name in list_models(root) if is_for_graphs(root, name)]
        self._open: dict[tuple[str, int], SavedModel] = {}
        self._lock = threading.Lock()

    def model(self, name: str, version: int | None) -> SavedModel:
        """The model of this name, or the only one for `default`.

        Raises:
            ModelNotFoundError: there is no such model for graphs.
            VersionNotFoundError: it has no such version.
            GnnError: its files are damaged.
        """
        only = self.names[0] if len(self.names) == 1 else name
        own = only if name == DEFAULT and DEFAULT not in self.names else name
        if own not in self.names:
            raise ModelNotFoundError(name, self.names)
        known = list_versions(self.root, own)
        wanted = known[-1] if version is None else version
        if wanted not in known:
            raise VersionNotFoundError(own, wanted, known)
        with self._lock:
            if (own, wanted) not in self._open:
                while len(self._open) >= MAX_OPEN:
                    del self._open[next(iter(self._open))]
                saved = load_model(
                    model_path(self.root, own, wanted), self.settings.allowed_modules
                )
                if self.settings.require_certificate:
                    saved.check_certificate()
                self._open[own, wanted] = saved
            return self._open[own, wanted]

    def predict(
        self, saved: SavedModel, graphs: Sequence[PostedGraph], include: Sequence[str]
    ) -> list[dict[str, Any]]:
        """One entry per graph, in the order sent.

        Raises:
            PostedGraphError: a graph is not what the model reads; names it and the fault.
            LimitError: the graphs are too large together.
            NonFiniteError: the model answered with NaN or infinity.
        """
        posted = _side_by_side(saved, graphs, self.settings)
        with torch.inference_mode():
            rows = saved.model.encode_graphs(posted.block, posted.x)
            answers = outputs(saved.info.task, saved.model.head(rows)).numpy()
        if not np.isfinite(answers).all():
            raise NonFiniteError(saved.info.name, saved.info.version)
        return graph_entries(saved, answers, rows, include)


def is_for_graphs(root: Path, name: str) -> bool:
    """Whether the newest version of a model is for a task on whole graphs."""
    try:
        return model_info(model_path(root, name)).task in GRAPH_TASKS
    except GnnError as error:
        log.warning("model_unusable", model=name, reason=str(error))
        return False


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
    return entries
