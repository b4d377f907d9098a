"""Users of Locust that send at a constant rate, whatever the server does.

Locust's own users wait for each answer before they ask again, so that a slow server is asked less
(a closed loop, which hides the slowness: Schroeder et al., NSDI 2006). Here one user is one kind of
request with a schedule of its own: request k is due at k / rate, it is sent at that time over a
connection that is free or new, and it is late from then on.
"""

from __future__ import annotations

import http.client
import select
import socket
import time
import zlib
from urllib.parse import urlsplit

import gevent
import numpy as np
from gevent.pool import Pool
from locust import User, task
from mix import KINDS, SHARES, Ask, Served
from verdict import Record

__all__ = ["OpenLoopUser"]

MOST_AT_ONCE = 2000


class OpenLoopUser(User):
    """One kind of request at a constant rate. `Run`, set by the locustfile, says how fast."""

    abstract = True
    fixed_count = 1
    kind: str

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.served: Served = self.environment.served
        self.records: list[Record] = self.environment.records
        self.rate = SHARES[self.kind] * options.rate if self.served.answers(self.kind) else 0.0
        self.seed = (options.seed, zlib.crc32(self.kind.encode()))
        self.number, self.sending = 0, Pool(MOST_AT_ONCE)
        self.free: list[http.client.HTTPConnection] = []
        self.deadline_s = self.patience_s = options.deadline_s
        # kinds begin apart, so that their schedules do not coincide
        self.first = self.environment.began + 0.5 / max(self.rate, 1.0)

    def on_stop(self) -> None:
        """Everything sent is waited for: a server may not win by never answering."""
        self.sending.join(timeout=self.patience_s)

    @task
    def send_next(self) -> None:
        if not self.rate:
            gevent.sleep(0.2)
            return
        due = self.first + self.number / self.rate
        rng = np.random.default_rng((*self.seed, self.number))
        ask = KINDS[self.kind](self.served, rng)
        gevent.sleep(max(0.0, due - time.perf_counter()))
        self.sending.spawn(self._send, ask, due)
        self.number += 1

    def wait_time(self) -> float:
        """None: the schedule waits."""
        return 0.0

    def _send(self, ask: Ask, due: float) -> None:
        sent = time.perf_counter()
        status, body, error = self.attempt(ask)
        self.keep(self.kind, due, sent, status, len(body), error)
        self.follow(status, body)

    def follow(self, status: int, body: bytes) -> None:
        """See what comes of an answer, where that is not all."""

    def attempt(self, ask: Ask) -> tuple[int, bytes, Exception | None]:
        """Status, body, and what is wrong with them; status 0 where there was no answer."""
        try:
            status, body = self._exchange(ask)
            error = None if ask.is_right(status, body) else ValueError(f"{status} {body[:200]!r}")
        except (OSError, http.client.HTTPException, ValueError, KeyError) as failure:
            return 0, b"", failure
        return status, body, error

    def keep(
        self, kind: str, due: float, sent: float, status: int, size: int, error: Exception | None
    ) -> None:
        """Write down what became of one request; both times are of `time.perf_counter`."""
        latency, since = time.perf_counter() - due, due - self.environment.began
        self.records.append(Record(kind, since, sent - due, latency, status, error is None))
        self.environment.events.request.fire(
            request_type="GET" if kind == "result" else "POST", name=kind,
            response_time=latency * 1e3, response_length=size, exception=error, context={},
        )  # fmt: skip

    def _exchange(self, ask: Ask) -> tuple[int, bytes]:
        """Send over a connection that is free, else a new one; nothing is sent twice."""
        connection = self._free() or self._connect()
        try:
            headers = {**ask.headers, **self.environment.key_headers}
            connection.request(ask.method, ask.path, ask.body, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close or len(self.free) > 64:
            connection.close()
        else:
            self.free.append(connection)
        return answer

    def _free(self) -> http.client.HTTPConnection | None:
        """A connection that waits; not one that the server has closed, as it may when idle."""
        while self.free:
            connection = self.free.pop()
            if not _is_readable(connection.sock):
                return connection
            connection.close()
        return None

    def _connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.host or self.environment.host)
        port = address.port or 80
        return http.client.HTTPConnection(address.hostname or "", port, timeout=self.deadline_s)


def _is_readable(sock: socket.socket) -> bool:
    """Whether something came that nobody asked for: the end of the connection."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
