"""`X-Request-Timeout-Ms` on every route of the API: who asks says when the answer is of no use.

The clock stands around the route, as the keys do, and stops where the answer begins: a download
that has begun is not cut off.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import DeadlineError
from service.exchange import TIMEOUT, exchange_of, header_of, timeout_ms
from service.routes.documented import TIMEOUT_HEADER, problems
from service.settings import Settings

__all__ = ["describe_deadlines", "keep_deadlines"]

FACES = ("/v1", "/v2")


def keep_deadlines(app: FastAPI, settings: Settings) -> None:
    """Put the clock around all routes of the API that there are by now."""
    for route in app.routes:
        if _is_api(getattr(route, "path", "")):
            timed = cast(Any, route)
            timed.app = _InTime(timed.app, settings)


def describe_deadlines(document: dict[str, Any]) -> None:
    """Say in the OpenAPI document that every operation of the API heeds the header."""
    for path, operations in document["paths"].items():
        if not _is_api(path):
            continue
        of_protocol = _face(path) == "v2"
        answers = {str(code): answer for code, answer in problems(422, 504).items()}
        if of_protocol:
            error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
            answers = {"400": answers["422"], "504": answers["504"]}
            answers = {code: answer | {"content": error} for code, answer in answers.items()}
        for operation in operations.values():
            given = operation.setdefault("parameters", [])
            if all(parameter["name"] != TIMEOUT_HEADER["name"] for parameter in given):
                given.append(TIMEOUT_HEADER)
            responses = operation["responses"]
            for code, answer in answers.items():
                if code not in responses or _is_of_framework(responses[code]):
                    responses[code] = answer


class _InTime:
    """One route, given up when the time is over that its caller gave."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if header_of(scope, TIMEOUT) is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        limit_ms = timeout_ms(request, self.settings)
        left_s = exchange_of(request).started + limit_ms / 1e3 - time.perf_counter()
        if left_s <= 0:
            raise DeadlineError(limit_ms)
        clock = asyncio.timeout(left_s)

        async def send_in_time(message: Message) -> None:
            if message["type"] == "http.response.start" and not clock.expired():
                clock.reschedule(None)
            await send(message)

        try:
            async with clock:
                await self.app(scope, receive, send_in_time)
        except TimeoutError:
            if not clock.expired():
                raise
            raise DeadlineError(limit_ms) from None


def _is_of_framework(response: dict[str, Any]) -> bool:
    """Whether FastAPI put it there by itself, in a form that nothing here answers with."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).endswith("/HTTPValidationError")


def _face(path: str) -> str:
    return path.split("/")[1] if path.startswith("/") else ""


def _is_api(path: str) -> bool:
    return f"/{_face(path)}" in FACES
