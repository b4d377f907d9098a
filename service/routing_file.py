"""The file that keeps what was set at run time, so that all workers and a restart follow it.

One writer at a time holds a lock beside the file; the content appears by rename. Readers look at
it every moment and never see half of it. A file that cannot be used changes nothing: whoever reads
it goes on as before.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from pydantic import ValidationError

from sampling.errors import DamagedError
from service.errors import RoutingStoreError
from service.routing import Routing, RoutingState
from service.settings import Settings

__all__ = ["RoutingFile", "Signature", "routing_of"]

MOST_BYTES = 1 << 22

Signature = tuple[int, int, int]


class RoutingFile:
    """What was set at run time, on disk.

    Args:
        path: the file; its directory must exist when something is set.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> RoutingState:
        """The state; an empty one where there is no file.

        Raises:
            DamagedError: the file is not what this writes.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return RoutingState()
        except OSError as error:
            raise self._damaged(error.strerror or "cannot be read") from None
        if len(content) > MOST_BYTES:
            raise self._damaged(f"is larger than {MOST_BYTES} bytes")
        try:
            return RoutingState.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part)[:80] for part in first["loc"])
            raise self._damaged(f"is no routing file: {place}: {first['msg']}") from None

    def signature(self) -> Signature | None:
        """What changes when the file does."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def edit(self, change: Callable[[RoutingState], RoutingState]) -> RoutingState:
        """Replace the state by what `change` makes of it; returns the new one, one revision on.

        Raises:
            RoutingStoreError: it cannot be written.
            DamagedError: the file is not what this writes.
        """
        try:
            with self._alone():
                before = self.read()
                after = change(before).model_copy(update={"revision": before.revision + 1})
                self._write(after)
        except OSError as error:
            raise RoutingStoreError(str(self.path), error.strerror or str(error)) from error
        return after

    @contextmanager
    def _alone(self) -> Iterator[None]:
        handle = os.open(
            self.path.with_name(f".{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o644
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, state: RoutingState) -> None:
        content = orjson.dumps(state.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(self.path.parent, self.path.name, what)


def routing_of(settings: Settings) -> Routing:
    """The routes of the settings, and of what was set at run time.

    Raises:
        DamagedError: the routing file is not what this writes.
    """
    return Routing.of(settings, RoutingFile(settings.routing_path).read())
