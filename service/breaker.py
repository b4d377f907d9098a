"""A circuit breaker (Nygard, Release It!, 2007): a neighbor that fails is left alone for a while.

Closed, calls pass. The first failure, or several slow answers in a row, opens it: no call passes,
and a background task probes the neighbor until it answers. No client waits for a probe.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["CircuitBreaker"]

SLOW_IN_A_ROW = 3
CALM_PERIODS = 10


class CircuitBreaker:
    """Whether a neighbor may be asked.

    Args:
        probe: whether the neighbor answers; must take a bounded time and not raise.
        retry_s: seconds between two probes.
        slow_s: an answer that takes longer is slow.
        on_change: told True when it opens and False when it closes.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[bool]],
        retry_s: float = 2.0,
        slow_s: float = 0.1,
        on_change: Callable[[bool], None] = lambda is_open: None,
    ) -> None:
        self.probe, self.retry_s, self.slow_s, self.on_change = probe, retry_s, slow_s, on_change
        self.is_open = False
        self._slow = 0
        self._opened = -float("inf")
        self._probing: asyncio.Task[None] | None = None

    def took(self, seconds: float) -> None:
        """Count an answer."""
        self._slow = self._slow + 1 if seconds > self.slow_s else 0
        if self._slow >= SLOW_IN_A_ROW:
            self.failed()

    def failed(self) -> None:
        """Count a failure: from now on no call passes, until a probe has succeeded."""
        if self.is_open:
            return
        now = time.monotonic()
        # one failure after long calm may be a connection that a restart has closed: look at once;
        # a neighbor that answers probes and nothing else is not to open and close all the time
        calm = now - self._opened > CALM_PERIODS * self.retry_s
        self.is_open, self._slow, self._opened = True, 0, now
        self.on_change(True)
        self._probing = asyncio.create_task(self._watch(0.0 if calm else self.retry_s))

    def close(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()

    async def _watch(self, first_s: float) -> None:
        await asyncio.sleep(first_s)
        while not await self.probe():
            await asyncio.sleep(self.retry_s)
        self.is_open = False
        self.on_change(False)
