"""Who may call what: every route is closed, unless its endpoint says that it is open.

The check stands around the route, behind the router: it sees which endpoint was matched, and no
path is ever compared as text. A route needs `read` for GET and `predict` for other methods; an
endpoint marked with `needs` says otherwise. Without keys no route is touched but those of the scope
`admin`, which are then closed to all unless a setting opens them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn, TypeVar, cast

from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import (
    ForbiddenError,
    NoKeysError,
    TooManyWrongKeysError,
    UnauthorizedError,
)
from service.keys import ApiKey
from service.live_keys import KeyMetrics, LiveKeys, WrongKeys
from service.settings import Settings

__all__ = ["close_routes", "describe_access", "key_of", "keys_of", "needs"]

Need = Literal["read", "predict", "admin", "metrics"] | None
EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

BEARER = b"bearer "
MOST_BYTES = 256


def needs(scope: Need) -> Callable[[EndpointT], EndpointT]:
    """Marks an endpoint with the scope that opens it; None leaves it open to all.

    `metrics` is open or needs `read`, as the settings say.
    """

    def mark(endpoint: EndpointT) -> EndpointT:
        endpoint.scope = scope  # type: ignore[attr-defined]  # read where keys are checked
        return endpoint

    return mark


def keys_of(settings: Settings) -> LiveKeys | None:
    """The keys that are set, or None where anyone may call.

    Raises:
        InputError: the keys cannot be read, or there is none where there should be.
    """
    if settings.api_keys_file is not None:
        return LiveKeys.open(settings.api_keys_file)
    if settings.api_keys is not None:
        return LiveKeys(settings.api_keys.replace(";", "\n"), "GNN_API_KEYS")
    return None


def key_of(request: Request, keys: LiveKeys) -> ApiKey | None:
    """The valid key that came with a request, or None."""
    return _find(request.scope["headers"], keys)


def close_routes(
    app: FastAPI, keys: LiveKeys | None, settings: Settings, metrics: KeyMetrics
) -> None:
    """Put the check around all routes that there are by now."""
    wrong = WrongKeys(settings.wrong_keys_per_minute)
    for route in app.routes:
        need, guarded = _need(app, route, settings), cast(Any, route)
        if need is not None and keys is not None:
            guarded.app = _Guard(guarded.app, keys, need, wrong, metrics)
        elif need == "admin":
            guarded.app = _NoPages(guarded.app) if settings.open_admin else _Closed(need)


def describe_access(app: FastAPI, document: dict[str, Any], settings: Settings) -> None:
    """Say in the OpenAPI document which operations need a key."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for route in app.routes:
        need = _need(app, route, settings)
        path = getattr(route, "path_format", "")
        operations = document["paths"].get(path, {})
        for method in getattr(route, "methods", None) or ():
            if need is not None and method.lower() in operations:
                operation = operations[method.lower()]
                operation["security"] = [{"bearer": []}, {"header": []}]
                operation["responses"] |= _refusals(path)
                operation["x-scope"] = need


def _refusals(path: str) -> dict[str, dict[str, Any]]:
    """What keys refuse; under `/v2` in the form of its protocol."""
    is_v2 = path.split("/")[1] == "v2"
    media, schema = ("json", "ErrorBody") if is_v2 else ("problem+json", "ProblemResponse")
    content = {f"application/{media}": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        "401": {"description": "No valid key came with the request.", "content": content},
        "403": {"description": "The key has not the scope.", "content": content},
        "429": {"description": "Too many wrong keys, or jobs; see Retry-After.",
                "content": content},
    }  # fmt: skip


class _Guard:
    """One route behind its scope."""

    def __init__(
        self, app: ASGIApp, keys: LiveKeys, need: str, wrong: WrongKeys, metrics: KeyMetrics
    ) -> None:
        self.app, self.keys, self.need, self.wrong, self.metrics = app, keys, need, wrong, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _find(scope["headers"], self.keys)
        if key is None:
            self._refuse(scope)
        elif not key.allows(self.need):
            raise ForbiddenError(self.need)
        await self.app(scope, receive, send)

    def _refuse(self, scope: Scope) -> NoReturn:
        """Refuse a request without a key, or with a wrong one, which is counted."""
        if any(_sent(scope["headers"])):
            address, _ = scope.get("client") or ("", 0)
            wait_s = self.wrong.wait_s(address)
            self.metrics.wrong.labels("429" if wait_s else "401").inc()
            if wait_s:
                raise TooManyWrongKeysError(self.wrong.per_minute, wait_s)
        raise UnauthorizedError


class _Closed:
    """A route that is never open to all, where there are no keys."""

    def __init__(self, need: str) -> None:
        self.need = need

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NoKeysError(self.need)


class _NoPages:
    """A route that is open to programs, and to no page that a browser shows."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if any(name in (b"origin", b"sec-fetch-site") for name, _ in scope["headers"]):
            raise NoKeysError("admin")
        await self.app(scope, receive, send)


def _need(app: FastAPI, route: BaseRoute, settings: Settings) -> str | None:
    """The scope that opens a route; what is not known to be open is not."""
    if getattr(route, "path", "") == app.openapi_url:
        return None
    methods = getattr(route, "methods", None) or {"POST"}
    default = "read" if set(methods) <= {"GET", "HEAD"} else "predict"
    need = getattr(getattr(route, "endpoint", None), "scope", default)
    if need == "metrics":
        return None if settings.open_metrics else "read"
    return need if need is None else str(need)


def _find(headers: Iterable[tuple[bytes, bytes]], keys: LiveKeys) -> ApiKey | None:
    """The one key that was sent, if it is valid; two different ones are none."""
    sent = set(_sent(headers))
    if len(sent) != 1:
        return None
    [secret] = sent
    if not 0 < len(secret) <= MOST_BYTES:
        return None
    return keys.find(secret.decode("latin-1"))


def _sent(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    for name, value in headers:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization":
            yield value[len(BEARER) :].strip() if value[: len(BEARER)].lower() == BEARER else b""
