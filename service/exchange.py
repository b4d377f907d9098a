"""One request and its answer: what both always carry.

Every answer, errors included, has an `X-Request-Id` and a `Server-Timing` with the stages
queue, sample, gather and compute (W3C Server Timing). A body is read under a limit and a clock,
before anything looks into it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import structlog
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    BodyTooLargeError,
    ClientGoneError,
    MediaTypeError,
    RequestError,
    from_validation,
    problem_body,
    problem_of,
)
from service.settings import Settings
from service.telemetry import STAGES, Telemetry
from service.tracing import Tracing

__all__ = [
    "TIMEOUT",
    "WRITE",
    "Exchange",
    "ExchangeMiddleware",
    "exchange_of",
    "header_of",
    "in_dialect",
    "json_response",
    "parse",
    "problem_response",
    "read_body",
    "read_bytes",
    "send_response",
    "timeout_ms",
    "while_connected",
]

SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
KEY = "gnn.exchange"
WRITE = "gnn.write"
"""Where the protocol offers to write a whole answer at once."""
PATIENCE_S = 0.02
"""Seconds of work after which it is worth looking whether the client is still there."""
SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
"""No browser is to guess a type or to frame an answer."""
TIMEOUT = b"x-request-timeout-ms"
CACHE = b"cache-control"
NO_STORE = [(CACHE, b"no-store")]
"""Nor to keep one, unless it says otherwise."""
SECURITY_LINES = b"".join(name + b": " + value + b"\r\n" for name, value in SECURITY + NO_STORE)
NO_TIMING = ", ".join(f"{stage};dur=0" for stage in STAGES).encode()
PROBLEM_TYPE = "application/problem+json"

log = structlog.get_logger()

ModelT = TypeVar("ModelT", bound=BaseModel)
T = TypeVar("T")


@dataclass(slots=True)
class Exchange:
    """What is known of a request while it is answered."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    batches: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, scope: Scope) -> Exchange:
        """The Exchange of a request, begun where there is none yet."""
        exchange: Exchange | None = scope.get(KEY)
        if exchange is None:
            exchange = scope[KEY] = cls(_request_id(scope))
        return exchange

    def spent(self, seconds: Mapping[str, float]) -> None:
        """Add stage times."""
        for stage, value in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + value

    def headers(self, given: Iterable[tuple[bytes, bytes]] = ()) -> list[tuple[bytes, bytes]]:
        """What every answer carries beside the headers that it is given."""
        own = [(b"x-request-id", self.request_id.encode()), (b"server-timing", self.timing)]
        return own + SECURITY + ([] if any(name == CACHE for name, _ in given) else NO_STORE)

    def lines(self) -> bytes:
        """The same headers as they cross the wire."""
        return b"x-request-id: %b\r\nserver-timing: %b\r\n%b" % (
            self.request_id.encode(),
            self.timing,
            SECURITY_LINES,
        )

    @property
    def timing(self) -> bytes:
        """Milliseconds in every stage, as `Server-Timing` has them."""
        if not self.seconds:
            return NO_TIMING
        stages = (f"{s};dur={self.seconds.get(s, 0.0) * 1e3:.3f}" for s in STAGES)
        return ", ".join(stages).encode()


class ExchangeMiddleware:
    """Gives every request its Exchange, every answer its headers, every failure its problem."""

    def __init__(
        self,
        app: ASGIApp,
        telemetry: Telemetry,
        logs_requests: bool = False,
        tracing: Tracing | None = None,
    ) -> None:
        self.app, self.telemetry, self.logs_requests = app, telemetry, logs_requests
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange.of(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], *exchange.headers(message["headers"])]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            log.error("failed", request_id=exchange.request_id, exc_info=error)
            if exchange.status:
                raise
            response = in_dialect(scope["path"], problem_response(exchange.request_id, error))
            await response(scope, receive, send_with_headers)
        finally:
            self.count(scope, exchange)

    def count(self, scope: Scope, exchange: Exchange) -> None:
        """Count an answered request."""
        route = getattr(scope.get("route"), "path_format", "unmatched")
        seconds = time.perf_counter() - exchange.started
        self.telemetry.request(route, scope["method"], exchange.status, seconds)
        if self.tracing is not None:
            self.tracing.request(
                scope, exchange.started, exchange.status, exchange.seconds, exchange.batches
            )
        if self.logs_requests:
            log.debug(
                "request",
                request_id=exchange.request_id,
                method=scope["method"],
                route=route,
                status=exchange.status,
                ms=round(seconds * 1e3, 3),
            )


def exchange_of(request: Request) -> Exchange:
    """The Exchange of a request."""
    exchange: Exchange = request.scope[KEY]
    return exchange


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that name, which is in lower case; None where there is none."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for key, value in headers:
        if key == name:
            return value
    return None


async def send_response(scope: Scope, response: Response, receive: Receive, send: Send) -> None:
    """Send an answer whose body is known: in one piece where the protocol offers it."""
    exchange: Exchange | None = scope.get(KEY)
    write = scope.get(WRITE)
    is_whole = type(response) is Response and response.background is None
    if is_whole and write is not None and exchange is not None:
        lines = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
        if write(response.status_code, lines + exchange.lines(), response.body):
            exchange.status = response.status_code
            return
    await response(scope, receive, send)


def json_response(content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON; arrays are written as lists."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json", headers=headers)


def problem_response(request_id: str, error: Exception) -> Response:
    """What a client is told of an error."""
    problem = problem_of(error)
    detail, members = f"request {request_id} failed; the log has the reason", {}
    if problem.public:
        detail, members = str(error), problem.members(error)
    elif problem.status < 500:
        detail = problem.title
    headers = dict(getattr(error, "headers", {}))
    if retry_after := getattr(error, "retry_after_s", None):
        headers["retry-after"] = str(retry_after)
    body = problem_body(problem, detail, request_id, members)
    return Response(body, problem.status, headers, PROBLEM_TYPE)


def in_dialect(path: str, response: Response) -> Response:
    """An error as the face behind this path writes it: `{"error": …}` under /v2."""
    if path != "/v2" and not path.startswith("/v2/"):
        return response
    body = orjson.dumps({"error": orjson.loads(response.body)["detail"]})
    status = 400 if response.status_code == 422 else response.status_code
    kept = {k: v for k, v in response.headers.items() if not k.startswith("content-")}
    return Response(body, status, kept, "application/json")


async def read_body(request: Request, settings: Settings) -> bytes:
    """The body, once it is whole.

    Raises:
        MediaTypeError: it is not plain JSON.
        BodyTooLargeError: it is over the limit, or says that it will be.
        ClientGoneError: the client left, or the protocol gave up on a body that came too slowly.
    """
    given = header_of(request.scope, b"content-type") or b""
    kind, _, parameters = given.decode("latin-1").partition(";")
    if kind.strip().lower() != "application/json" or not _is_utf8(parameters):
        raise MediaTypeError("the body must be application/json in UTF-8; say so in Content-Type")
    return await read_bytes(request, settings)


async def read_bytes(request: Request, settings: Settings) -> bytes:
    """The body of any type, once it is whole.

    Raises:
        MediaTypeError: it is compressed.
        BodyTooLargeError, ClientGoneError: as `read_body`.
    """
    _check_headers(request, settings.max_body_bytes)
    return await _whole(request, settings.max_body_bytes)


def parse(model: type[ModelT], body: bytes) -> ModelT:
    """A request from its body.

    Raises:
        MalformedJsonError, LimitError, RequestError: it does not fit.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise from_validation(error) from None


def timeout_ms(request: Request, settings: Settings) -> float:
    """Milliseconds until the answer is given up: the setting, or less where the client says so.

    Raises:
        RequestError: the header is not a whole number from 0.
    """
    header = header_of(request.scope, TIMEOUT)
    if header is None:
        return settings.request_timeout_ms
    given = header.decode("latin-1")
    if not re.fullmatch(r"[0-9]+", given):
        raise RequestError("X-Request-Timeout-Ms: give a whole number of milliseconds, 0 or more")
    # what has more digits than 12 is over every setting, with its first 12 as with all
    return min(int(given.lstrip("0")[:12] or "0"), settings.request_timeout_ms)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves.

    Work that is soon done is not watched over: that would cost more than the work.

    Raises:
        ClientGoneError: the client left first.
    """
    watch = _Watch(request)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.has_left and watch.task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        watch.end()


class _Watch:
    """Cancels the current task when the client leaves, from `PATIENCE_S` on."""

    def __init__(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        self.task, self.request, self.has_left = task, request, False
        self._looking: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PATIENCE_S, self._look)

    def end(self) -> None:
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = asyncio.create_task(_left(self.request))
        self._looking.add_done_callback(self._leave)

    def _leave(self, looking: asyncio.Task[None]) -> None:
        if not looking.cancelled() and looking.exception() is None:
            self.has_left = True
            self.task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)


def _check_headers(request: Request, limit: int) -> None:
    encoding = header_of(request.scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        raise MediaTypeError("the body is compressed; send it plain")
    length = header_of(request.scope, b"content-length") or b""
    if length.isdigit() and int(length) > limit:
        raise BodyTooLargeError(limit, int(length))


def _is_utf8(parameters: str) -> bool:
    name, _, value = parameters.partition("=")
    charset = value.strip().strip('"').lower()
    return name.strip().lower() != "charset" or charset in ("utf-8", "utf8", "us-ascii")


async def _whole(request: Request, limit: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLargeError(limit, size)
        more = message.get("more_body", False)
    return b"".join(parts)
