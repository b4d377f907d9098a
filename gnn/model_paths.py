"""Names and versions of models on disk: `MODELS/NAME/<version>`, never outside `MODELS`."""

from __future__ import annotations

import re
from pathlib import Path

from gnn.errors import ModelNameError, UnknownModelError

__all__ = [
    "check_name",
    "is_version",
    "list_models",
    "list_versions",
    "model_path",
    "newest_version",
    "versions_in",
]

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def list_models(root: str | Path) -> list[str]:
    """Names of the models under `root` that have a version, sorted."""
    root = Path(root)
    if not root.is_dir():
        return []
    folders = [p for p in root.iterdir() if p.is_dir() and not p.is_symlink()]
    return sorted(p.name for p in folders if NAME_PATTERN.fullmatch(p.name) and versions_in(p))


def list_versions(root: str | Path, name: str) -> list[int]:
    """Versions of a model, ascending.

    Raises:
        ModelNameError: the name could lead out of `root`.
        UnknownModelError: there is no such model.
    """
    versions = versions_in(_folder(Path(root), name))
    if not versions:
        raise UnknownModelError(root, f"model {name!r}", list_models(root))
    return versions


def model_path(root: str | Path, name: str, version: int | None = None) -> Path:
    """The directory of a version, the newest when left out; always inside `root`.

    Raises:
        ModelNameError: the name could lead out of `root`.
        UnknownModelError: there is no such model or version.
    """
    versions = list_versions(root, name)
    wanted = versions[-1] if version is None else version
    path = Path(root) / name / str(wanted)
    if wanted not in versions:
        raise UnknownModelError(Path(root) / name, f"version {wanted}", versions)
    if path.is_symlink() or path.resolve().parent.parent != Path(root).resolve():
        raise ModelNameError(name, "leads out of the model directory")
    return path


def check_name(name: object) -> str:
    """`name`, if it is safe as a directory name.

    Raises:
        ModelNameError: it is not.
    """
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name) or ".." in name:
        raise ModelNameError(name, "is not a model name")
    return name


def _folder(root: Path, name: str) -> Path:
    folder = root / check_name(name)
    if folder.is_symlink():
        raise ModelNameError(name, "is a symbolic link")
    return folder


def is_version(name: str) -> bool:
    """Whether a directory's name is that of a version."""
    return name.isascii() and name.isdigit() and name[0] != "0"


def versions_in(folder: Path) -> list[int]:
    """Versions in a model's directory, ascending; none where there is no directory."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if is_version(p.name) and p.is_dir())


def newest_version(folder: Path) -> int:
    """The newest version in a model's directory.

    Raises:
        UnknownModelError: there is none.
    """
    versions = versions_in(folder)
    if not versions:
        raise UnknownModelError(folder.parent, f"model {folder.name!r}", list_models(folder.parent))
    return versions[-1]
