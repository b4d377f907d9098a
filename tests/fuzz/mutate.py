"""Damage, drawn by a seed: bytes flipped, files cut, made longer, emptied, exchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

__all__ = ["damage", "restore", "same", "spoiled"]

KINDS = ("flip", "flip", "flip", "truncate", "extend", "zeros", "swap", "empty", "missing")


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Spoil one file of a directory (two for an exchange); says which and how.

    One byte is flipped, in one case of ten two, as Redis's fuzzer of payloads does.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    kind, content = str(rng.choice(KINDS)), bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "swap":
        other = files[rng.integers(len(files))]
        second = other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(content)
        kind += f" {other.name}"
    else:
        path.write_bytes(spoiled(content, kind, rng))
    return f"{path.relative_to(folder)}: {kind}"


def spoiled(content: bytearray, kind: str, rng: np.random.Generator) -> bytes:
    """The content after damage of one kind."""
    size = len(content)
    if kind == "empty":
        return b""
    if kind == "truncate":
        return bytes(content[: rng.integers(size)]) if size else b""
    if kind == "extend":
        return bytes(content) + rng.bytes(int(rng.integers(1, 64)))
    if kind == "zeros" and size:
        start = int(rng.integers(size))
        content[start : start + 16] = bytes(len(content[start : start + 16]))
        return bytes(content)
    for _ in range(1 + (rng.random() < 0.1)):
        if size:
            content[rng.integers(size)] ^= int(rng.integers(1, 256))
    return bytes(content)


def restore(folder: Path, original: Path) -> None:
    """Make a directory what it was."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder, symlinks=True)


def same(folder: Path, original: Path) -> bool:
    """Whether nothing has come of the damage."""
    names = {p.relative_to(original) for p in original.rglob("*") if p.is_file()}
    if names != {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}:
        return False
    return all((folder / n).read_bytes() == (original / n).read_bytes() for n in names)
