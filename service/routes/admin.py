"""What an operator changes while the service runs: aliases, canaries, shadows, loaded versions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from starlette.responses import Response

from service.access import needs
from service.errors import RequestError, shown
from service.exchange import json_response, parse, read_body
from service.rollout import Rollout
from service.routes.documented import body_of, problems
from service.routing import Route, Routing
from service.schemas import AliasesResponse
from service.settings import Settings

__all__ = ["add_routes", "request_models"]

MAX_NAME = 64
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
OF_CHANGE = (403, 404, 409, 422, 500, 503)

AliasName = Annotated[str, Path(description="Alias, model name, or `default`.")]
ModelName = Annotated[str, Path(description="A model's own name.")]
VersionNumber = Annotated[str, Path(pattern=r"^[1-9][0-9]{0,8}$", description="Version.")]


def request_models() -> tuple[type[Route]]:
    """The body, for the OpenAPI document."""
    return (Route,)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/aliases`, and loading and unloading under `/v1/models`."""

    @app.get("/v1/aliases", tags=["models"], response_model=AliasesResponse)
    async def aliases(request: Request) -> Response:
        """Every alias, canary and shadow, and the versions that were loaded or unloaded."""
        return _answer(_rollout(request).routing)

    change = partial(
        app.api_route,
        tags=["models"],
        response_model=AliasesResponse,
    )
    body = {"requestBody": body_of(Route)["requestBody"]}

    @change(
        "/v1/aliases/{alias}",
        methods=["PUT"],
        responses=problems(400, 408, 413, 415, *OF_CHANGE),
        openapi_extra=body,
    )
    @needs("admin")
    async def put_alias(request: Request, alias: AliasName) -> Response:
        """Lead a name to a version, a canary and a shadow; each is opened and tested first."""
        route = parse(Route, await read_body(request, settings))
        return await _changed(request, lambda rollout: rollout.set_alias(_name(alias), route))

    @change("/v1/aliases/{alias}", methods=["DELETE"], responses=problems(*OF_CHANGE))
    @needs("admin")
    async def delete_alias(request: Request, alias: AliasName) -> Response:
        """Forget what was set for a name."""
        return await _changed(request, lambda rollout: rollout.delete_alias(alias))

    @change(
        "/v1/models/{name}/versions/{version}/load",
        methods=["POST"],
        responses=problems(*OF_CHANGE),
    )
    @needs("admin")
    async def load(request: Request, name: ModelName, version: VersionNumber) -> Response:
        """Open a version, test it and keep it open."""
        return await _changed(request, lambda rollout: rollout.load(name, int(version)))

    @change(
        "/v1/models/{name}/versions/{version}/unload",
        methods=["POST"],
        responses=problems(*OF_CHANGE),
    )
    @needs("admin")
    async def unload(request: Request, name: ModelName, version: VersionNumber) -> Response:
        """Let a version answer no more; requests under way are finished by it."""
        return await _changed(request, lambda rollout: rollout.unload(name, int(version)))


async def _changed(request: Request, change: Callable[[Rollout], object]) -> Response:
    rollout = _rollout(request)
    await asyncio.to_thread(change, rollout)
    return _answer(rollout.routing)


def _rollout(request: Request) -> Rollout:
    rollout: Rollout = request.app.state.resources.rollout
    return rollout


def _name(alias: str) -> str:
    """An alias that can be one.

    Raises:
        RequestError: it cannot.
    """
    if not NAME.fullmatch(alias):
        raise RequestError(f"alias {shown(alias)}: use up to {MAX_NAME} of a-z, 0-9, '.', '_' and "
                           "'-', starting with a letter or digit")  # fmt: skip
    return alias


def _answer(routing: Routing) -> Response:
    set_now = routing.state.aliases
    aliases: list[dict[str, Any]] = [
        {
            "alias": alias,
            **route.model_dump(),
            "source": "run_time" if alias in set_now else "settings",
        }
        for alias, route in sorted(routing.routes.items())
    ]
    state = routing.state
    return json_response(
        {
            "revision": state.revision,
            "aliases": aliases,
            "loaded": state.loaded,
            "unloaded": state.unloaded,
        }
    )
