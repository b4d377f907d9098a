"""Predictions for whole graphs that are sent in the request."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.errors import DeadlineError, OverloadedError
from service.exchange import (
    exchange_of,
    json_response,
    parse,
    read_body,
    timeout_ms,
    while_connected,
)
from service.graph_predictor import GraphPredictor
from service.graph_schemas import GraphsRequest, GraphsResponse, limited_graphs
from service.routes.documented import DirectRoute, body_of, problems
from service.settings import Settings

__all__ = ["GraphQueue", "add_routes", "request_models"]

OF_POST = (400, 404, 408, 409, 413, 415, 422, 500, 503, 504)


class GraphQueue:
    """One request at work, a bounded number waiting.

    Args:
        predictor: what answers.
        limit: requests that may wait.
    """

    def __init__(self, predictor: GraphPredictor, limit: int) -> None:
        self.predictor, self.limit, self.waiting = predictor, limit, 0
        self._turn = asyncio.Lock()

    async def answer(self, body: GraphsRequest) -> dict[str, Any]:
        """What the model says of the graphs.

        Raises:
            OverloadedError: too many requests wait.
        """
        if self.waiting >= self.limit:
            raise OverloadedError(self.waiting, self.limit, 1)
        self.waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(self._work, body)
        finally:
            self.waiting -= 1

    def _work(self, body: GraphsRequest) -> dict[str, Any]:
        saved = self.predictor.model(body.model, body.version)
        predictions = self.predictor.predict(saved, body.graphs, body.include)
        return {
            "model": saved.info.name,
            "model_version": saved.info.version,
            "predictions": predictions,
        }


def request_models(settings: Settings) -> tuple[type[GraphsRequest]]:
    """The body, with the limit that is set."""
    return (limited_graphs(settings.max_graphs_per_request),)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/graphs`."""
    (body_model,) = request_models(settings)

    async def predict(request: Request) -> Response:
        """A prediction for every graph, in the order sent."""
        body = parse(body_model, await read_body(request, settings))
        queue: GraphQueue = request.app.state.resources.graphs
        limit_ms = timeout_ms(request, settings)
        left = exchange_of(request).started + limit_ms / 1e3 - time.perf_counter()
        work = asyncio.wait_for(queue.answer(body), max(left, 0))
        try:
            return json_response(await while_connected(request, work))
        except TimeoutError:
            raise DeadlineError(limit_ms) from None

    post = partial(
        app.router.add_api_route,
        methods=["POST"],
        tags=["graphs"],
        route_class_override=DirectRoute,
    )
    post(
        "/v1/graphs/predict",
        predict,
        responses={200: {"model": GraphsResponse}, **problems(*OF_POST)},
        openapi_extra=body_of(body_model),
    )
