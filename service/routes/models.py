"""The models that answer."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from starlette.responses import Response

from service.exchange import json_response
from service.registry import ModelRegistry
from service.routes.documented import problems
from service.schemas import ModelResponse, ModelsResponse

__all__ = ["add_routes"]


def add_routes(app: FastAPI) -> None:
    """`/v1/models`."""

    @app.get("/v1/models", tags=["models"], response_model=ModelsResponse)
    async def models(request: Request) -> Response:
        """Every model with its versions."""
        registry: ModelRegistry = request.app.state.resources.predictor.registry
        listed = await asyncio.to_thread(lambda: [_summary(registry, n) for n in registry.names])
        return json_response({"models": listed})

    @app.get(
        "/v1/models/{name:text}",
        tags=["models"],
        response_model=ModelResponse,
        responses=problems(404, 409),
    )
    async def model(
        request: Request, name: Annotated[str, Path(description="Model name, or `default`.")]
    ) -> Response:
        """Task, classes, metrics, model card."""
        registry: ModelRegistry = request.app.state.resources.predictor.registry
        return json_response(await asyncio.to_thread(_detail, registry, name))


def _summary(registry: ModelRegistry, name: str) -> dict[str, Any]:
    own = registry.resolve(name)
    model = registry.opened(own)
    return {
        "name": own,
        "version": registry.newest(own),
        "versions": registry.versions(own),
        "aliases": registry.aliases_of(own),
        "task": model.saved.info.task if model else None,
        "is_default": own == registry.default,
    }


def _detail(registry: ModelRegistry, name: str) -> dict[str, Any]:
    model = registry.get(name)
    info = model.saved.info
    return _summary(registry, name) | {
        "classes": model.classes,
        "metrics": model.saved.metrics,
        "card": model.saved.card,
        "config": info.model_dump(mode="json")["config"],
        "fanouts": list(info.fanouts),
        "digest": info.digest,
        "graph_fingerprint": info.graph_fingerprint,
        "has_fresh_table": model.table is not None,
    }
