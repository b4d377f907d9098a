"""Whether the process is alive, and whether it answers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.access import key_of, needs
from service.errors import NotReadyError
from service.exchange import json_response
from service.routes.documented import problems
from service.schemas import HealthResponse

__all__ = ["add_routes"]


def add_routes(app: FastAPI) -> None:
    """`/health/live` and `/health/ready`."""

    @app.head("/health/live", include_in_schema=False)
    @app.get("/health/live", tags=["health"], response_model=HealthResponse)
    @needs(None)
    async def live() -> Response:
        """The event loop turns."""
        return json_response({"status": "live", "checks": {}})

    @app.head("/health/ready", include_in_schema=False)
    @app.get(
        "/health/ready", tags=["health"], response_model=HealthResponse, responses=problems(503)
    )
    @needs(None)
    async def ready(request: Request) -> Response:
        """Graph and models are open, and a test prediction was computed at the start.

        Where keys are set, `checks` is empty for those who send none.
        """
        resources = request.app.state.resources
        if not resources.batcher.is_open or resources.draining.has_begun:
            raise NotReadyError
        is_stranger = resources.keys is not None and key_of(request, resources.keys) is None
        checks = {} if is_stranger else _checks(resources)
        return json_response({"status": "ready", "checks": checks})


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
        "redis": "none" if resources.shared is None else resources.shared.state,
    }


def _table(table: Any, models: list[Any]) -> str:
    if any(m is not None and m.table is not None for m in models):
        return "fresh"
    return "none" if table is None else "stale"
