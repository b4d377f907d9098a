"""Every state that a crash could leave a directory in, while something is published into it.

As CrashMonkey does (Mohan et al., OSDI 2018): what a writer does is cut off behind every step that
changes names or makes content durable. After a cut, names are as they were, and the content of a
file is sure only where it was synced: what was not may be there, be missing, or end in the middle.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sampling.graph import arrays

__all__ = ["crash_states"]

STEPS = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link"})


class _Recorder:
    """Copies the tree behind each step, in as many variants as its unsynced files have."""

    def __init__(self, root: Path, copies: Path) -> None:
        self.root, self.copies = root, copies
        self.synced: dict[int, bytes] = {}
        self.states: list[Path] = []
        self.is_on = False

    def step(self) -> None:
        if not self.is_on:
            return
        self.is_on = False  # copying is no step
        try:
            for unsynced in ("kept", "lost", "torn"):
                self._copy(unsynced)
        finally:
            self.is_on = True

    def sync(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_file():
            self.synced[path.stat().st_ino] = path.read_bytes()
        self.step()

    def _copy(self, unsynced: str) -> None:
        state = self.copies / str(len(self.states))
        shutil.copytree(self.root, state, symlinks=True)
        is_changed = unsynced == "kept"
        for path in self.root.rglob("*"):
            if path.is_symlink() or not path.is_file():
                continue
            content, durable = path.read_bytes(), self.synced.get(path.stat().st_ino, b"")
            if content == durable or unsynced == "kept":
                continue
            is_changed = True
            torn = durable + content[len(durable) : (len(durable) + len(content)) // 2]
            there = state / path.relative_to(self.root)
            there.write_bytes(durable if unsynced == "lost" else torn)
        if is_changed:
            self.states.append(state)
        else:
            shutil.rmtree(state)


RECORDERS: list[_Recorder] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    """Audit events come before what they announce: the state is that of the step before."""
    if event in STEPS:
        for recorder in RECORDERS:
            recorder.step()


sys.addaudithook(_hear)


def crash_states(root: Path, copies: Path, publish: Callable[[], object]) -> list[Path]:
    """Copies of `root` as a crash at any moment of `publish` could leave it.

    Args:
        root: what is published into.
        copies: an empty directory for the states.
        publish: does it.
    """
    recorder = _Recorder(root, copies)
    for path in root.rglob("*"):
        if path.is_file():
            recorder.synced[path.stat().st_ino] = path.read_bytes()
    with _recording(recorder):
        publish()
        recorder.step()
    return recorder.states


@contextmanager
def _recording(recorder: _Recorder) -> Iterator[None]:
    fsync, replace = os.fsync, arrays._replace

    def sync(handle: int) -> None:
        fsync(handle)
        recorder.sync(handle)

    def exchange(*given: object) -> None:
        recorder.step()
        replace(*given)  # type: ignore[arg-type]
        recorder.step()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        patch.setattr(arrays, "_replace", exchange)
        RECORDERS.append(recorder)
        recorder.is_on = True
        try:
            yield
        finally:
            RECORDERS.remove(recorder)
