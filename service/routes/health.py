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
from service.selftest import Tested

__all__ = ["add_routes", "check_ready"]


def add_routes(app: FastAPI) -> None:
    """`/health/live` and `/health/ready`."""

    @app.head("/health/live", include_in_schema=False)
    @app.get("/health/live", tags=["health"], response_model=HealthResponse)
    @needs(None)
    async def live(request: Request) -> Response:
        """The event loop turns; `checks` says how late it was, but to strangers."""
        checks = {} if _is_stranger(request) else _lag(request.app.state.resources)
        return json_response({"status": "live", "checks": checks})

    @app.head("/health/ready", include_in_schema=False)
    @app.get(
        "/health/ready", tags=["health"], response_model=HealthResponse, responses=problems(503)
    )
    @needs(None)
    async def ready(request: Request) -> Response:
        """A model answers: a test prediction was computed at the start, and is again when asked.

        Where keys are set, `checks` is empty for those who send none.
        """
        tested = await check_ready(request)
        checks = {} if _is_stranger(request) else _checks(request.app.state.resources, tested)
        return json_response({"status": "ready", "checks": checks})


async def check_ready(request: Request) -> Tested:
    """What the self-test found, where requests are answered.

    Raises:
        NotReadyError: they are not; it names models to those who may know them.
    """
    resources = request.app.state.resources
    if not resources.batcher.is_open or resources.draining.has_begun:
        raise NotReadyError
    tested: Tested = await resources.self_test.result()
    if not tested.answers:
        raise NotReadyError(tested.reason, {} if _is_stranger(request) else tested.failed)
    return tested


def _is_stranger(request: Request) -> bool:
    keys = request.app.state.resources.keys
    return keys is not None and key_of(request, keys) is None


def _lag(resources: Any) -> dict[str, float]:
    return {"event_loop_lag_s": round(resources.loop_watch.worst_s, 4)}


def _checks(resources: Any, tested: Tested) -> dict[str, Any]:
    predictor, meta = resources.predictor, resources.predictor.data.meta
    registry = predictor.registry
    opened = [registry.opened(name) for name in registry.names]
    models = {model.name: model.version for model in opened if model is not None}
    return {
        "graph": {"name": meta.name, "version": meta.version},
        "models": models,
        "self_test": "failed" if tested.failed else "passed",
        "failed": tested.failed,
        "table": _table(registry.table, opened),
        "queue": {"waiting": resources.batcher.depth},
        **_lag(resources),
        "redis": "none" if resources.shared is None else resources.shared.state,
    }


def _table(table: Any, models: list[Any]) -> str:
    if any(m is not None and m.table is not None for m in models):
        return "fresh"
    return "none" if table is None else "stale"
