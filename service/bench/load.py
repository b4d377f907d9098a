"""The load of `gnn bench serve`: HTTP requests over raw sockets, from a process of its own.

A closed load keeps a number of connections busy: each sends its next request when it has its
answer. An open load sends at the times of a Poisson process whatever the server does, and counts
a request's time from when it was due, so that one that had to wait for a connection is not
forgotten (Schroeder, Wierman, Harchol-Balter, NSDI 2006). Requests are made before the clock
starts and of answers only status and length are read, so that the load costs little; `busy` says
how much of its core it took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import orjson
import uvloop

__all__ = ["LoadJob", "Phase", "as_line", "requests_of", "run_load"]

PREPARED = 20_000
PREPARED_IDS = 2_000_000
HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
OK = 200


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time: closed where `rate` is None, else open at `rate` requests per second."""

    seconds: float
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class LoadJob:
    """What is sent, and when.

    Attributes:
        port: on 127.0.0.1.
        phases: one after the other, without a pause.
        connections: opened at the beginning and kept.
        path: of the POST.
        body: the JSON object, without its nodes.
        num_nodes: ids are drawn from 0 to this.
        ids: in one request.
        zipf: exponent of the law that ids are drawn by; 0 is uniform.
        seed: of ids and times.
    """

    port: int
    phases: list[Phase]
    connections: int = 16
    path: str = "/v1/nodes/predict"
    body: dict[str, Any] = field(default_factory=dict)
    num_nodes: int = 1
    ids: int = 1
    zipf: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class _Seen:
    """What came of the requests of one phase."""

    due: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)


def requests_of(job: LoadJob) -> list[bytes]:
    """Whole requests, to be sent over and over."""
    count = max(1, min(PREPARED, PREPARED_IDS // job.ids))
    random = np.random.default_rng(job.seed)
    nodes = _drawn(random, job, count * job.ids).reshape(count, job.ids)
    head = f"POST {job.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    requests = []
    for row in nodes.tolist():
        body = orjson.dumps({"nodes": row, **job.body})
        requests.append(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return requests


def _drawn(random: np.random.Generator, job: LoadJob, count: int) -> Any:
    if not job.zipf:
        return random.integers(0, job.num_nodes, count)
    weights = np.arange(1, job.num_nodes + 1, dtype=np.float64) ** -job.zipf
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(count))
    return random.permutation(job.num_nodes)[np.minimum(ranks, job.num_nodes - 1)]


class _Connection(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, on_answer: Callable[[_Connection, int], None]) -> None:
        self.on_answer = on_answer
        self.transport: Any = None
        self.due, self.seen = 0.0, _Seen()
        self._buffer, self._need = b"", 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._need:
            end = self._buffer.find(HEAD_END)
            if end < 0:
                return
            place = self._buffer.lower().index(LENGTH, 0, end + 2) + len(LENGTH)
            length = int(self._buffer[place : self._buffer.index(b"\r", place)])
            self._need = end + len(HEAD_END) + length
        if len(self._buffer) >= self._need:
            status = int(self._buffer[9:12])
            self._buffer, self._need = b"", 0
            self.on_answer(self, status)

    def send(self, request: bytes, due: float, seen: _Seen) -> None:
        self.due, self.seen = due, seen
        self.transport.write(request)


class _Load:
    """Runs the phases of one job."""

    def __init__(self, job: LoadJob) -> None:
        self.job, self.requests, self.number = job, requests_of(job), 0
        self.idle: deque[_Connection] = deque()
        self.backlog: deque[tuple[float, _Seen]] = deque()
        self.is_closed, self.seen, self.under_way = False, _Seen(), 0
        self.random = np.random.default_rng((job.seed, 1))
        self.lost = 0

    async def run(self) -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        for _ in range(self.job.connections):
            _, connection = await loop.create_connection(
                lambda: _Connection(self._answered), "127.0.0.1", self.job.port
            )
            self.idle.append(connection)
        reports = [await self._phase(phase) for phase in self.job.phases]
        deadline = time.perf_counter() + 5
        while self.under_way and time.perf_counter() < deadline:
            await asyncio.sleep(0.005)
        for connection in self.idle:
            connection.transport.close()
        return [_report(seen, *times) for seen, times in reports]

    async def _phase(self, phase: Phase) -> Any:
        self.seen = seen = _Seen()
        cpu, started = time.process_time(), time.perf_counter()
        end = started + phase.seconds
        if phase.rate is None:
            self.is_closed = True
            while self.idle:
                self._send(self.idle.popleft(), time.perf_counter(), seen)
            await asyncio.sleep(phase.seconds)
            self.is_closed = False
        else:
            await self._at_rate(phase.rate, started, end, seen)
        took = time.perf_counter() - started
        return seen, (started, took, (time.process_time() - cpu) / took)

    async def _at_rate(self, rate: float, started: float, end: float, seen: _Seen) -> None:
        count = int(rate * (end - started) * 1.2) + 100
        due = started + np.cumsum(self.random.exponential(1 / rate, count))
        for moment in due[due < end].tolist():
            ahead = moment - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            if self.idle:
                self._send(self.idle.popleft(), moment, seen)
            else:
                self.backlog.append((moment, seen))
        await asyncio.sleep(max(0.0, end - time.perf_counter()))

    def _send(self, connection: _Connection, due: float, seen: _Seen) -> None:
        request = self.requests[self.number % len(self.requests)]
        self.number += 1
        self.under_way += 1
        connection.send(request, due, seen)

    def _answered(self, connection: _Connection, status: int) -> None:
        now, seen = time.perf_counter(), connection.seen
        seen.due.append(connection.due)
        seen.ms.append((now - connection.due) * 1e3)
        seen.status.append(status)
        self.under_way -= 1
        if self.is_closed:
            self._send(connection, now, self.seen)
        elif self.backlog:
            self._send(connection, *self.backlog.popleft())
        else:
            self.idle.append(connection)


def _report(seen: _Seen, started: float, took: float, busy: float) -> dict[str, Any]:
    """Counts and times of a phase; `recovered_s` is when the last refusal or late answer was due.

    Late is above 10 ms.
    """
    ms, status, due = (np.asarray(values) for values in (seen.ms, seen.status, seen.due))
    ok, refused = status == OK, status == 503
    wrong = (~ok) | (ms > 10.0)
    return {
        "requests": len(ms),
        "rate": float(ok.sum()) / took,
        "failed": int((~ok & ~refused).sum()),
        "refused": int(refused.sum()),
        "ms": _spread(ms[ok]),
        "refused_ms": _spread(ms[refused]),
        "recovered_s": float((due[wrong] - started).max()) if wrong.any() else 0.0,
        "busy": busy,
    }


def _spread(ms: Any) -> dict[str, float]:
    if not len(ms):
        return {}
    p50, p99 = np.percentile(ms, [50, 99]).tolist()
    return {"p50": p50, "p99": p99, "max": float(ms.max())}


def run_load(job: LoadJob) -> list[dict[str, Any]]:
    """A report for every phase."""
    return uvloop.run(_Load(job).run())


def _main(lines: Sequence[str] | Any) -> None:
    for line in lines:
        given = json.loads(line)
        given["phases"] = [Phase(**phase) for phase in given["phases"]]
        print(json.dumps(run_load(LoadJob(**given))), flush=True)


def as_line(job: LoadJob) -> str:
    """The job as a line for the process."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    _main(sys.stdin)
