"""From rows to what a user reads: labels, scores, probabilities, values, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.calibration import Calibration
from gnn.metrics import THRESHOLD
from service.errors import NonFiniteError
from service.plan import SOURCES, Id, Plan

__all__ = ["chosen_labels", "entries_of", "label_sets", "outputs_of", "rows_of"]


def entries_of(plan: Plan, as_arrays: bool) -> list[dict[str, Any]]:
    """One entry per id: source and mode of all, then the columns that were asked for."""
    entries = [
        _entry(key, code, drawn)
        for key, code, drawn in zip(
            plan.ids, plan.source.tolist(), plan.samples.tolist(), strict=True
        )
    ]
    include = plan.query.include
    if {"label", "probabilities", "prediction_set"} & set(include):
        _add_outputs(plan, entries)
    if "embedding" in include and plan.rows is not None:
        rows = plan.rows if as_arrays else plan.rows.tolist()
        for entry, row in zip(entries, rows, strict=True):
            if "source" in entry:
                entry["embedding"] = row
    return entries


def _entry(key: Id, code: int, drawn: bool) -> dict[str, Any]:
    if not code:
        return {"node": key, "status": "unknown"}
    return {"node": key, "source": SOURCES[code], "mode": "sampled" if drawn else "exact"}


def outputs_of(plan: Plan) -> NDArray[np.float32]:
    """Probabilities or values of a finished plan, (n, d_out).

    Raises:
        NonFiniteError: the model answered with NaN or infinity.
    """
    if plan.outputs is None:
        plan.outputs = plan.model.outputs(rows_of(plan))
    if not np.isfinite(plan.outputs).all():
        raise NonFiniteError(plan.model.name, plan.model.version)
    return plan.outputs


def rows_of(plan: Plan) -> NDArray[np.float32]:
    """Embeddings of a finished plan, (n, d)."""
    if plan.rows is not None:
        return plan.rows
    return np.zeros((0, plan.model.saved.model.d_embedding), np.float32)


def _add_outputs(plan: Plan, entries: list[dict[str, Any]]) -> None:
    if plan.outputs is None and plan.rows is None:
        return
    outputs, classes = outputs_of(plan), plan.model.classes
    if classes is None:
        _add_values(outputs, entries)
        return
    if plan.model.has_many_labels:
        _add_labels(outputs, classes, plan.query.include, entries)
        return
    _add_classes(outputs, classes, plan.query.include, entries)
    calibration = plan.model.saved.info.calibration
    if "prediction_set" in plan.query.include and calibration is not None:
        _add_sets(calibration, outputs, classes, entries)


def _add_sets(
    calibration: Calibration,
    outputs: NDArray[np.float32],
    classes: list[int] | list[str],
    entries: list[dict[str, Any]],
) -> None:
    for entry, members in zip(entries, label_sets(calibration, outputs, classes), strict=True):
        if "source" in entry:
            entry["prediction_set"] = members


def label_sets(
    calibration: Calibration, outputs: NDArray[np.float32], classes: list[int] | list[str]
) -> list[list[int | str]]:
    """The labels of every prediction set, most probable first."""
    order = np.argsort(-outputs, axis=1, kind="stable")
    chosen = np.take_along_axis(calibration.sets(outputs), order, axis=1)
    rows = zip(order, chosen, strict=True)
    return [[classes[code] for code in codes[holds].tolist()] for codes, holds in rows]


def _add_values(outputs: NDArray[np.float32], entries: list[dict[str, Any]]) -> None:
    values = outputs[:, 0].tolist() if outputs.shape[1] == 1 else outputs.tolist()
    for entry, value in zip(entries, values, strict=True):
        if "source" in entry:
            entry["value"] = value


def chosen_labels(
    outputs: NDArray[np.float32], classes: list[int] | list[str]
) -> list[list[int | str]]:
    """All classes above one half of every row, in their order."""
    return [[classes[code] for code in np.flatnonzero(row > THRESHOLD).tolist()] for row in outputs]


def _add_labels(
    outputs: NDArray[np.float32],
    classes: list[int] | list[str],
    include: Sequence[str],
    entries: list[dict[str, Any]],
) -> None:
    """All classes above one half, in their order."""
    names = [str(name) for name in classes]
    chosen = chosen_labels(outputs, classes)
    for entry, row, labels in zip(entries, outputs, chosen, strict=True):
        if "source" not in entry:
            continue
        if "label" in include:
            entry["labels"] = labels
        if "probabilities" in include:
            entry["probabilities"] = dict(zip(names, row.tolist(), strict=True))


def _add_classes(
    outputs: NDArray[np.float32],
    classes: list[int] | list[str],
    include: Sequence[str],
    entries: list[dict[str, Any]],
) -> None:
    names = [str(name) for name in classes]
    best = outputs.argmax(axis=1).tolist()
    for entry, row, code in zip(entries, outputs.tolist(), best, strict=True):
        if "source" not in entry:
            continue
        if "label" in include:
            entry["label"], entry["score"] = classes[code], row[code]
        if "probabilities" in include:
            entry["probabilities"] = dict(zip(names, row, strict=True))
