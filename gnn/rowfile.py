"""Files of rows that are filled front to back and survive being killed.

A journal of JSON lines says how many rows of which file are written and what the running
checksum is there. After a kill the rows are read again; work goes on from the last place where
journal and rows agree. The steps of int8 rows lie in a file beside them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from gnn.errors import BusyError
from gnn.storage import dtype_of
from sampling import FeatureTable
from sampling.errors import DamagedError
from sampling.graph.arrays import (
    CHUNK_BYTES,
    HEADER_BYTES,
    npy_header,
    open_array,
    read_json,
    write_json,
)
from sampling.graph.meta import ArrayInfo

__all__ = ["Journal", "RowFile", "exclusive"]

Mark = tuple[int, str, float]
"""Rows that are written, their checksum, and the largest error of rounding among them."""


class RowFile:
    """A `.npy` file of known shape, filled front to back.

    Args:
        directory: where it lies.
        name: file name without `.npy`.
        storage: type of the rows.
        shape: (rows, width).

    Attributes:
        scale: the step of every column, (width,) float32, from `set_scale`; int8 only.
        rows_done: rows that are written.
        max_error: the largest error of rounding among them.
    """

    def __init__(self, directory: Path, name: str, storage: str, shape: tuple[int, int]) -> None:
        self.directory, self.name, self.storage, self.shape = directory, name, storage, shape
        self.dtype = dtype_of(storage)
        self.path = directory / f"{name}.npy"
        self.row_bytes = shape[1] * self.dtype.itemsize
        self.scale = self._read_scale() if storage == "int8" else None
        self._reset()

    def _reset(self) -> None:
        self.rows_done, self.max_error, self._digest = 0, 0.0, xxhash.xxh3_64()

    @property
    def checksum(self) -> str:
        """Checksum of the rows written so far."""
        return str(self._digest.hexdigest())

    @property
    def mark(self) -> Mark:
        """How far the file is."""
        return self.rows_done, self.checksum, self.max_error

    def create(self) -> None:
        """Start an empty file.

        Raises:
            OSError: the disk has no room for all rows.
        """
        size = HEADER_BYTES + self.shape[0] * self.row_bytes
        if size > shutil.disk_usage(self.directory).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        with self.path.open("wb") as file:
            file.write(npy_header(self.dtype, self.shape))
            file.truncate(size)
        self._reset()

    def set_scale(self, scale: NDArray[np.float32]) -> None:
        """Keep the steps of int8 rows, before the first of them is written."""
        self.scale = scale
        steps = scale.tolist()
        write_json(self._scale_path, {"steps": steps, "xxh3": _checksum_of(scale)})

    def _read_scale(self) -> NDArray[np.float32] | None:
        """The steps, or None where they are missing or damaged."""
        try:
            content = read_json(self._scale_path)
            scale = np.array(content["steps"], np.float32)
        except (DamagedError, KeyError, TypeError, ValueError):
            return None
        good = scale.shape == self.shape[1:] and content.get("xxh3") == _checksum_of(scale)
        return scale if good else None

    @property
    def _scale_path(self) -> Path:
        return self.directory / f"{self.name}.scale.json"

    def write(self, rows: NDArray[Any], error: float = 0.0) -> None:
        """Append rows, rounded with this error at most; they are durable after `sync`."""
        data = np.ascontiguousarray(rows, self.dtype).reshape(-1).view(np.uint8).data
        place = HEADER_BYTES + self.rows_done * self.row_bytes
        handle = os.open(self.path, os.O_WRONLY)
        try:
            for start in range(0, len(data), CHUNK_BYTES):
                piece = data[start : start + CHUNK_BYTES]
                self._digest.update(piece)
                _write_all(handle, piece, place + start)
        finally:
            os.close(handle)
        self.rows_done += len(rows)
        self.max_error = max(self.max_error, error)

    def recover(self, marks: list[Mark]) -> int:
        """Read the rows again up to the last mark that still holds; returns how many.

        A file that is missing or has another header is started anew.
        """
        self._reset()
        if not self._is_ours():
            self.create()
            return 0
        with self.path.open("rb") as file:
            file.seek(HEADER_BYTES)
            for end, checksum, error in marks:
                digest = self._digest.copy()
                if not _read_into(digest, file, (end - self.rows_done) * self.row_bytes):
                    break
                if digest.hexdigest() != checksum:
                    break
                self.rows_done, self.max_error, self._digest = end, error, digest
        return self.rows_done

    def rewind(self, rows: int, marks: list[Mark]) -> None:
        """Forget the rows from `rows` on, which is one of the marks."""
        if self.rows_done != rows:
            self.recover([mark for mark in marks if mark[0] <= rows])

    def sync(self) -> None:
        """Make what was written durable."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def info(self) -> ArrayInfo:
        """What a manifest says of the finished file."""
        return ArrayInfo(dtype=self.dtype.str, shape=self.shape, xxh3=self.checksum)

    def map(self) -> NDArray[Any]:
        """The finished rows, mapped read-only."""
        return open_array(self.directory, self.name, self.info())

    def table(self) -> FeatureTable:
        """The finished rows as a table, mapped."""
        return FeatureTable(self.map(), self.storage, self.scale)

    def remove(self) -> None:
        """Remove the file and what lies beside it."""
        self.path.unlink(missing_ok=True)
        self._scale_path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        size = HEADER_BYTES + self.shape[0] * self.row_bytes
        if self.storage == "int8" and self.scale is None:
            return False
        if not self.path.is_file() or self.path.stat().st_size != size:
            return False
        with self.path.open("rb") as file:
            return file.read(HEADER_BYTES) == npy_header(self.dtype, self.shape)


class Journal:
    """Append-only marks of `RowFile`s.

    A line outlives the process that wrote it. After a loss of power the last lines or the rows
    that they speak of may be missing, which their checksums tell.

    Args:
        path: the file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._marks: dict[str, list[Mark]] = {}
        for entry in _entries(path):
            self._marks.setdefault(entry["file"], []).append(entry["mark"])

    def marks(self, name: str) -> list[Mark]:
        """Marks of a file, ascending."""
        return self._marks.get(name, [])

    def keep(self, name: str, rows: int) -> None:
        """Forget the marks of a file beyond `rows`."""
        self._marks[name] = [mark for mark in self.marks(name) if mark[0] <= rows]

    def rewrite(self) -> None:
        """Put the marks that are left on disk, in place of all lines there."""
        lines = [_line(name, *mark) for name, marks in self._marks.items() for mark in marks]
        temporary = self.path.with_name(f".{self.path.name}")
        with temporary.open("w") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.path)

    def add(self, files: list[RowFile]) -> None:
        """Mark where these files are now."""
        with self.path.open("a") as out:
            for file in files:
                self._marks.setdefault(file.name, []).append(file.mark)
                out.write(_line(file.name, *file.mark))


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold a directory, which is made where it is not there, for this process alone.

    Raises:
        BusyError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(directory) from None
        if not _is_same(handle, directory):
            raise BusyError(directory)
        yield
    finally:
        os.close(handle)


def _is_same(handle: int, directory: Path) -> bool:
    """Whether the directory that is held is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), directory.stat())
    except FileNotFoundError:
        return False


def _write_all(handle: int, data: memoryview, place: int) -> None:
    while data:
        written = os.pwrite(handle, data, place)
        data, place = data[written:], place + written


def _read_into(digest: Any, file: Any, num_bytes: int) -> bool:
    """Feed the next bytes of a file to a digest; False when the file ends early."""
    while num_bytes > 0:
        piece = file.read(min(num_bytes, CHUNK_BYTES))
        if not piece:
            return False
        digest.update(piece)
        num_bytes -= len(piece)
    return True


def _checksum_of(scale: NDArray[np.float32]) -> str:
    return str(xxhash.xxh3_64(scale.tobytes()).hexdigest())


def _line(name: str, rows: int, checksum: str, error: float) -> str:
    entry = {"file": name, "rows": rows, "xxh3": checksum, "max_error": error}
    return json.dumps(entry) + "\n"


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a journal up to the first that a kill cut short."""
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            mark = (int(entry["rows"]), str(entry["xxh3"]), float(entry["max_error"]))
            yield {"file": entry["file"], "mark": mark}
        except (ValueError, KeyError, TypeError):
            return
