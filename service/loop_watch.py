"""How late the event loop is, seen from a thread of its own: a loop that hangs cannot say so.

Every quarter of a second the thread asks the loop to turn and times it. Work that was put on the
loop in place of a thread shows here, whoever put it there.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

__all__ = ["LoopWatch", "watched_loop"]

EVERY_S = 0.25
STUCK_S = 1.0
"""Lateness from which the log says where the loop is."""
WINDOW_S = 60.0

log = structlog.get_logger()


class LoopWatch:
    """Watches the running loop from a thread.

    Args:
        tell: given the worst lateness of the last minute in seconds, whenever it was measured.
    """

    def __init__(self, tell: Callable[[float], None]) -> None:
        self.tell = tell
        self._loop, self._ident = asyncio.get_running_loop(), threading.get_ident()
        self._seen: deque[tuple[float, float]] = deque()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._thread.start()

    @property
    def worst_s(self) -> float:
        """The worst lateness of the last minute, in seconds."""
        return max((lag for _, lag in tuple(self._seen)), default=0.0)

    def close(self) -> None:
        """End the thread."""
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        with suppress(RuntimeError):  # the loop was closed
            while not self._ends.wait(EVERY_S):
                self._measure()

    def _measure(self) -> None:
        turned, began, is_said = threading.Event(), time.monotonic(), False
        self._loop.call_soon_threadsafe(turned.set)
        while not turned.wait(EVERY_S):
            if self._ends.is_set():
                return
            lag = time.monotonic() - began
            self.tell(max(lag, self.worst_s))  # other workers are asked for it meanwhile
            if lag > STUCK_S and not is_said:
                log.warning("event_loop_stuck", seconds=round(lag, 1), where=self._where())
                is_said = True
        now = time.monotonic()
        self._seen.append((now, now - began))
        while self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
        self.tell(self.worst_s)

    def _where(self) -> str:
        """File, line and function that the loop's thread is in."""
        frame = sys._current_frames().get(self._ident)
        if frame is None:
            return "unknown"
        code = frame.f_code
        return f"{code.co_filename}:{frame.f_lineno} {code.co_name}"


@contextmanager
def watched_loop(tell: Callable[[float], None]) -> Iterator[LoopWatch]:
    """The running loop, watched while the context lives."""
    watch = LoopWatch(tell)
    try:
        yield watch
    finally:
        watch.close()
