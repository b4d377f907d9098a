"""Constant load from strict clients, every answer of which is checked."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from faults.client import NoAnswerError, StrictClient
from faults.oracle import Oracle

__all__ = ["Event", "Load", "loading", "normal_rate", "saturation"]

CLIENTS = 6
SHARE = 0.6
MOST_PER_S = 120.0
RIGHT, WRONG, NO_TABLE = "right", "wrong", "no table"


@dataclass(frozen=True, slots=True)
class Event:
    """One request: when it was sent, how long it took, and what became of it: right, wrong, a
    status, why there was no answer, or that there is no table where only one can answer.
    """

    sent: float
    seconds: float
    what: str


class Load:
    """Clients that ask by a schedule until told to stop.

    Attributes:
        events: what became of every request.
        from_tables: answers that only a fresh table can give.

    Args:
        port: of the service, or what says it before each request.
        oracle: what is asked, and what is right.
        rate: requests per second of all clients together; None: as fast as answers come.
        may_send: asked before each request, as a load balancer asks whether a server is ready.
    """

    def __init__(
        self,
        port: int | Callable[[], int],
        oracle: Oracle,
        rate: float | None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self.port = port if callable(port) else lambda: port
        self.oracle, self.rate, self.may_send = oracle, rate, may_send
        self.events: list[Event] = []
        self.from_tables = 0
        self.stop = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def count(self, *, since: float = 0.0) -> Counter[str]:
        """How many requests became what."""
        return Counter(event.what for event in self.events if event.sent >= since)

    def slowest_s(self, since: float) -> float:
        """The longest that a right answer took."""
        took = [e.seconds for e in self.events if e.sent >= since and e.what == RIGHT]
        return max(took, default=0.0)

    def p99_ms(self, since: float, until: float = math.inf) -> float:
        """Of the right answers to what was sent in this time; 0 where there was none."""
        events = [e for e in self.events if since <= e.sent < until and e.what == RIGHT]
        took = sorted(event.seconds for event in events)
        return took[min(int(len(took) * 0.99), len(took) - 1)] * 1e3 if took else 0.0

    def answer_more(self, count: int = 20, within_s: float = 60.0) -> None:
        """Wait until so many more answers were right."""
        wanted, ends = self.count()[RIGHT] + count, time.monotonic() + within_s
        while self.count()[RIGHT] < wanted:
            assert time.monotonic() < ends, f"nobody is answered: {self.count()}"
            time.sleep(0.02)

    def _ask(self, place: int) -> None:
        client, port = StrictClient(self.port()), self.port()
        due = time.monotonic() + place / max(self.rate or 1.0, 1.0)
        while not self.stop.is_set():
            if self.rate is not None and self.stop.wait(max(0.0, due - time.monotonic())):
                break
            due = max(due, time.monotonic() - 1.0) + CLIENTS / (self.rate or 1.0)
            if not self.may_send():
                time.sleep(0.02)
                continue
            if self.port() != port:
                client.close()
                client, port = StrictClient(self.port()), self.port()
            self._ask_once(client)
        client.close()

    def _ask_once(self, client: StrictClient) -> None:
        question = self.oracle.question(next(self._numbers))
        sent = time.monotonic()
        try:
            answer = client.post(question.path, question.body)
        except NoAnswerError as failure:
            what = failure.kind
            time.sleep(0.01)
        else:
            what = str(answer.status)
            if answer.status == 200:
                what = RIGHT if self.oracle.is_right(question, answer) else WRONG
                self.from_tables += question.needs_table
            elif question.needs_table and answer.json()["code"] == "no_table":
                what = NO_TABLE
        self.events.append(Event(sent, time.monotonic() - sent, what))


def saturation(port: int, oracle: Oracle, seconds: float = 2.0) -> float:
    """Answers per second when every client asks again at once."""
    load = Load(port, oracle, None)
    load.start()
    time.sleep(seconds)
    load.end()
    return max(len(load.events) / seconds, 1.0)


def normal_rate(port: int, oracle: Oracle) -> float:
    """Requests per second under which faults are done: 60 % of what the service can bear."""
    return min(SHARE * saturation(port, oracle), MOST_PER_S)


@contextmanager
def loading(port: int, oracle: Oracle) -> Iterator[Load]:
    """The normal load, while the context lives."""
    load = Load(port, oracle, normal_rate(port, oracle))
    load.start()
    try:
        load.answer_more()
        yield load
    finally:
        load.end()
