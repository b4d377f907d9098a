"""Directories of checked `.npy` files: written whole or not at all, refused when damaged.

A directory is written beside its final place and renamed, manifest last, so that a killed
process leaves the last complete state. It never changes afterwards: several processes map it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from sampling.errors import DamagedError, ExistsError, InputError
from sampling.graph.meta import ArrayInfo

__all__ = [
    "HEADER_BYTES",
    "ArrayWriter",
    "check_replaceable",
    "npy_header",
    "open_array",
    "publish",
    "read_json",
    "verify_array",
    "write_array",
    "write_json",
]

CHUNK_BYTES = 16 << 20
HEADER_BYTES = 128
AT_FDCWD, RENAME_EXCHANGE = -100, 2


class ArrayWriter:
    """Writes one `.npy` file from pieces, front to back, with its checksum.

    Args:
        path: the file.
        dtype: NumPy type of the array.
        shape: its shape; the first entry may be None when the length is known only at the end.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> None:
        self.path, self.dtype, self.shape = path, np.dtype(dtype), shape
        self._items = 0
        self._file = path.open("wb")
        self._file.write(b"\0" * HEADER_BYTES)
        self._body = xxhash.xxh3_64()

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows."""
        data = np.ascontiguousarray(rows, dtype=self.dtype).reshape(-1)
        self._items += data.size
        for start in range(0, data.nbytes, CHUNK_BYTES):
            piece = data.view(np.uint8)[start : start + CHUNK_BYTES].data
            self._body.update(piece)
            self._file.write(piece)

    def close(self) -> ArrayInfo:
        """Finish the file and make it durable; says what it holds."""
        row = int(np.prod([n or 1 for n in self.shape[1:]], dtype=np.int64))
        length = self._items // row if self.shape[0] is None and row else self.shape[0] or 0
        shape = (length, *(int(n or 0) for n in self.shape[1:]))
        assert self._items == int(np.prod(shape, dtype=np.int64)), (self.path, self._items, shape)
        self._file.seek(0)
        self._file.write(npy_header(self.dtype, shape))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return ArrayInfo(dtype=self.dtype.str, shape=shape, xxh3=self._body.hexdigest())

    def abort(self) -> None:
        """Close without finishing."""
        self._file.close()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        self.abort()


def write_array(path: Path, array: NDArray[Any]) -> ArrayInfo:
    """Write one whole array; returns what the manifest says of it."""
    with ArrayWriter(path, array.dtype, array.shape) as writer:
        writer.write(array)
        return writer.close()


def open_array(directory: Path, name: str, info: ArrayInfo) -> NDArray[Any]:
    """Map `name.npy` read-only after checking its header and size against the manifest.

    Raises:
        DamagedError: the file is missing, truncated, or is another array.
    """
    path = directory / f"{name}.npy"
    expected = npy_header(np.dtype(info.dtype), info.shape)
    size = len(expected) + int(np.prod(info.shape, dtype=np.int64)) * np.dtype(info.dtype).itemsize
    try:
        if not path.is_file() and path.exists():
            raise DamagedError(directory, path.name, "is not a regular file")
        with path.open("rb") as file:
            header, actual = file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size
            if actual != size:
                raise DamagedError(directory, path.name, f"has {actual} bytes instead of {size}")
            if header != expected:
                raise DamagedError(directory, path.name, "has another header than was written")
            if size == HEADER_BYTES:
                return np.empty(info.shape, np.dtype(info.dtype))
            flat = np.memmap(file, np.dtype(info.dtype), "r", HEADER_BYTES, info.shape)
            return flat.view(np.ndarray)
    except FileNotFoundError:
        raise DamagedError(directory, path.name, "is missing") from None


def verify_array(directory: Path, name: str, info: ArrayInfo, array: NDArray[Any]) -> None:
    """Read a mapped array once and compare its checksum.

    Raises:
        DamagedError: the bytes are not those that were written.
    """
    digest = xxhash.xxh3_64()
    content = array.reshape(-1).view(np.uint8)
    for start in range(0, len(content), CHUNK_BYTES):
        digest.update(content[start : start + CHUNK_BYTES].data)
    if digest.hexdigest() != info.xxh3:
        raise DamagedError(
            directory,
            f"{name}.npy",
            f"has checksum {digest.hexdigest()} instead of {info.xxh3}",
        )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON durably by rename."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("w") as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DamagedError: missing, not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DamagedError(path.parent, path.name, "is missing") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(path.parent, path.name, f"is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DamagedError(path.parent, path.name, "is not a JSON object")
    return content


@contextlib.contextmanager
def publish(final: Path, *, overwrite: bool = False, marker: str = "") -> Iterator[Path]:
    """A temporary directory that becomes `final` at the end, atomically; gone on an error.

    Args:
        final: where it goes.
        overwrite: replace what is there.
        marker: file that every such directory holds; nothing without it is replaced.

    Raises:
        ExistsError: `final` exists and is not to be replaced.
        InputError: `final` is not a directory of this kind, whatever `overwrite` says.
    """
    check_replaceable(final, overwrite, marker)
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep_abandoned(final)
    temporary = final.parent / f".{final.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        _fsync_directory(temporary)
        _replace(temporary, final, overwrite)
        _fsync_directory(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(final: Path, overwrite: bool, marker: str) -> None:
    """Refuse to replace what nobody asked to replace, or what this project did not write.

    Raises:
        ExistsError: `final` exists and is not to be replaced.
        InputError: `final` holds no file of the name `marker`.
    """
    if not final.exists() and not final.is_symlink():
        return
    if not overwrite:
        raise ExistsError(final)
    if final.is_symlink() or not marker or not (final / marker).is_file():
        raise InputError(
            f"{final} holds no {marker or 'such output'}, so it is not what this command writes "
            "and is not overwritten; choose another output"
        )


def sweep_abandoned(final: Path) -> None:
    """Remove temporary directories of `final` whose process is gone."""
    for path in final.parent.glob(f".{final.name}.*.*"):
        pid = path.name.removeprefix(f".{final.name}.").split(".")[0]
        if pid.isdigit() and path.is_dir() and not _is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _replace(temporary: Path, final: Path, overwrite: bool) -> None:
    if not final.exists():
        temporary.rename(final)
        return
    if not overwrite:
        raise ExistsError(final)
    if not _exchange(temporary, final):
        old = temporary.with_name(f"{temporary.name}.old")
        final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two directories in one step where the system can (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    done = libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE)
    return bool(done == 0)


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The `.npy` version 1.0 header, padded to `HEADER_BYTES` so that data is 64-byte aligned."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    body = text.encode("latin1").ljust(HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body
