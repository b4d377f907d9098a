"""Routes that parse their own bodies, and what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.exchange import send_response
from service.routes.paths import WholeRoute
from service.schemas import ProblemResponse

__all__ = ["TIMEOUT_HEADER", "DirectRoute", "body_of", "problems"]

REASONS = {
    400: "The body is not JSON.",
    403: "This is closed, or the key does not open it.",
    404: "No such model, version, alias, node or job.",
    405: "No such method here.",
    408: "The body came too slowly.",
    409: "No fresh table, a model that does not fit the graph, a version that is unloaded or in "
    "use, or a job without a result.",
    410: "The result of the job is gone.",
    413: "The body is over the limit.",
    415: "The body is not plain JSON.",
    416: "The range lies behind the end of the file.",
    422: "The request is not valid.",
    429: "Too many jobs wait; see Retry-After.",
    500: "The server failed; the answer has the request id.",
    503: "The queue is full, jobs cannot be reached, or the server is not ready; see Retry-After.",
    504: "The deadline has passed.",
    507: "The disk is full.",
}

TIMEOUT_HEADER: dict[str, Any] = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "required": False,
    "description": "Milliseconds after which the answer is of no use; more than the server's "
    "own limit counts as that limit.",
    "schema": {"type": "integer", "minimum": 0},
}


class DirectRoute(WholeRoute):
    """A route whose function takes the request and gives the response: nothing to solve for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = _direct(self.endpoint)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


def _direct(endpoint: Callable[[Request], Coroutine[Any, Any, Response]]) -> ASGIApp:
    """The endpoint as an application, without stacks for dependencies that it has not."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await send_response(scope, response, receive, send)

    return app


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers these errors."""
    schema = {"$ref": f"#/components/schemas/{ProblemResponse.__name__}"}
    content = {"application/problem+json": {"schema": schema}}
    return {code: {"description": REASONS[code], "content": content} for code in statuses}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is a `model`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "parameters": [TIMEOUT_HEADER],
    }
