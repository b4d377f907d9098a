"""Whether the process is alive, and whether it answers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.errors import NotReadyError
from service.exchange import json_response
from service.routes.documented import problems
from service.schemas import HealthResponse

__all__ = ["add_routes"]


def add_routes(app: FastAPI) -> None:
    """`/health/live` and `/health/ready`."""

    @app.get("/health/live", tags=["health"], response_model=HealthResponse)
    async def live() -> Response:
        """The event loop turns."""
        return json_response({"status": "live", "checks": {}})

    @app.get(
        "/health/ready", tags=["health"], response_model=HealthResponse, responses=problems(503)
    )
    async def ready(request: Request) -> Response:
        """Graph and models are open, and a test prediction was computed at the start."""
        resources = request.app.state.resources
        if not resources.batcher.is_open:
            raise NotReadyError
        return json_response({"status": "ready", "checks": _checks(resources)})


def _checks(resources: Any) -> dict[str, Any]:
    predictor, meta = resources.predictor, resources.predictor.data.meta
    registry = predictor.registry
    opened = [registry.opened(name) for name in registry.names]
    models = {model.name: model.version for model in opened if model is not None}
    return {
        "graph": {"name": meta.name, "version": meta.version},
        "models": models,
        "self_test": "passed",
        "table": _table(registry.table, opened),
        "queue": {"waiting": resources.batcher.depth},
    }


def _table(table: Any, models: list[Any]) -> str:
    if any(m is not None and m.table is not None for m in models):
        return "fresh"
    return "none" if table is None else "stale"
