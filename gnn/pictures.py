"""Pictures of a training, where matplotlib is installed: equal histories give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["learning_curve"]

SETTINGS: dict[Any, Any] = {"svg.hashsalt": "learning_curve", "svg.fonttype": "none"}
SIZE_INCHES = (6.4, 3.2)


def learning_curve(history: Sequence[Mapping[str, Any]]) -> bytes | None:
    """An SVG of loss and validation metrics over the epochs; None without matplotlib or epochs.

    Args:
        history: per epoch {"epoch", "loss", "train": {…}, "val": {…}}, as `EpochReport` has it.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return None
    if not history:
        return None
    with rc_context(SETTINGS):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        losses, metrics = figure.subplots(1, 2)
        epochs = [entry["epoch"] for entry in history]
        losses.plot(epochs, [entry["loss"] for entry in history], label="train")
        _draw(losses, history, "val", ["loss"], {"loss": "val"})
        names = sorted({name for entry in history for name in entry["val"]} - {"loss"})
        for part in ("train", "val"):
            _draw(metrics, history, part, names, {name: f"{part} {name}" for name in names})
        losses.set(xlabel="epoch", ylabel="loss")
        metrics.set(xlabel="epoch")
        for axes in (losses, metrics):
            if axes.lines:
                axes.legend(fontsize="small")
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _draw(
    axes: Any,
    history: Sequence[Mapping[str, Any]],
    part: str,
    names: Sequence[str],
    labels: Mapping[str, str],
) -> None:
    for name in names:
        points = [(e["epoch"], e[part][name]) for e in history if name in e[part]]
        if points:
            axes.plot(*zip(*points, strict=True), label=labels[name])
