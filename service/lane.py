"""A short way to the endpoints that must be fast, past the stack that every other request takes.

The stack (middlewares, routing among all paths, exits for dependencies) costs a request several
times what it takes to read a row of a table. A lane goes from a method and a path, compared as
they are, straight to the route, with keys, metrics, headers and errors as in the stack; what is
not exactly such a request takes the stack.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.exchange import Exchange, ExchangeMiddleware, send_response

__all__ = ["GATE", "LanedApp", "open_lanes"]

GATE = "gnn.gate"
"""Where a request that is counted has its gate."""

OnError = Callable[[Request, Exception], Awaitable[Response]]


class LanedApp(FastAPI):
    """An application with lanes; without any it is an ordinary one."""

    lanes: Mapping[tuple[str, str], ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["root_path"]:
            lane = self.lanes.get((scope["method"], scope["path"]))
            if lane is not None:
                await lane(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def open_lanes(
    app: LanedApp, paths: Sequence[str], exchanges: ExchangeMiddleware, on_error: OnError
) -> None:
    """Open a lane to every POST route of these paths, as they are by now.

    Args:
        app: the application.
        paths: without parameters.
        exchanges: counts what was answered.
        on_error: the answer to an error of this project.
    """
    routes: list[Any] = [route for route in app.routes if getattr(route, "path", "") in paths]
    app.lanes = {
        ("POST", route.path): _Lane(app, route, exchanges, on_error)
        for route in routes
        if "POST" in route.methods
    }


class _Lane:
    def __init__(
        self, app: FastAPI, route: BaseRoute, exchanges: ExchangeMiddleware, on_error: OnError
    ) -> None:
        self.app, self.exchanges, self.on_error = app, exchanges, on_error
        self.route: Any = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        scope["app"], scope["route"], scope["path_params"] = self.app, self.route, {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], *exchange.headers()]
            await send(message)

        try:
            await self.route.app(scope, receive, send_with_headers)
        except Exception as error:
            if exchange.status:
                raise
            response = await self.on_error(Request(scope, receive), error)
            await send_response(scope, response, receive, send_with_headers)
        finally:
            self.exchanges.count(scope, exchange)
            if GATE in scope:
                scope[GATE].leave()
