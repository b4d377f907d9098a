"""What the client gives: arrays, made of the JSON and Arrow that the server answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GraphPredictions",
    "Id",
    "Job",
    "LinkScores",
    "Neighbors",
    "Predictions",
    "graph_predictions_of",
    "job_of",
    "link_scores_of",
    "neighbors_of",
    "predictions_of",
    "rows_of",
]

Id = int | str
Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the model says of n nodes, in the order asked for, described nodes last.

    A column that the model does not have, or that was not included, is None. Rows of ids that the
    graph does not have, where they are reported, are NaN, None or empty.

    Attributes:
        nodes: their ids.
        labels: most probable classes, (n,); of a model of one label per node.
        scores: probabilities of the labels, (n,) float32.
        label_sets: all classes above one half; of a model of several labels per node.
        probabilities: (n, num_classes) float32.
        values: (n,) or (n, d_out) float32; of a regression.
        prediction_sets: labels that the node may have, most probable first.
        embeddings: (n, d) float32.
        classes: names of the columns of `probabilities`.
        sources: what answered: table, cache or computed; or unknown.
        model_version: which version answered.
        graph_version: of which graph.
    """

    nodes: list[Id]
    labels: NDArray[Any] | None
    scores: NDArray[np.float32] | None
    label_sets: list[list[Id]] | None
    probabilities: NDArray[np.float32] | None
    values: NDArray[np.float32] | None
    prediction_sets: list[list[Id]] | None
    embeddings: NDArray[np.float32] | None
    classes: list[str]
    sources: list[str]
    model_version: int
    graph_version: int


@dataclass(frozen=True, slots=True, eq=False)
class GraphPredictions:
    """What the model says of n whole graphs, in the order sent; columns as in `Predictions`.

    Attributes:
        labels: most probable classes, (n,).
        scores: probabilities of the labels, (n,) float32.
        probabilities: (n, num_classes) float32.
        values: (n,) or (n, d_out) float32; of a regression.
        embeddings: (n, d) float32.
        classes: names of the columns of `probabilities`.
        model_version: which version answered.
    """

    labels: NDArray[Any] | None
    scores: NDArray[np.float32] | None
    probabilities: NDArray[np.float32] | None
    values: NDArray[np.float32] | None
    embeddings: NDArray[np.float32] | None
    classes: list[str]
    model_version: int


@dataclass(frozen=True, slots=True, eq=False)
class LinkScores:
    """How likely n edges are, in the order of the pairs.

    Attributes:
        scores: between 0 and 1, (n,) float32.
        logits: what the decoder gives, (n,) float32.
        model_version: which version answered.
        graph_version: of which graph.
    """

    scores: NDArray[np.float32]
    logits: NDArray[np.float32]
    model_version: int
    graph_version: int


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """Nodes near one: ids and cosines, best first.

    Attributes:
        nodes: ids, at most k.
        scores: cosines, the same number, float32.
    """

    nodes: list[Id]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Job:
    """A batch job as it was when asked about.

    Attributes:
        id: its name.
        state: queued, running, done, failed or canceled.
        progress: `stage`, `rows_done`, `num_rows`, `rows_per_s`, `seconds_left`; while it runs.
        error: `code` and `detail` of what failed.
        result: rows, bytes and digests, by part; of one that is done and not expired.
        document: all that the server says.
    """

    id: str
    state: str
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    document: dict[str, Any]

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("queued", "running")


def predictions_of(entries: Sequence[Entry], answer: Entry) -> Predictions:
    """Columns of the entries of one request or several; `answer` is the last."""
    probabilities, classes = _probabilities(entries)
    return Predictions(
        nodes=[entry["node"] for entry in entries],
        labels=_labels(entries),
        scores=_numbers(entries, "score"),
        label_sets=_lists(entries, "labels"),
        probabilities=probabilities,
        values=_numbers(entries, "value"),
        prediction_sets=_lists(entries, "prediction_set"),
        embeddings=_numbers(entries, "embedding"),
        classes=classes,
        sources=[entry.get("source", "unknown") for entry in entries],
        model_version=int(answer.get("model_version", 0)),
        graph_version=int(answer.get("graph_version", 0)),
    )


def graph_predictions_of(entries: Sequence[Entry], answer: Entry) -> GraphPredictions:
    """The same of whole graphs."""
    probabilities, classes = _probabilities(entries)
    return GraphPredictions(
        labels=_labels(entries),
        scores=_numbers(entries, "score"),
        probabilities=probabilities,
        values=_numbers(entries, "value"),
        embeddings=_numbers(entries, "embedding"),
        classes=classes,
        model_version=int(answer.get("model_version", 0)),
    )


def link_scores_of(entries: Sequence[Entry], answer: Entry) -> LinkScores:
    """Scores of the pairs of one request or several."""
    return LinkScores(
        np.array([entry["score"] for entry in entries], np.float32),
        np.array([entry["logit"] for entry in entries], np.float32),
        int(answer.get("model_version", 0)),
        int(answer.get("graph_version", 0)),
    )


def neighbors_of(found: Sequence[Entry]) -> Neighbors:
    """Near nodes of one."""
    scores = np.array([entry["score"] for entry in found], np.float32)
    return Neighbors([entry["node"] for entry in found], scores)


def job_of(document: dict[str, Any]) -> Job:
    """A job as the server describes it."""
    names = ("id", "state", "progress", "error", "result")
    return Job(document=document, **{name: document[name] for name in names})


def rows_of(stream: bytes) -> tuple[NDArray[np.float32], int]:
    """Rows of an Arrow stream, and the version that made them."""
    import pyarrow as pa

    table = pa.ipc.open_stream(stream).read_all()
    column = table["embedding"].combine_chunks()
    width = column.type.list_size
    rows: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), width)
    return rows, int(table.schema.metadata[b"model_version"])


def _labels(entries: Sequence[Entry]) -> NDArray[Any] | None:
    known = sum("label" in entry for entry in entries)
    if not known:
        return None
    labels = [entry.get("label") for entry in entries]
    return np.array(labels, None if known == len(labels) else object)


def _lists(entries: Sequence[Entry], name: str) -> list[list[Id]] | None:
    if not any(name in entry for entry in entries):
        return None
    return [entry.get(name, []) for entry in entries]


def _numbers(entries: Sequence[Entry], name: str) -> NDArray[np.float32] | None:
    return _rows([entry.get(name) for entry in entries])


def _probabilities(entries: Sequence[Entry]) -> tuple[NDArray[np.float32] | None, list[str]]:
    """(n, num_classes) and the names of the columns; None and none where there are no such."""
    found = [entry.get("probabilities") for entry in entries]
    classes = list(next((row for row in found if row is not None), {}))
    return _rows([None if row is None else list(row.values()) for row in found]), classes


def _rows(rows: Sequence[Any]) -> NDArray[np.float32] | None:
    """Numbers or rows of them as one array, NaN where there are none; None where all are none."""
    some = next((row for row in rows if row is not None), None)
    if some is None:
        return None
    blank = np.full(np.shape(some), np.nan)
    return np.array([blank if row is None else row for row in rows], np.float32)
