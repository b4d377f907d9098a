"""The models that answer."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from starlette.responses import Response

from gnn import list_versions
from service.exchange import json_response
from service.graph_predictor import GraphPredictor
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
        graphs: GraphPredictor = request.app.state.resources.graphs.predictor

        def listed() -> list[dict[str, Any]]:
            of_nodes = [_summary(registry, name) for name in registry.names]
            return of_nodes + [_graph_summary(graphs, name) for name in graphs.names]

        return json_response({"models": await asyncio.to_thread(listed)})

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
        graphs: GraphPredictor = request.app.state.resources.graphs.predictor
        if name in graphs.names:
            return json_response(await asyncio.to_thread(_graph_detail, graphs, name))
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


def _graph_summary(graphs: GraphPredictor, name: str) -> dict[str, Any]:
    saved = graphs.model(name, None)
    return {
        "name": name,
        "version": saved.info.version,
        "versions": list(list_versions(graphs.root, name)),
        "task": saved.info.task,
        "is_default": graphs.names == [name],
    }


def _graph_detail(graphs: GraphPredictor, name: str) -> dict[str, Any]:
    saved = graphs.model(name, None)
    return _graph_summary(graphs, name) | {
        "classes": saved.info.classes or None,
        "metrics": saved.metrics,
        "card": saved.card,
        "config": saved.info.model_dump(mode="json")["config"],
        "fanouts": [],
        "digest": saved.info.digest,
        "graph_fingerprint": saved.info.graph_fingerprint,
        "has_fresh_table": False,
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
