"""What can go wrong with a graph, its files and its samples.

    GnnError                      the root: everything below is the caller's to mend
    ├── InputError                an argument or an input file is wrong
    │   ├── ParseError            a row of an input file cannot be read
    │   ├── UnknownNodeError      a node id is not in the graph
    │   ├── FeatureError          a feature value or shape is wrong
    │   └── MissingPackageError   an optional package is not installed or does not load
    └── StoreError                a directory that this project wrote
        ├── DamagedError          a file is missing, truncated or changed
        ├── FutureFormatError     written by a newer version of this project
        └── ExistsError           the output is already there

An error takes data and writes its own sentence: what was got, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "DamagedError",
    "ExistsError",
    "FeatureError",
    "FutureFormatError",
    "GnnError",
    "InputError",
    "MissingPackageError",
    "ParseError",
    "StoreError",
    "UnknownNodeError",
]


class GnnError(Exception):
    """The root of every error that the user can mend."""


class InputError(GnnError):
    """An argument or an input file is wrong."""


class ParseError(InputError):
    """A row of an input file cannot be read."""

    def __init__(self, path: Path | str, what: str, row: int | None = None) -> None:
        self.path, self.what, self.row = path, what, row
        where = f"{path}" if row is None else f"{path}, row {row}"
        super().__init__(f"{where}: {what}")


class UnknownNodeError(InputError):
    """Node ids that are not in the graph."""

    def __init__(self, ids: Sequence[int | str]) -> None:
        self.ids = list(ids)
        shown = ", ".join(repr(i) for i in self.ids[:5])
        more = f" and {len(self.ids) - 5} more" if len(self.ids) > 5 else ""
        super().__init__(
            f"not in the graph: {shown}{more}; use ids as they were ingested, "
            "with the type they had there"
        )


class FeatureError(InputError):
    """A feature value or the shape of a feature matrix is wrong."""


class MissingPackageError(InputError):
    """An optional package is not installed, or does not load on this machine."""

    def __init__(self, package: str, reason: BaseException, remedy: str) -> None:
        self.package, self.reason = package, reason
        super().__init__(f"package {package!r} does not load ({reason}); {remedy}")


class StoreError(GnnError):
    """A directory that this project wrote cannot be used as it is."""


class DamagedError(StoreError):
    """A file is missing, truncated or not what was written."""

    def __init__(self, path: Path | str, array: str, what: str) -> None:
        self.path, self.array, self.what = path, array, what
        super().__init__(f"{path}: {array} {what}; restore it from a copy or write it again")


class FutureFormatError(StoreError):
    """The directory was written by a newer version of this project."""

    def __init__(self, path: Path | str, got: int, known: int) -> None:
        self.path, self.got, self.known = path, got, known
        super().__init__(
            f"{path}: format version {got} is newer than {known}, the newest that this "
            "installation reads; upgrade gnn-service"
        )


class ExistsError(StoreError):
    """The output is already there and was not to be replaced."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        super().__init__(f"{path} already exists; choose another name or pass --overwrite")
