"""The models that answer."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from starlette.responses import Response

from gnn import SavedModel
from service.exchange import json_response
from service.registry import ServedModel
from service.repository import ModelRepository
from service.routes.documented import problems
from service.routing import DEFAULT, Share
from service.schemas import ModelResponse, ModelsResponse

__all__ = ["add_routes"]


def add_routes(app: FastAPI) -> None:
    """`/v1/models`."""

    @app.get("/v1/models", tags=["models"], response_model=ModelsResponse)
    async def models(request: Request) -> Response:
        """Every model with its versions."""
        both = _repositories(request)

        def listed() -> list[dict[str, Any]]:
            return [_summary(models, name) for models in both for name in models.names]

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
        of_nodes, of_graphs = _repositories(request)
        names = (name, of_nodes.route(name).model, of_graphs.route(name).model)
        owners = (m for own in names for m in (of_nodes, of_graphs) if own in m.listed)
        models = next(owners, of_nodes)
        return json_response(await asyncio.to_thread(_detail, models, name))


def _repositories(request: Request) -> tuple[ModelRepository[Any], ModelRepository[Any]]:
    """Models of the graph's nodes and links, and models of whole graphs."""
    resources = request.app.state.resources
    return resources.predictor.registry, resources.graphs.predictor.models


def _summary(models: ModelRepository[Any], name: str) -> dict[str, Any]:
    own = models.resolve(name)
    model = models.opened(own)
    route = models.routing.routes.get(own)
    return {
        "name": own,
        "version": models.newest(own),
        "versions": models.versions(own),
        "unloaded": models.unloaded(own),
        "aliases": models.aliases_of(own),
        "task": None if model is None else _saved(model).info.task,
        "is_default": own == models.route(DEFAULT).model,
        "canary": share_document(route.canary if route else None),
        "shadow": share_document(route.shadow if route else None),
    }


def _detail(models: ModelRepository[Any], name: str) -> dict[str, Any]:
    model = models.get(name)
    saved = _saved(model)
    info = saved.info
    of_nodes = isinstance(model, ServedModel)
    return _summary(models, models.resolve(name)) | {
        "version": info.version,
        "classes": model.classes if of_nodes else info.classes or None,
        "metrics": saved.metrics,
        "card": saved.card,
        "config": info.model_dump(mode="json")["config"],
        "fanouts": list(info.fanouts) if of_nodes else [],
        "digest": info.digest,
        "graph_fingerprint": info.graph_fingerprint,
        "has_fresh_table": of_nodes and model.table is not None,
    }


def _saved(model: ServedModel | SavedModel) -> SavedModel:
    return model.saved if isinstance(model, ServedModel) else model


def share_document(share: Share | None) -> dict[str, Any] | None:
    """A canary or shadow as its user reads it."""
    return None if share is None else share.model_dump()
