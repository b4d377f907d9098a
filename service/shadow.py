"""Shadows: a version computes what another has answered, behind its back, to be compared.

What is to be compared waits in a short queue. It is computed by a thread of its own, for at most
half of the time, and only while no request waits; what finds the queue full, or grows old in it, is
dropped. Nothing that happens here delays, changes or fails an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Histogram

from gnn.metrics import THRESHOLD
from sampling.errors import InputError
from service.telemetry import SECONDS

__all__ = ["Answered", "ShadowMetrics", "Shadows", "shadowing"]

MAX_ROWS = 100_000
MAX_AGE_S = 10.0
PAUSE_S = 0.005
MAX_PAUSE_S = 1.0
LABELS = ["model", "version", "shadow"]

Kind = Literal["classes", "flags", "values"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """An answer that is to be compared.

    Attributes:
        name: that was asked for.
        version: that answered.
        shadow: the other version.
        kind: classes, of which one is right; flags, of which each may be; or values.
        given: what was answered, (n, d): probabilities, or values.
        compute: the same by the shadow; called in a thread.
        seconds: that the answer took.
    """

    name: str
    version: int
    shadow: int
    kind: Kind
    given: NDArray[np.float32]
    compute: Callable[[], NDArray[np.float32]]
    seconds: float
    arrived: float = field(default_factory=time.monotonic)


class ShadowMetrics:
    """How shadows compare, documented in `docs/rest.md`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "gnn_shadow_requests",
            "Requests drawn for a shadow.",
            [*LABELS, "outcome"],
            registry=registry,
        )
        self.rows = Counter("gnn_shadow_rows", "Rows compared.", LABELS, registry=registry)
        self.labels = Counter(
            "gnn_shadow_labels", "Labels compared.", [*LABELS, "agree"], registry=registry
        )
        self.difference = Counter(
            "gnn_shadow_difference",
            "Absolute differences of probabilities or values, means of rows added up.",
            LABELS,
            registry=registry,
        )
        self.seconds = Histogram(
            "gnn_shadow_seconds",
            "Seconds that compared requests took.",
            [*LABELS, "by"],
            buckets=SECONDS,
            registry=registry,
        )

    def count(self, answered: Answered, outcome: str) -> None:
        """Count what became of a request."""
        self.requests.labels(*_labels(answered), outcome).inc()

    def compared(self, answered: Answered, got: NDArray[np.float32], seconds: float) -> None:
        """Count a comparison.

        Raises:
            InputError: the two answers have different shapes, or one is not finite.
        """
        given, labels = answered.given, _labels(answered)
        if given.shape != got.shape or not np.isfinite(got).all():
            raise InputError(f"the answers {given.shape} and {got.shape} cannot be compared")
        if len(given):
            self.difference.labels(*labels).inc(float(np.abs(given - got).mean(axis=1).sum()))
        self.rows.labels(*labels).inc(len(given))
        if answered.kind != "values":
            same = int(_agree(answered.kind, given, got).sum())
            self.labels.labels(*labels, "yes").inc(same)
            self.labels.labels(*labels, "no").inc(len(given) - same)
        self.seconds.labels(*labels, "answer").observe(answered.seconds)
        self.seconds.labels(*labels, "shadow").observe(seconds)
        self.count(answered, "compared")


class Shadows:
    """The queue of what is to be compared.

    Args:
        limit: requests that may wait.
        metrics: where comparisons are counted.
        is_busy: whether requests wait for an answer.
    """

    def __init__(self, limit: int, metrics: ShadowMetrics, is_busy: Callable[[], bool]) -> None:
        self.limit, self.metrics, self.is_busy = limit, metrics, is_busy
        self._queue = asyncio.Queue[Answered]()
        self._rows = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")

    def offer(self, answered: Answered) -> None:
        """Compare an answer later, or not at all."""
        rows = len(answered.given)
        if self._queue.qsize() >= self.limit or self._rows + rows > MAX_ROWS:
            self.metrics.count(answered, "dropped")
            return
        self._rows += rows
        self._queue.put_nowait(answered)

    async def run(self) -> None:
        """Compare what is offered, until canceled."""
        while True:
            answered = await self._queue.get()
            await self._compare(answered)
            self._rows -= len(answered.given)

    def close(self) -> None:
        """Compare no more; what is computed at the moment is finished."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _compare(self, answered: Answered) -> None:
        while self.is_busy() and time.monotonic() - answered.arrived < MAX_AGE_S:
            await asyncio.sleep(PAUSE_S)
        if self.is_busy():
            self.metrics.count(answered, "dropped")
            return
        started, loop = time.perf_counter(), asyncio.get_running_loop()
        try:
            got = await loop.run_in_executor(self._thread, answered.compute)
            took = time.perf_counter() - started
            self.metrics.compared(answered, got, took)
        except Exception as error:
            took = time.perf_counter() - started
            self.metrics.count(answered, "failed")
            log.warning(
                "shadow_failed", model=answered.name, shadow=answered.shadow, reason=str(error)
            )
        await asyncio.sleep(min(took, MAX_PAUSE_S))


@asynccontextmanager
async def shadowing(
    limit: int, metrics: ShadowMetrics, is_busy: Callable[[], bool]
) -> AsyncIterator[Shadows]:
    """Shadows at work while the context lives."""
    shadows = Shadows(limit, metrics, is_busy)
    task = asyncio.create_task(shadows.run(), name="shadows")
    try:
        yield shadows
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(shadows.close)


def _labels(answered: Answered) -> tuple[str, str, str]:
    return answered.name, str(answered.version), str(answered.shadow)


def _agree(kind: Kind, given: NDArray[np.float32], got: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the labels of each row are the same, (n,) bool."""
    if kind == "flags":
        same: NDArray[np.bool_] = ((given > THRESHOLD) == (got > THRESHOLD)).all(axis=1)
    else:
        same = given.argmax(axis=1) == got.argmax(axis=1)
    return same
