"""The way out: readiness first, then the door, then the rest.

    SIGTERM ─▶ /health/ready answers 503 ─▶ drain_delay_s ─▶ no new connections
            ─▶ requests under way finish, drain_timeout_s at most ─▶ exit 0

A load balancer needs the delay to hear of it; a second signal skips it.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import structlog

__all__ = ["Draining", "draining_on_signals"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


class Draining:
    """Whether this process is on its way out."""

    def __init__(self) -> None:
        self.has_begun = False


@contextmanager
def draining_on_signals(delay_s: float) -> Iterator[Draining]:
    """Mark the beginning of the end, and hand each signal on to the server after the delay.

    The server's own signal actions must be in place; where there are none (no server, or not the
    main thread) nothing is changed.
    """
    draining, before = Draining(), dict[signal.Signals, Callable[..., Any]]()
    if threading.current_thread() is threading.main_thread():
        before = {s: a for s in SIGNALS if callable(a := signal.getsignal(s))}
    loop = asyncio.get_running_loop()

    def begin(number: int, frame: FrameType | None) -> None:
        stop = before[signal.Signals(number)]
        if draining.has_begun or not delay_s:
            draining.has_begun = True
            stop(number, frame)
            return
        draining.has_begun = True
        log.info("draining", delay_s=delay_s)
        loop.call_soon_threadsafe(loop.call_later, delay_s, stop, number, None)

    for number in before:
        signal.signal(number, begin)
    try:
        yield draining
    finally:
        for number, action in before.items():
            signal.signal(number, action)
