"""Where the server listens, when it is a Unix socket: a file that only its group may open."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampling.errors import InputError

__all__ = ["unix_socket"]

MASK = 0o117
"""Owner and group may connect."""


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A bound socket; its file is gone afterwards. A file that a dead server left is replaced.

    Raises:
        InputError: a server listens there already, or there is something else.
    """
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(MASK)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise InputError(
            f"{path}: {error.strerror or error}; a socket's path is at most 107 bytes long, in a "
            "directory that can be written"
        ) from None
    finally:
        os.umask(before)
    listening.set_inheritable(True)
    try:
        yield listening
    finally:
        listening.close()
        path.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_socket():
        raise InputError(f"{path} is there and is no socket; give another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise InputError(f"a server listens on {path} already; stop it or give another path")
