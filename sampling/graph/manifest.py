"""Manifests: the JSON file that says what a directory holds, read with suspicion."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sampling.errors import DamagedError, FutureFormatError
from sampling.graph.arrays import read_json

__all__ = [
    "COLLECTION_MANIFEST",
    "is_collection",
    "parsed",
    "read_manifest",
    "version_there",
    "was_replaced",
]

COLLECTION_MANIFEST = "graphs.json"

ModelT = TypeVar("ModelT", bound=BaseModel)


def is_collection(path: str | Path) -> bool:
    """Whether a directory holds a collection of graphs."""
    return (Path(path) / COLLECTION_MANIFEST).exists()


def read_manifest(path: Path, name: str, kind: type[ModelT], newest: int) -> ModelT:
    """The manifest `name` of the directory `path`.

    Args:
        path: the directory.
        name: of the file.
        kind: what it must be.
        newest: the latest format version that is known here.

    Raises:
        DamagedError: it is missing, no JSON, or says something else.
        FutureFormatError: written by a newer version of this project.
    """
    return parsed(path, name, kind, read_json(path / name), newest)


def parsed(
    path: Path, name: str, kind: type[ModelT], content: dict[str, Any], newest: int | None = None
) -> ModelT:
    """What the file `name` of the directory `path` says, from its JSON.

    Args:
        path: the directory.
        name: of the file.
        kind: what it must be.
        content: its JSON.
        newest: the latest format version that is known here; None where it has none.

    Raises:
        DamagedError: it says something else; names the place.
        FutureFormatError: written by a newer version of this project.
    """
    version = content.get("format_version")
    if newest is not None and isinstance(version, int) and version > newest:
        raise FutureFormatError(path, version, newest)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedError(path, name, f"is wrong at {where}: {first['msg']}") from None


def version_there(path: Path, name: str) -> int:
    """The version of what is to be replaced; 0 where there is none, or damage hides it."""
    try:
        version = read_json(path / name).get("version")
    except DamagedError:
        return 0
    return version if isinstance(version, int) and version > 0 else 0


def was_replaced(path: Path, name: str, fingerprint: str) -> bool:
    """Whether a directory has become another since its manifest was read."""
    return read_json(path / name).get("fingerprint") != fingerprint
