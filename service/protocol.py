"""HTTP/1.1 with a clock on every phase: no client may hold a connection by being slow.

uvicorn's protocol waits for headers and bodies for ever. This one gives each phase a deadline
that bytes do not extend: idle and headers `header_timeout_s`, body `body_timeout_s` (answered
with 408), an unread answer `write_timeout_s`. It also bounds the header section, by what has been
parsed of it as by what has arrived. What is refused here, before there is a request to answer,
gets a problem document like any other error.

uvicorn also closes, when the server leaves, what no request has arrived on as a whole. Here a
request that is on its way is still answered, with `Connection: close`.

The limits come with the lifespan state, under `"settings"`.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import PROBLEMS, BodyTimeoutError, OverloadedError, Problem, problem_body
from service.exchange import WRITE, Exchange
from service.gate import Gate
from service.lane import GATE
from service.settings import Settings

__all__ = ["GuardedProtocol"]

IDLE, HEADERS, BODY = range(3)
LEAVE_S = 0.5
"""Seconds in which an idle connection may still ask once the server leaves."""
SEPARATORS = len(b": \r\n")
BAD_HTTP = Problem(400, "malformed_http", "The request is not HTTP/1.1")
LARGE_HEADERS = Problem(431, "headers_too_large", "The headers are over the limit")
REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
}


class _TooLargeError(Exception):
    """Makes the parser stop; `send_400_response` answers."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A request that comes in one piece costs no timer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits: Settings = self.app_state["settings"]
        self._clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None
        self._phase, self._messages = IDLE, 0
        self._clocked = (0, IDLE)
        self._parsed_bytes = self._arrived_bytes = self._num_headers = 0
        self._leaves = False
        self._gate: Gate | None = self.app_state.get("gate")
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self._limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._stop_write_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = (self._messages, self._phase)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if before in ((self._messages, HEADERS), (self._messages - 1, IDLE)):
            self._arrived_bytes += len(data)
        if self._phase == HEADERS and self._arrived_bytes > self._limits.max_header_bytes:
            self._refuse_headers()
        else:
            self._set_clock()

    def on_message_begin(self) -> None:
        self._phase, self._parsed_bytes, self._arrived_bytes = HEADERS, 0, 0
        self._num_headers = 0
        self._messages += 1
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._num_headers += 1
        self._count(len(name) + len(value) + SEPARATORS)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._phase = BODY
        starts, self._is_refused = self._is_idle, not self._let_in()
        if self._is_refused:
            if self.expect_100_continue:
                self._turn_away()
                self.transport.close()
            return
        super().on_headers_complete()
        offer: Any = self.scope
        offer[WRITE] = partial(self._write_whole, self.cycle)
        if self._leaves:
            self.cycle.keep_alive = False
        if starts and self._gate is not None and self._gate.guards(offer):
            offer[GATE] = self._gate
            self._gate.enter()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = IDLE
        if self._is_refused:
            self._turn_away()
        else:
            super().on_message_complete()

    def shutdown(self) -> None:
        self._leaves = True
        if self._is_idle:
            self.loop.call_later(LEAVE_S, self._leave)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_write_clock()
        self._write_clock = self.loop.call_later(self._limits.write_timeout_s, self._abort)

    def resume_writing(self) -> None:
        self._stop_write_clock()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        if self.transport.is_closing():
            return
        if self._has_large_headers:
            self._refuse_headers()
        else:
            self._refuse(BAD_HTTP, "the request could not be parsed as HTTP/1.1")

    def _let_in(self) -> bool:
        """Whether there is room for the request whose headers are complete.

        One that is pipelined behind another is not counted: it may never be started.
        """
        gate = self._gate
        if gate is None or gate.admits() or not self._is_idle:
            return True
        path = self.url.partition(b"?")[0].decode("latin-1")
        return not gate.guards({"method": self.parser.get_method().decode(), "path": path})

    def _turn_away(self) -> None:
        """Answer that there is no room; the connection stays."""
        gate = self._gate
        assert gate is not None, "only a gate refuses"
        error = OverloadedError(gate.under_way, int(gate.limit), 1)
        exchange, problem = Exchange.of({"headers": self.headers}), PROBLEMS[OverloadedError]
        body = problem_body(problem, str(error), exchange.request_id, problem.members(error))
        lines = b"%bcontent-type: application/problem+json\r\ncontent-length: %d\r\n" % (
            b"retry-after: 1\r\n",
            len(body),
        )
        stays = self.parser.should_keep_alive()
        ending = b"\r\n" if stays else b"connection: close\r\n\r\n"
        head = STATUS_LINE[problem.status] + lines + exchange.lines() + ending
        self.transport.write(head + body)
        if not stays:
            self.transport.close()
        gate.on_refused(self.url.partition(b"?")[0].decode("latin-1"))

    def _write_whole(self, cycle: Any, status: int, lines: bytes, body: bytes) -> bool:
        """Write an answer in one piece, past the checks of each header: these are our own.

        Args:
            cycle: the request that is answered.
            status: HTTP status.
            lines: headers as they cross the wire, Content-Length among them.
            body: all of it.

        Returns:
            Whether it was written; where not, the usual way is open.
        """
        usual = cycle.response_started or cycle.disconnected or self.flow.write_paused
        if usual or self.transport.is_closing() or cycle.scope["method"] == "HEAD":
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        own = b"".join(b"%b: %b\r\n" % header for header in cycle.default_headers)
        ending = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], own, lines, ending, body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _count(self, num_bytes: int) -> None:
        self._parsed_bytes += num_bytes
        if self._has_large_headers:
            raise _TooLargeError

    def _refuse_headers(self) -> None:
        limits = self._limits
        most = f"{limits.max_header_bytes} bytes or {limits.max_headers} fields"
        self._refuse(LARGE_HEADERS, f"the address and headers exceed {most}; send fewer")

    @property
    def _has_large_headers(self) -> bool:
        limits = self._limits
        too_long = self._parsed_bytes > limits.max_header_bytes
        return too_long or self._num_headers > limits.max_headers

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, problem: Problem, detail: str) -> None:
        """Answer and close, unless an answer is on its way already."""
        exchange = Exchange(secrets.token_hex(8))
        body = problem_body(problem, detail, exchange.request_id)
        head = [
            f"HTTP/1.1 {problem.status} {REASONS[problem.status]}".encode(),
            b"content-type: application/problem+json",
            f"content-length: {len(body)}".encode(),
            b"connection: close",
            *(name + b": " + value for name, value in exchange.headers()),
        ]
        self._disarm()
        if self._is_idle or not self.cycle.response_started:
            self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        self.transport.close()

    def _set_clock(self) -> None:
        """One deadline per phase of a message: more bytes of the same phase do not move it."""
        now = (self._messages, self._phase)
        if self._phase == IDLE and not self._is_idle:
            self._disarm()
        elif now != self._clocked or self._clock is None:
            slow = self._phase == BODY
            self._arm(self._limits.body_timeout_s if slow else self._limits.header_timeout_s)
        self._clocked = now

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._clock = self.loop.call_later(seconds, self._expire, seconds)

    def _disarm(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _stop_write_clock(self) -> None:
        if self._write_clock is not None:
            self._write_clock.cancel()
            self._write_clock = None

    def _expire(self, seconds: float) -> None:
        """Out of time, unless this is a pipelined request that waits for the one before it."""
        self._clock = None
        if self._phase == HEADERS and not self._is_idle:
            self._arm(seconds)
        elif self._phase == BODY and not self._is_idle:
            self._refuse(PROBLEMS[BodyTimeoutError], str(BodyTimeoutError(seconds)))
        else:
            self._abort()

    def _leave(self) -> None:
        """Nobody asks any more; headers that have begun have their own clock."""
        if self._is_idle and self._phase == IDLE:
            self.transport.close()

    def _abort(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
