"""Trainings written down for others' viewers: TensorBoard event files, MLflow runs.

A target is `tensorboard:DIRECTORY` or `mlflow:URI`, where the URI is what MLflow takes: a server,
a database or `file:DIRECTORY`. Both packages are optional. Per epoch: the loss, every metric of
every part, the learning rate, seconds and edges per second; at the end the final metrics.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from gnn.errors import MissingPackageError
from gnn.train import EpochReport
from sampling.errors import InputError

__all__ = ["TRACKERS", "Log", "Tracker", "tracking"]

MAX_PARAM = 500


class Tracker(Protocol):
    """Where the numbers of a training go."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Keep values by name, of one step."""

    def close(self, *, finished: bool) -> None:
        """Everything is written; whether the training came to its end."""


class TensorBoardTracker:
    """Event files in a directory."""

    def __init__(self, directory: str, name: str, settings: Mapping[str, Any]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of packages under it
                from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            remedy = "`pip install tensorboard`, or leave --log out"
            raise MissingPackageError("tensorboard", error, remedy) from None
        self._writer: Any = SummaryWriter(directory)
        self._writer.add_text("settings", f"    {json.dumps({'model': name, **settings})}", 0)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self, *, finished: bool) -> None:
        self._writer.close()


class MLflowTracker:
    """One run of the experiment that has the model's name."""

    def __init__(self, uri: str, name: str, settings: Mapping[str, Any]) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            remedy = "`pip install mlflow-skinny`, or leave --log out"
            raise MissingPackageError("mlflow", error, remedy) from None
        try:
            self._client: Any = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
            self._run = self._client.create_run(experiment).info.run_id
        except Exception as error:  # MLflow's own, and those of whatever the URI leads to
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"MLflow does not take {uri!r} ({reason}); see --log") from None
        for key, value in settings.items():
            self._client.log_param(self._run, key, str(value)[:MAX_PARAM])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._client.log_metric(self._run, key.replace("@", "_at_"), value, step=step)

    def close(self, *, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED")


TRACKERS: dict[str, Callable[[str, str, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MLflowTracker,
}


class Log:
    """A training's numbers, on their way to a tracker; nowhere without one."""

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker, self._epoch = tracker, 0

    def epoch(self, report: EpochReport) -> None:
        """Keep what an epoch reports."""
        self._epoch = report.epoch
        values = {
            "loss/train": report.loss,
            "lr": report.lr,
            "seconds": report.seconds,
            "edges_per_s": report.edges_per_s,
        }
        for part, metrics in report.metrics.items():
            values |= {f"{name}/{part}": value for name, value in metrics.items()}
        self._keep(values)

    def final(self, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Keep the metrics of the finished model."""
        self._keep({
            f"final/{name}/{part}": value
            for part, values in metrics.items()
            for name, value in values.items()
        })  # fmt: skip

    def _keep(self, values: Mapping[str, float]) -> None:
        if self._tracker is not None:
            self._tracker.scalars(values, self._epoch)


@contextmanager
def tracking(target: str | None, name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
    """A log of a training inside.

    Args:
        target: `tensorboard:DIRECTORY`, `mlflow:URI`, or None to keep nothing.
        name: of the model.
        settings: of the training.

    Raises:
        InputError: the target is none of these, or MLflow does not take it.
        MissingPackageError: its package is not installed.
    """
    if target is None:
        yield Log(None)
        return
    kind, _, place = target.partition(":")
    if kind not in TRACKERS or not place:
        raise InputError(f"cannot log to {target!r}; give tensorboard:DIRECTORY or mlflow:URI")
    tracker = TRACKERS[kind](place, name, settings)
    finished = False
    try:
        yield Log(tracker)
        finished = True
    finally:
        tracker.close(finished=finished)
