"""What can go wrong with a model, its training and its files.

    GnnError
    ├── StoreError
    │   ├── ModelNameError        a name that could leave the model directory
    │   ├── UnknownModelError     no model or version of that name
    │   ├── SchemaMismatchError   the model was trained for other input than the graph has
    │   ├── ModuleNotAllowedError code of the user's that a model names was not allowed
    │   ├── NotCertifiedError     a model without a passing certificate, where one is required
    │   ├── ResumeError           unfinished work was started with other settings
    │   └── BusyError             another process is writing the same output
    ├── InputError
    │   └── UserModuleError       the user's own convolution does not work
    └── TrainingError             the data cannot be trained on as asked
        ├── DivergedError         the loss is not a number any more
        └── DeviceMemoryError     a step does not fit the memory of its device

Damaged files, files of a newer version and packages that are not there are `DamagedError`,
`FutureFormatError` and `MissingPackageError`, as for graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sampling.errors import GnnError, InputError, MissingPackageError, StoreError

__all__ = [
    "BusyError",
    "DeviceMemoryError",
    "DivergedError",
    "MissingPackageError",
    "ModelNameError",
    "ModuleNotAllowedError",
    "NotCertifiedError",
    "ResumeError",
    "SchemaMismatchError",
    "TrainingError",
    "UnknownModelError",
    "UserModuleError",
]


class ModelNameError(StoreError):
    """A model name or version that could lead out of the model directory."""

    def __init__(self, name: object, what: str) -> None:
        self.name = name
        super().__init__(
            f"model name {name!r} {what}; use 1 to 64 of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or digit"
        )


class UnknownModelError(StoreError):
    """There is no model, or no such version of it."""

    def __init__(self, path: Path | str, wanted: str, known: Sequence[object]) -> None:
        self.path, self.wanted, self.known = path, wanted, list(known)
        listed = ", ".join(str(k) for k in self.known[:10]) or "none"
        super().__init__(f"{path}: there is no {wanted}; there is: {listed}")


class SchemaMismatchError(StoreError):
    """A model was trained for other input than the graph has."""

    def __init__(self, what: str, expected: object, got: object) -> None:
        self.what, self.expected, self.got = what, expected, got
        super().__init__(
            f"the model was made for {what} {expected}, but the graph has {got}; "
            "use the graph it was trained on, or train a model for this one"
        )


class ModuleNotAllowedError(StoreError):
    """A model names a module to import, and nobody allowed it."""

    def __init__(self, path: Path | str, module: str) -> None:
        self.path, self.module = path, module
        super().__init__(
            f"{path}: the model runs code of module {module!r}; if you trust that module, pass "
            f"--allow-modules {module} or set GNN_ALLOW_MODULES"
        )


class UserModuleError(InputError):
    """The user's own convolution cannot be imported, or is none."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        super().__init__(f"convolution {name!r} {what}")


class NotCertifiedError(StoreError):
    """A model has no certificate of symmetry, or one that did not pass."""

    def __init__(self, name: str, version: int, *, failed: bool) -> None:
        self.name, self.version = name, version
        what = "did not pass its certificate of symmetry" if failed else "has no certificate"
        super().__init__(
            f"model {name!r} version {version} {what}; run `gnn certify`, or serve without "
            "GNN_REQUIRE_CERTIFICATE"
        )


class ResumeError(StoreError):
    """Unfinished work cannot be continued with these settings."""

    def __init__(self, path: Path | str, differs: Sequence[str]) -> None:
        self.path, self.differs = path, list(differs)
        super().__init__(
            f"{path}: the unfinished work was started with another {', '.join(self.differs)}; "
            "use the same settings, or start anew without resume"
        )


class BusyError(StoreError):
    """Another process is writing the same output."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        super().__init__(
            f"{path} is being written by another process; wait for it or choose another output"
        )


class TrainingError(GnnError):
    """The data cannot be trained on as asked."""


class DivergedError(TrainingError):
    """The loss stopped being a number.

    Args:
        epoch: from 1.
        batch: from 1; None in validation.
        loss: its value.
        what: is not finite, where it is not the loss.
        culprit: a node or graph whose features are not finite, where there is one.
    """

    def __init__(
        self,
        epoch: int,
        batch: int | None,
        loss: float,
        what: str = "loss",
        culprit: str | None = None,
    ) -> None:
        self.epoch, self.batch, self.loss, self.what = epoch, batch, loss, what
        self.culprit = None if culprit is None else culprit[:100]
        where = "validation" if batch is None else f"batch {batch}"
        kept = "the weights of the best epoch before it are kept; " if epoch > 1 else ""
        remedy = (
            "lower the learning rate, or look for extreme feature values"
            if self.culprit is None
            else f"the features of {self.culprit} are not finite: mend them"
        )
        super().__init__(f"the {what} is {loss} in epoch {epoch}, {where}; {kept}{remedy}")


class DeviceMemoryError(TrainingError):
    """The memory of an accelerator is too small for a step.

    Args:
        device: its name.
        batch_size: seeds, edges or graphs per step.
    """

    def __init__(self, device: str, batch_size: int) -> None:
        self.device, self.batch_size = device, batch_size
        super().__init__(
            f"{device} has too little memory for a step of batch size {batch_size}; lower "
            "--batch-size or --fanouts, or pass --device cpu"
        )
