"""What training remembers between epochs, in memory and on disk.

One safetensors file holds weights, best weights, optimizer moments and, in its metadata, the
counters, those of the learning rate included: a single rename makes it current, so that a killed
process leaves the last complete epoch.
"""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gnn.errors import ResumeError
from gnn.optimize import Stepper
from sampling.errors import DamagedError

__all__ = ["Progress", "TrainingJournal"]

STATE_FILE = "training.safetensors"

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Progress:
    """How far training has come.

    Attributes:
        epoch: epochs finished.
        best_epoch: the epoch with the best score, from 1; 0 before the first.
        best_score: its score; None before the first, or without validation.
        best: weights after it.
        history: of every epoch {"epoch", "loss", "train": {…}, "val": {…}}.
    """

    epoch: int
    best_epoch: int
    best_score: tuple[float, float] | None
    best: Weights
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, model: nn.Module) -> Progress:
        """Before the first epoch."""
        return cls(0, 0, None, _copy(model))

    def finish_epoch(
        self,
        model: nn.Module,
        score: tuple[float, float] | None,
        loss: float,
        metrics: dict[str, dict[str, float]],
    ) -> None:
        """Count an epoch; keep its weights when its score is the best, or there are no scores."""
        self.epoch += 1
        self.history.append({"epoch": self.epoch, "loss": loss, **metrics})
        if score is None or self.best_score is None or score > self.best_score:
            self.best_epoch, self.best_score, self.best = self.epoch, score, _copy(model)

    def has_waited(self, patience: int | None) -> bool:
        """Whether no epoch has been better for `patience` epochs."""
        return patience is not None and self.epoch - self.best_epoch >= patience

    def restore_best(self, model: nn.Module) -> None:
        """Give the model the best weights, ready to predict."""
        model.load_state_dict(self.best)
        model.eval()


@dataclass(frozen=True, slots=True)
class TrainingJournal:
    """Keeps the state after every epoch in a directory; keeps nothing without one.

    Attributes:
        path: the state file, or None.
        identity: what must be equal for a state to be continued.
    """

    path: Path | None
    identity: dict[str, Any]

    @classmethod
    def open(cls, directory: str | Path | None, identity: dict[str, Any]) -> TrainingJournal:
        """A journal in `directory`, which is made where it is not there."""
        identity = json.loads(json.dumps(identity))
        if directory is None:
            return cls(None, identity)
        Path(directory).mkdir(parents=True, exist_ok=True)
        return cls(Path(directory) / STATE_FILE, identity)

    def save(self, progress: Progress, model: nn.Module, stepper: Stepper) -> None:
        """Replace the state on disk by this one, durably.

        Raises:
            OSError: it cannot be written; names the state file.
        """
        if self.path is None:
            return
        counters = {
            "identity": self.identity,
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            "best_score": progress.best_score,
            "history": progress.history,
            "schedule": stepper.schedule.state(),
            "scaler": None if stepper.scaler is None else stepper.scaler.state_dict(),
        }
        parts = {"weights": model.state_dict(), "best": progress.best}
        weights = {f"{part}/{k}": v for part, each in parts.items() for k, v in each.items()}
        tensors = {
            name: tensor.cpu().contiguous()
            for name, tensor in (weights | _moments(stepper.optimizer)).items()
        }
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            with _naming(self.path):
                save_file(tensors, temporary, metadata={"counters": json.dumps(counters)})
                _fsync(temporary)
                temporary.rename(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, model: nn.Module, stepper: Stepper) -> Progress | None:
        """Put model, optimizer and schedule into the state on disk; None where there is no state.

        Raises:
            DamagedError: the file cannot be read.
            ResumeError: it belongs to a training with other settings.
        """
        if self.path is None or not self.path.exists():
            return None
        counters, tensors = _read(self.path)
        differs = _differences(self.identity, counters["identity"])
        if differs:
            raise ResumeError(self.path, differs)
        model.load_state_dict(_part(tensors, "weights/"))
        _set_moments(stepper.optimizer, _part(tensors, "moment/"))
        stepper.schedule.restore(counters["schedule"])
        if stepper.scaler is not None and counters.get("scaler"):
            stepper.scaler.load_state_dict(counters["scaler"])
        score = counters["best_score"]
        return Progress(
            counters["epoch"],
            counters["best_epoch"],
            None if score is None else (score[0], score[1]),
            _part(tensors, "best/"),
            counters["history"],
        )


def _read(path: Path) -> tuple[dict[str, Any], Weights]:
    try:
        with safe_open(path, "pt") as file:
            counters = json.loads((file.metadata() or {})["counters"])
            return counters, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedError(path.parent, path.name, f"cannot be read ({error})") from None


def _moments(optimizer: torch.optim.Optimizer) -> Weights:
    state = optimizer.state_dict()["state"]
    return {f"moment/{i}/{k}": v for i, entry in state.items() for k, v in entry.items()}


def _set_moments(optimizer: torch.optim.Optimizer, moments: Weights) -> None:
    state: dict[int, Weights] = {}
    for name, tensor in moments.items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _part(tensors: Weights, prefix: str) -> Weights:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _copy(model: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    return sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A failed write as an OSError of `path`; safetensors has an error of its own for it."""
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        raise _os_error(int(code[1]) if code else errno.EIO, path) from error
    except OSError as error:
        raise _os_error(error.errno or errno.EIO, path) from error


def _os_error(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), str(path))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
