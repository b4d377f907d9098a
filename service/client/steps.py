"""One request as steps, and how httpx sends them: what both clients share."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from gnn.errors import MissingPackageError
from service.errors import ClientError

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Send",
    "Sleep",
    "Steps",
    "call",
    "check_lost",
    "client_headers",
    "httpx_module",
    "request_of",
]

T = TypeVar("T")

TIMEOUT = {"code": "timeout", "detail": "no answer within timeout_s; give more, or ask for less"}
UNREACHABLE = {"detail": "the server cannot be reached; is the address right?"}
LOST = {
    "code": "lost",
    "detail": "the connection broke before the answer came; look at jobs() before submitting again",
}
REMEDY = "install it with `pip install httpx`"
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Send:
    """One request.

    Attributes:
        method: of HTTP.
        path: with its query.
        body: JSON.
        accept: what the answer should be.
        once: whether doing it twice would be wrong.
        sink: where the content goes that is answered; it goes on behind what is there already.
    """

    method: str
    path: str
    body: dict[str, Any] | None = None
    accept: str = "application/json"
    once: bool = False
    sink: BinaryIO | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Some seconds of nothing."""

    seconds: float


Steps = Generator[Send | Sleep, Any, T]


def call(request: Send, retries: int) -> Steps[Any]:
    """The answer of one request, tried again where that may help.

    Attempts are counted anew whenever a download has come further.

    Raises:
        ClientError: the server refused, or could not be reached.
    """
    attempt = had = 0
    while True:
        response = yield request
        if response is not None and response.status_code < 400:
            return response
        attempt, had = (0, _received(request)) if _received(request) > had else (attempt, had)
        may_help = response is None or response.status_code == 503
        if not may_help or attempt == retries:
            raise _error(response)
        yield Sleep(_wait_s(attempt, response))
        attempt += 1


def request_of(http: Any, step: Send) -> Any:
    """The httpx request of a step."""
    headers = {"accept": step.accept}
    if _received(step):
        headers["range"] = f"bytes={_received(step)}-"
    return http.build_request(step.method, step.path, json=step.body, headers=headers)


def check_lost(step: Send, error: Exception) -> None:
    """Raise where a request that had no answer must not be sent again.

    Raises:
        ClientError: it took too long, or it may have arrived and must not arrive twice.
    """
    httpx = httpx_module()
    if isinstance(error, httpx.TimeoutException):
        raise ClientError(0, TIMEOUT) from None
    if step.once and not isinstance(error, httpx.ConnectError):
        raise ClientError(0, LOST) from None


def client_headers(api_key: str | None) -> dict[str, str]:
    """What every request carries."""
    return {} if api_key is None else {"authorization": f"Bearer {api_key}"}


def httpx_module() -> Any:
    """The package that sends.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import httpx
    except ImportError as error:
        raise MissingPackageError("httpx", error, REMEDY) from error
    return httpx


def _received(request: Send) -> int:
    return 0 if request.sink is None else request.sink.tell()


def _wait_s(attempt: int, response: httpx.Response | None) -> float:
    """Seconds before the next attempt."""
    said = "" if response is None else response.headers.get("retry-after", "")
    least = float(said) if said.isascii() and said.isdigit() else FIRST_WAIT_S * 2**attempt
    return min(least, LONGEST_WAIT_S) * (1 + random.random() / 4)  # noqa: S311 - no secret


def _error(response: httpx.Response | None) -> ClientError:
    if response is None:
        return ClientError(0, UNREACHABLE)
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    return ClientError(response.status_code, problem if isinstance(problem, dict) else {})
