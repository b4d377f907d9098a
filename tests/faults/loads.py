"""L1 to L4, L7, L8: as much as it bears, more than that, and connections in great numbers.

What is right is compared on every sixteenth answer; every status and every time counts.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from faults.client import Answer, NoAnswerError, StrictClient
from faults.oracle import Oracle, Question
from faults.outcome import Outcome, Target
from faults.processes import Service, service
from faults.storm import OK, Reply, Storm, percentile, statuses, storming
from faults.worlds import World

__all__ = ["connection_storm", "held_connections", "mixed_sizes", "overload", "saturate", "steady"]

Send = Callable[[Storm], Future[list[Reply]]]

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SLOW_MS = 250.0
QUESTIONS = 400
REFUSALS = (429, 503)
HELD = 5000
BIG = 1000
WATCHED_S = 7.0
"""After an overload; more than it may take to be normal again."""
UNCACHED: dict[str, Any] = {"cache_bytes": 0, "hidden_cache_bytes": 0}


class _Asking:
    """A service, what it is asked, and who asks."""

    def __init__(self, api: Service, oracle: Oracle, send: Send, size: int | None = 1) -> None:
        self.api, self.send = api, send
        self.questions = [oracle.question(number, size) for number in range(QUESTIONS)]
        self.oracle, self.requests = oracle, [_request(q) for q in self.questions]

    def storm(self, seconds: float, connections: int, rate: float | None = None) -> Storm:
        return Storm(self.api.port, self.requests, seconds, connections, rate)

    def replies(self, seconds: float, connections: int, rate: float | None = None) -> list[Reply]:
        """What came of a storm."""
        return self.send(self.storm(seconds, connections, rate)).result()

    def count(self, done: Outcome, replies: Sequence[Reply]) -> None:
        """Add them to what came of it all."""
        for reply in replies:
            if reply.status == OK and reply.body is not None:
                question = self.questions[reply.number % QUESTIONS]
                done.wrong += not self.oracle.is_right(question, Answer(OK, {}, reply.body))
        found = statuses(replies)
        done.answers += found.pop(str(OK), 0)
        done.failed += found

    def curve(self, step_s: float, done: Outcome) -> list[tuple[int, float, float]]:
        """Connections, answers per second and p99 of ever more connections, until it is slow."""
        found = []
        for connections in STEPS:
            replies = self.replies(step_s, connections)
            self.count(done, replies)
            p99 = percentile([reply.seconds for reply in replies])
            if found and (p99 > SLOW_MS or any(reply.status != OK for reply in replies)):
                break
            found.append((connections, len(_good(replies)) / step_s, p99))
        return found

    def saturation(self, step_s: float, done: Outcome) -> float:
        """Answers per second at most."""
        return max(rate for _, rate, _ in self.curve(step_s, done))


def _good(replies: Sequence[Reply]) -> list[Reply]:
    return [reply for reply in replies if reply.status == OK]


def _p99(replies: Sequence[Reply]) -> float:
    return percentile([reply.seconds for reply in _good(replies)])


def _request(question: Question) -> bytes:
    head = f"POST {question.path} HTTP/1.1\r\nhost: faults\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(question.body)}\r\n\r\n".encode() + question.body


@contextmanager
def _asking(world: World, folder: Path, size: int | None = 1, **given: Any) -> Iterator[_Asking]:
    with service(world, folder, **given) as api, storming() as send:
        yield _Asking(api, Oracle(world, "mixed"), send, size)


def _step_s(seconds: int) -> float:
    """How long each step takes that looks for the saturation, before so long a load."""
    return min(max(seconds / 60, 0.3), 10.0)


def saturate(world: World, folder: Path, seconds: int) -> Outcome:
    """L1: answers per second by number of connections, until p99 is over 250 ms."""
    done, curves = (
        Outcome("L1", f"closed loop of 1 to {STEPS[-1]} connections, {seconds} s each"),
        [],
    )
    for workers in (1, 2):
        for cached in (True, False):
            place = folder / f"{workers}-{cached}"
            place.mkdir()
            given = {} if cached else UNCACHED
            with _asking(world, place, workers=workers, **given) as asking:
                asking.replies(1.0, 8)  # fills the cache
                curve = asking.curve(float(seconds), done)
            curves.append(_best(f"{workers} × {'' if cached else 'un'}cached", curve))
    done.note = "; ".join(curves)
    done.allowed = {"503": 10**9, "504": 10**9, "late": 10**9}
    return done


def _best(name: str, curve: Sequence[tuple[int, float, float]]) -> str:
    connections, rate, p99 = max(curve, key=lambda step: step[1])
    return f"{name} {rate:,.0f}/s of {connections} connections, p99 {p99:.0f} ms"


def steady(world: World, folder: Path, seconds: int) -> Outcome:
    """L2: 80 % of saturation from 256 connections; nothing fails, and p99 stays in reach of that
    at 20 %.
    """
    done = Outcome("L2", f"80 % of saturation from 256 connections for {seconds} s",
                   allowed={"503": 10**9, "504": 10**9, "late": 10**9})  # fmt: skip
    short = _step_s(seconds)
    with _asking(world, folder, **UNCACHED) as asking:
        full = asking.saturation(short, Outcome("", ""))
        calm = asking.replies(3 * short, 256, 0.2 * full)
        replies = asking.replies(seconds, 256, 0.8 * full)
    asking.count(done, calm)
    asking.count(done, replies)
    failures = len(replies) - len(_good(replies))
    done.targets = [
        Target("failed", failures, 0),
        Target("p99", _p99(replies), 3 * _p99(calm), "ms"),
    ]
    done.note = f"saturation {full:,.0f}/s"
    return done


class _Health:
    """Asks for health all the time, each time on a connection of its own."""

    def __init__(self, api: Service) -> None:
        self.api, self.took, self.stop = api, list[float](), threading.Event()
        self.failed = 0
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> _Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self.stop.wait(0.05):
            began = time.perf_counter()
            try:
                self.failed += self.api.get("/health/live").status != OK
            except NoAnswerError:
                self.failed += 1
            self.took.append(time.perf_counter() - began)


def overload(world: World, folder: Path, seconds: int) -> Outcome:
    """L3: three times what it bears, from 1,000 connections: it goes on at its rate, refuses the
    rest at once and politely, and is itself again soon after.
    """
    done = Outcome("L3", f"300 % of saturation from 1,000 connections for {seconds} s",
                   allowed={"429": 10**9, "503": 10**9, "504": 10**9, "late": 10**9})  # fmt: skip
    short = _step_s(seconds)
    with _asking(world, folder, max_delay_ms=100.0, **UNCACHED) as asking:
        full = asking.saturation(short, Outcome("", ""))
        calm = asking.replies(3 * short, 64, 0.2 * full)
        with _Health(asking.api) as health:
            replies = asking.replies(seconds, 1000, 3 * full)
        after = asking.replies(WATCHED_S, 64, 0.2 * full)
    for part in (calm, replies, after):
        asking.count(done, part)
    refused = [reply for reply in replies if reply.status in REFUSALS]
    impolite = sum(not reply.says_when for reply in refused)
    if impolite:
        done.failed["refusals without Retry-After"] = impolite
    done.recovery_s, done.recovery_limit_s = _normal_again(after, max(3 * _p99(calm), 50.0)), 5.0
    others = len(replies) - len(_good(replies)) - len(refused)
    done.targets = [
        Target("goodput", 100 * len(_good(replies)) / seconds / full, 90, "%", at_least=True),
        Target("neither answered nor refused", others, 0),
        Target("median refusal", percentile([reply.own_s for reply in refused], 50), 50, "ms"),
        Target("health p99", percentile(health.took), 250, "ms"),
        Target("health failed", health.failed, 0),
    ]
    offered = len(replies) / seconds / full
    done.note = f"saturation {full:,.0f}/s, offered {100 * offered:.0f} %, {len(refused):,} refused"
    return done


def _normal_again(replies: Sequence[Reply], normal_ms: float) -> float:
    """The end of the last second in which something failed, or p99 was not normal."""
    last = 0.0
    for second in range(int(max((reply.due for reply in replies), default=0.0)) + 1):
        part = [reply for reply in replies if second <= reply.due < second + 1]
        if len(_good(part)) < len(part) or _p99(part) > normal_ms:
            last = second + 1.0
    return last


def held_connections(world: World, folder: Path, seconds: int) -> Outcome:
    """L4: thousands of connections that are kept alive and idle, and half load beside them."""
    done = Outcome("L4", f"{HELD:,} connections held, 50 % load beside them for {seconds} s")
    given = {**UNCACHED, "header_timeout_s": 3600.0}
    with _asking(world, folder, **given) as asking:
        full = asking.saturation(_step_s(seconds), Outcome("", ""))
        before = _held_bytes(asking.api)
        held = _hold(asking.api, HELD)
        try:
            each = (_held_bytes(asking.api) - before) / len(held)
            asking.count(done, asking.replies(seconds, 64, 0.5 * full))
            dead = sum(not _answers(client) for client in held)
        finally:
            for client in held:
                client.close()
    done.targets = [
        Target("a connection", each / 1024, 16, "KB"),
        Target("held connections that died", dead, 0),
    ]
    return done


def _hold(api: Service, count: int) -> list[StrictClient]:
    """Connections that have had one answer each."""
    held = [StrictClient(api.port, 30.0) for _ in range(count)]
    silent = sum(not _answers(client) for client in held)
    assert not silent, f"{silent} connections that were to be held were not answered"
    return held


def _answers(client: StrictClient) -> bool:
    """Whether the connection as it is, or a first one, is answered."""
    try:
        return client.get("/health/live").status == OK
    except NoAnswerError:
        return False


def _held_bytes(api: Service) -> int:
    return sum(process.memory_full_info().pss for process in api.workers())


def connection_storm(world: World, folder: Path, count: int) -> Outcome:
    """L7: connect and close, again and again, with and without a request between."""
    done = Outcome("L7", f"{count:,} times connected and closed, every second time with a request")
    slowest = 0.0
    with service(world, folder) as api:
        assert api.get("/health/live").status == OK
        before = _settled(api)
        for number in range(count):
            began = time.perf_counter()
            if number % 2:
                done.failed["unanswered"] += not _asked_once(api)
            else:
                socket.create_connection(("127.0.0.1", api.port), timeout=30).close()
            slowest = max(slowest, time.perf_counter() - began)
        left = _left_over(api, before)
    done.answers = count // 2 - done.failed["unanswered"]
    done.failed["file descriptors leaked"] = left
    done.failed = +done.failed
    done.targets = [Target("slowest", slowest, 1, "s"), Target("descriptors left", left, 0)]
    return done


def _asked_once(api: Service) -> bool:
    try:
        return bool(api.get("/health/live").status == OK)
    except NoAnswerError:
        return False


def _handles(workers: Sequence[psutil.Process]) -> int:
    return sum(worker.num_fds() for worker in workers)


def _settled(api: Service) -> int:
    """File descriptors, once connections of before have gone."""
    before, now = -1, _handles(api.workers())
    while now != before:
        time.sleep(0.3)
        before, now = now, _handles(api.workers())
    return now


def _left_over(api: Service, before: int, within_s: float = 10.0) -> int:
    """File descriptors more than before, once the last connections have gone."""
    ends = time.monotonic() + within_s
    while (left := _handles(api.workers()) - before) > 0 and time.monotonic() < ends:
        time.sleep(0.1)
    return max(left, 0)


def mixed_sizes(world: World, folder: Path, seconds: int) -> Outcome:
    """L8: requests of one id, alone and beside requests of a thousand at half of what it bears."""
    done = Outcome("L8", f"one id beside requests of {BIG:,} ids, {seconds} s each")
    with _asking(world, folder, **UNCACHED) as small:
        large = _Asking(small.api, small.oracle, small.send, BIG)
        full = large.saturation(min(max(seconds / 10, 0.3), 5.0), Outcome("", ""))
        alone = small.replies(seconds, 8, 50.0)
        beside = small.send(small.storm(seconds, 8, 50.0))
        many = large.replies(seconds, 16, full / 2)
        few = beside.result()
    for asking, replies in ((small, alone), (small, few), (large, many)):
        asking.count(done, replies)
    done.targets = [Target("p99 of one id", _p99(few), 2 * _p99(alone), "ms")]
    done.note = f"{len(many) / seconds:.0f} large requests a second, their p99 {_p99(many):.0f} ms"
    return done
