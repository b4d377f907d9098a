"""`.npy` and `.npz` files from strangers: never pickled, never larger than they say."""

from __future__ import annotations

import mmap
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import ParseError

__all__ = ["Archive", "MappedArray", "open_archive", "open_mapped"]


class MappedArray:
    """A `.npy` file mapped read-only, whose pages can be given back to the system."""

    def __init__(self, array: NDArray[Any], pages: mmap.mmap | None) -> None:
        self.array, self._pages = array, pages

    def forget(self) -> None:
        """Take the pages read so far out of resident memory."""
        if self._pages is not None and hasattr(self._pages, "madvise"):
            self._pages.madvise(mmap.MADV_DONTNEED)


def open_mapped(path: Path) -> MappedArray:
    """Map an array.

    Raises:
        ParseError: not a `.npy` file of plain numbers, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _read_header(path, file, path.name)
            start, size = file.tell(), path.stat().st_size
            wanted = _num_bytes(shape, dtype)
            if size - start != wanted:
                raise ParseError(path, f"holds {size - start} bytes where its header says "
                                 f"{wanted}; copy it again")  # fmt: skip
            if wanted == 0:
                return MappedArray(np.empty(shape, dtype), None)
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ParseError(path, f"cannot be read ({error.strerror})") from None
    flat = np.frombuffer(pages, dtype, wanted // dtype.itemsize, start)
    return MappedArray(flat.reshape(shape, order="F" if fortran else "C"), pages)


class Archive:
    """The arrays of one `.npz` file, read one at a time."""

    def __init__(self, path: Path, file: zipfile.ZipFile, limit_bytes: int) -> None:
        self._path, self._file, self._limit = path, file, limit_bytes
        self._members = {
            name.removesuffix(".npy"): info
            for name, info in ((i.filename, i) for i in file.infolist())
            if name.endswith(".npy")
        }

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> list[str]:
        return sorted(self._members)

    def read(self, name: str) -> NDArray[Any]:
        """One whole array.

        Raises:
            ParseError: it is damaged, pickled, or not of the size that it claims.
        """
        info = self._members[name]
        try:
            with self._file.open(info) as member:
                shape, fortran, dtype = _read_header(self._path, member, name)
                wanted = _num_bytes(shape, dtype)
                held = info.file_size - member.tell()
                if wanted != held:
                    raise ParseError(self._path, f"{name} claims shape {shape} and holds {held} "
                                     "bytes; write it again")  # fmt: skip
                if wanted > self._limit:
                    raise ParseError(self._path, f"{name} needs {wanted >> 20} MiB at once, more "
                                     f"than the bound of {self._limit >> 20} MiB; raise the memory "
                                     "bound or save features as .npy")  # fmt: skip
                out = np.empty(wanted // max(dtype.itemsize, 1), dtype)
                _fill(self._path, member, out, name)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError,
                RuntimeError) as error:  # fmt: skip
            raise ParseError(self._path, f"{name} cannot be read ({error})") from None
        return out.reshape(shape, order="F" if fortran else "C")


def open_archive(path: Path, limit_bytes: int) -> Archive:
    """A `.npz` file.

    Raises:
        ParseError: it is none.
    """
    try:
        return Archive(path, zipfile.ZipFile(path), limit_bytes)
    # zipfile's word for a version or a compression that it does not know
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise ParseError(path, f"is not an .npz file ({error})") from None


def _fill(path: Path, member: Any, out: NDArray[Any], name: str) -> None:
    if not out.nbytes:
        return
    view, done = out.view(np.uint8).data, 0
    while done < len(view):
        piece = member.read(min(1 << 20, len(view) - done))
        if not piece:
            raise ParseError(path, f"{name} ends early; copy the file again")
        view[done : done + len(piece)] = piece
        done += len(piece)


def _read_header(path: Path, file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, SyntaxError, TypeError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise ParseError(path, f"{name} is not a NumPy array ({text[:120]})") from None
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        raise ParseError(path, f"{name} holds Python objects or records; only plain numbers "
                         "and text are read, nothing is unpickled")  # fmt: skip
    if any(n < 0 for n in shape):
        raise ParseError(path, f"{name} claims shape {shape}")
    return shape, fortran, dtype


def _num_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    total = dtype.itemsize
    for n in shape:
        total *= n
    return total
