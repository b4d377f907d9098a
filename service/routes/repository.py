"""The model repository extension of the Open Inference Protocol: what there is, load, unload."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.access import needs
from service.errors import RequestError
from service.exchange import json_response, parse, read_bytes
from service.graph_predictor import GraphModels
from service.repository import ModelRepository
from service.rollout import Rollout
from service.routes.documented import body_of
from service.routes.v2 import ErrorBody
from service.settings import Settings

__all__ = ["add_routes", "request_models"]

OF_GRAPHS = "answers for whole graphs, which are sent to /v1/graphs/predict"

ModelName = Annotated[str, Path(description="A model's own name.")]


class _Body(BaseModel):
    """Strict where it matters; fields of other servers' dialects are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class IndexBody(_Body):
    """Body of `POST /v2/repository/index`."""

    ready: bool = Field(False, description="List only what answers.")


class LoadBody(_Body):
    """Body of `POST /v2/repository/models/{name}/load` and `…/unload`."""

    parameters: Annotated[dict[str, Any], Field(max_length=64)] = Field(
        default_factory=dict, description="`unload_dependents` is passed over; others are refused."
    )


class IndexEntry(BaseModel):
    """A version of a model."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


def request_models() -> tuple[type[BaseModel], ...]:
    """The bodies, for the OpenAPI document."""
    return (IndexBody, LoadBody)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v2/repository`."""
    bad: dict[int | str, dict[str, Any]] = {
        s: {"model": ErrorBody} for s in (400, 403, 404, 408, 409, 413, 415, 500, 503)
    }
    post = partial(app.api_route, methods=["POST"], tags=["v2"])

    def body(model: type[BaseModel]) -> dict[str, Any]:
        described = body_of(model)["requestBody"]
        return {"requestBody": described | {"required": False}}

    @post(
        "/v2/repository/index",
        responses={200: {"model": list[IndexEntry]}, **_only(bad, 400, 408, 413, 415, 503)},
        openapi_extra=body(IndexBody),
    )
    @needs("read")
    async def index(request: Request) -> Response:
        """Every version of every model, and whether it answers."""
        asked = await _read(request, settings, IndexBody)
        entries = await asyncio.to_thread(_index, _rollout(request))
        ready = [entry for entry in entries if entry["state"] == "READY" or not asked.ready]
        return json_response(ready)

    @post("/v2/repository/models/{name}/load", responses=bad, openapi_extra=body(LoadBody))
    @needs("admin")
    async def load(request: Request, name: ModelName) -> Response:
        """Let all versions of a model answer; the newest is opened and tested first."""
        _check(await _read(request, settings, LoadBody))
        await asyncio.to_thread(_rollout(request).load, name)
        return json_response({})

    @post("/v2/repository/models/{name}/unload", responses=bad, openapi_extra=body(LoadBody))
    @needs("admin")
    async def unload(request: Request, name: ModelName) -> Response:
        """Let a model answer no more; requests under way are finished."""
        _check(await _read(request, settings, LoadBody))
        await asyncio.to_thread(_rollout(request).unload, name)
        return json_response({})


def _only(responses: dict[int | str, Any], *statuses: int) -> dict[int | str, Any]:
    return {status: responses[status] for status in statuses}


async def _read(request: Request, settings: Settings, model: type[Any]) -> Any:
    """The body, which may be left out."""
    content = await read_bytes(request, settings)
    return parse(model, content) if content else model()


def _check(body: LoadBody) -> None:
    others = sorted(body.parameters.keys() - {"unload_dependents"})
    if others:
        raise RequestError("a model is loaded as it is on disk, with no parameters; leave them out")


def _rollout(request: Request) -> Rollout:
    rollout: Rollout = request.app.state.resources.rollout
    return rollout


def _index(rollout: Rollout) -> list[dict[str, str]]:
    return [
        _entry(followed.repository, name, version)
        for followed in rollout.followed
        for name, versions in followed.repository.listed.items()
        for version in versions
    ]


def _entry(models: ModelRepository[Any], name: str, version: int) -> dict[str, str]:
    """A version that was not tried yet counts as ready: it is opened when it is asked for.

    Models of whole graphs are never ready here: the protocol's tensors hold node ids alone.
    """
    reason = OF_GRAPHS if isinstance(models, GraphModels) else ""
    if models.routing.is_unloaded(name, version):
        reason = "unloaded"
    elif models.why_refused(name, version) is not None:
        reason = "cannot be used; see the log"  # which may tell of paths
    state = "UNAVAILABLE" if reason else "READY"
    return {"name": name, "version": str(version), "state": state, "reason": reason}
