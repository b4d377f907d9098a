"""Counts that a page turns into rates and latencies."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.exchange import json_response
from service.schemas import StatsResponse
from service.stats import stats_of

__all__ = ["add_routes"]


def add_routes(app: FastAPI) -> None:
    """`/v1/stats`."""

    @app.get("/v1/stats", tags=["health"], response_model=StatsResponse)
    async def stats(request: Request) -> Response:
        """Requests, answers and seconds by stage since the start, of all workers."""
        resources = request.app.state.resources
        cache, depth = resources.predictor.cache.stats(), resources.batcher.depth
        return json_response(
            await asyncio.to_thread(stats_of, resources.telemetry, cache, depth),
        )
