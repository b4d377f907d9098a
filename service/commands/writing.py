"""Errors of the disk, under the name of the output that the user gave.

A write to a full disk names no file, and a file that is renamed at the end has another name
until then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["naming", "naming_when_full"]

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextmanager
def naming(out: Path) -> Iterator[None]:
    """Every error of the operating system inside is one of `out`."""
    try:
        yield
    except OSError as error:
        raise _of(out, error) from error


@contextmanager
def naming_when_full(out: Path) -> Iterator[None]:
    """A full disk, or a file that became too large, is named after `out` where it has no name."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            raise _of(out, error) from error
        raise


def _of(out: Path, error: OSError) -> OSError:
    if error.errno is None:
        return OSError(errno.EIO, str(error), str(out))
    return OSError(error.errno, os.strerror(error.errno), str(out))
