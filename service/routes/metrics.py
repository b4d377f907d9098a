"""Prometheus metrics."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.access import needs
from service.jobs.metrics import render_jobs
from service.telemetry import Seen

__all__ = ["add_routes"]


def add_routes(app: FastAPI) -> None:
    """`/metrics`."""
    described = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get("/metrics", tags=["health"], response_class=Response, responses={200: described})
    @needs("metrics")
    async def metrics(request: Request) -> Response:
        """Prometheus text."""
        resources = request.app.state.resources
        predictor, batcher = resources.predictor, resources.batcher
        models = {name: predictor.registry.opened(name) for name in predictor.registry.names}
        seen = Seen(
            predictor.cache.stats(),
            predictor.hidden.size_bytes,
            batcher.depth,
            batcher.waiting_cost,
            {name: model.table is not None for name, model in models.items() if model},
        )
        if resources.shared is not None:
            resources.telemetry.redis_degraded.set(resources.shared.state == "degraded")
        text = resources.telemetry.render(seen)
        text += await asyncio.to_thread(render_jobs, resources.jobs)
        return Response(text, media_type=CONTENT_TYPE_LATEST)
