"""What a directory of models holds, and how a version is read from it.

A model is what its directory is called: a version that was copied under another name or number is
served under that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gnn import SavedModel, list_models, list_versions, load_model, model_info, model_path
from gnn.checkpoint import CERTIFICATE
from gnn.errors import ModelNameError, UnknownModelError
from sampling.errors import DamagedError, GnnError

__all__ = ["INFO", "Key", "Listed", "Mark", "ModelIndex", "checked_path", "mark_of", "open_saved"]

INFO = "model.json"

Key = tuple[str, int]
Mark = tuple[int, ...]
"""What changes when the manifest or the certificate of a version is written."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model on disk: its task, None where no manifest can be read, and versions, ascending."""

    task: str | None
    versions: list[int]


class ModelIndex:
    """What a directory of models holds; a manifest is read again only when it has changed.

    Args:
        root: directory with one folder per model name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tasks: dict[Key, tuple[Mark, str | None]] = {}
        self._lock = threading.Lock()

    def look(self) -> dict[str, Listed]:
        """Every model by name; its task is that of the newest manifest that can be read."""
        with self._lock:
            found = {name: self._versions(name) for name in list_models(self.root)}
            keys = {(name, version) for name, versions in found.items() for version in versions}
            self._tasks = {key: known for key, known in self._tasks.items() if key in keys}
            return {name: Listed(self._task(name, v), v) for name, v in found.items() if v}

    def _versions(self, name: str) -> list[int]:
        try:
            return list_versions(self.root, name)
        except (UnknownModelError, ModelNameError):  # gone by now, or no name that we would give
            return []

    def _task(self, name: str, versions: list[int]) -> str | None:
        tasks = (self._task_of(name, version) for version in reversed(versions))
        return next((task for task in tasks if task is not None), None)

    def _task_of(self, name: str, version: int) -> str | None:
        mark = mark_of(self.root, name, version)
        known = self._tasks.get((name, version))
        if known is not None and known[0] == mark:
            return known[1]
        task = None
        # who opens it will say what is wrong with it
        with suppress(GnnError, OSError):
            task = model_info(checked_path(self.root, name, version)).task
        self._tasks[name, version] = (mark, task)
        return task


def open_saved(
    root: Path, name: str, version: int, allow_modules: Sequence[str], certified: bool
) -> SavedModel:
    """A version from disk, under the name and number of its directory, which may be a copy.

    Raises:
        UnknownModelError: there is no such version.
        NotCertifiedError: it must have a certificate that passed, and has none.
        GnnError: its files are damaged, or it names code that is not allowed.
    """
    saved = load_model(model_path(root, name, version), allow_modules)
    if certified:
        saved.check_certificate()
    own = {"name": name, "version": version}
    return replace(saved, info=saved.info.model_copy(update=own))


def checked_path(root: Path, name: str, version: int) -> Path:
    """The directory of a version, which holds plain files only: a pipe would be read for ever.

    Raises:
        UnknownModelError, ModelNameError: there is none.
        DamagedError: it holds something else.
    """
    path = model_path(root, name, version)
    for entry in path.iterdir():
        if not entry.is_file() and os.path.lexists(entry):  # not renamed since it was listed
            raise DamagedError(path, entry.name, "is no plain file")
    return path


def mark_of(root: Path, name: str, version: int) -> Mark:
    """What changes when the manifest or the certificate of a version is written; empty where
    there is neither.
    """
    path = root / name / str(version)
    return (*_mark(path / INFO), *_mark(path / CERTIFICATE))


def _mark(path: Path) -> Mark:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size
