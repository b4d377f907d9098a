"""Many connections from a process of its own: what came of every request, refusals and all.

A closed storm keeps all connections busy; an open one sends by the clock, and counts the time of a
request from when it was due, so that one that had to wait for a connection is not forgotten.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvloop

__all__ = ["OK", "Reply", "Storm", "percentile", "run_storm", "statuses", "storming"]

OK = 200
CUT, LATE = 0, -1
"""In place of a status: the connection was refused or closed; nothing came in time."""
KEPT_EVERY = 16
HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"


@dataclass(frozen=True, slots=True)
class Storm:
    """What is sent, and when.

    Attributes:
        port: on 127.0.0.1.
        requests: whole, sent over and over.
        seconds: how long.
        connections: each with one request at a time.
        rate: requests per second of all together; None: as fast as answers come.
        patience_s: an answer later than this is none.
    """

    port: int
    requests: Sequence[bytes]
    seconds: float
    connections: int
    rate: float | None = None
    patience_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request.

    Attributes:
        due: seconds since the start of the storm.
        seconds: from when it was due to the end of the answer.
        own_s: from when it was sent.
        status: of the answer, `CUT` or `LATE`.
        says_when: it has a `Retry-After`.
        number: of the request.
        body: of every sixteenth answer, to be compared.
    """

    due: float
    seconds: float
    own_s: float
    status: int
    says_when: bool
    number: int
    body: bytes | None = None


def percentile(seconds: Sequence[float], of_100: float = 99.0) -> float:
    """In milliseconds; 0 where there is nothing."""
    if not seconds:
        return 0.0
    return sorted(seconds)[min(int(len(seconds) * of_100 / 100), len(seconds) - 1)] * 1e3


def run_storm(storm: Storm) -> list[Reply]:
    """All replies, in the order they came; in this process."""
    return uvloop.run(_Storming(storm).run())


@contextmanager
def storming() -> Iterator[Callable[[Storm], Future[list[Reply]]]]:
    """What sends a storm from another process, and has its replies later."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=fresh) as pool:
        yield lambda storm: pool.submit(run_storm, storm)


@dataclass(slots=True)
class _Storming:
    storm: Storm
    replies: list[Reply] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    began: float = 0.0

    async def run(self) -> list[Reply]:
        self.began = time.perf_counter()
        await asyncio.gather(*(self._ask() for _ in range(self.storm.connections)))
        return self.replies

    async def _ask(self) -> None:
        """One connection until the storm is over."""
        storm, line = self.storm, _Line(self.storm.port)
        while True:
            number = next(self.numbers)
            now = time.perf_counter() - self.began
            due = now if storm.rate is None else number / storm.rate
            if max(due, now) >= storm.seconds:
                break
            if due > now:
                await asyncio.sleep(due - now)
            sent = time.perf_counter() - self.began
            status, says_when, body = CUT, False, b""
            try:
                async with asyncio.timeout(storm.patience_s):
                    head, body = await line.ask(storm.requests[number % len(storm.requests)])
                status, says_when = int(head[9:12]), b"\r\nretry-after:" in head.lower()
            except TimeoutError:
                status = LATE
            except OSError:
                await asyncio.sleep(0.01)
            if status in (CUT, LATE):
                line.close()
            now = time.perf_counter() - self.began
            kept = body if number % KEPT_EVERY == 0 else None
            reply = Reply(due, now - due, now - sent, status, says_when, number, kept)
            self.replies.append(reply)
        line.close()


class _Line(asyncio.Protocol):
    """A connection that is opened when it is needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._got, self._need = b"", 0

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self.port)
        self._got, self._need, self._answer = b"", 0, loop.create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(HEAD_END)
        if end < 0:
            return
        if not self._need:
            place = self._got.lower().index(LENGTH, 0, end + 2) + len(LENGTH)
            length = int(self._got[place : self._got.index(b"\r", place)])
            self._need = end + len(HEAD_END) + length
        if len(self._got) >= self._need and self._answer and not self._answer.done():
            self._answer.set_result((self._got[:end], self._got[end + len(HEAD_END) :]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())


def statuses(replies: Sequence[Reply]) -> Counter[str]:
    """How many replies were what."""
    names = {CUT: "cut", LATE: "late"}
    return Counter(names.get(reply.status, str(reply.status)) for reply in replies)
