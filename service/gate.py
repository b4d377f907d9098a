"""Refusal at the door: what would wait too long is told so before its body is read.

A request is let in while the requests under way would keep it waiting for less than `delay_s`, by
Little's law (1961): their number is at most the rate at which answers are given times the delay.
What is beyond it costs a few lines of headers and a small answer, so that the service goes on at
its rate, and its answers in time, however many more ask. The rate is that of the time in which
requests were under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

__all__ = ["Gate"]

ALWAYS = 16
"""Requests under way up to which one more is let in, however slow they are."""
WINDOW_S = 0.1
WEIGHT = 0.3


class Gate:
    """One per process.

    Args:
        delay_s: the wait that is too long; 0 lets everything in.
        paths: whose POST requests are counted.
        on_refused: told the path of every request that was not let in.

    Example:
        >>> gate = Gate(0.01, ["/a"], print)
        >>> gate.guards({"method": "POST", "path": "/a"}), gate.admits()
        (True, True)
    """

    def __init__(
        self, delay_s: float, paths: Collection[str], on_refused: Callable[[str], None]
    ) -> None:
        self.delay_s, self.paths, self.on_refused = delay_s, frozenset(paths), on_refused
        self.under_way = 0
        self._rate: float | None = None
        self._answered = 0
        self._busy_s = self._busy_since = 0.0

    @property
    def limit(self) -> float:
        """Requests that may be under way."""
        if self._rate is None:
            return float("inf")
        return max(ALWAYS, self._rate * self.delay_s)

    def guards(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request is one of those that are counted."""
        return bool(self.delay_s) and scope["method"] == "POST" and scope["path"] in self.paths

    def admits(self) -> bool:
        """Whether one more may come in."""
        return self.under_way < self.limit

    def enter(self) -> None:
        """One more is under way."""
        if not self.under_way:
            self._busy_since = time.perf_counter()
        self.under_way += 1

    def leave(self) -> None:
        """One is answered."""
        now = time.perf_counter()
        self.under_way -= 1
        self._answered += 1
        self._busy_s += now - self._busy_since
        self._busy_since = now
        if self._busy_s >= WINDOW_S:
            rate = self._answered / self._busy_s
            self._rate = rate if self._rate is None else self._rate + WEIGHT * (rate - self._rate)
            self._answered, self._busy_s = 0, 0.0
