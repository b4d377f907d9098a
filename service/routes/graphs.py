"""Predictions for whole graphs that are sent in the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from numpy.typing import NDArray
from starlette.responses import Response
from torch import Tensor

from gnn import SavedModel
from service.answer_size import DOUBLE, HEAD, check_answer_size
from service.errors import DeadlineError, NotReadyError, OverloadedError
from service.exchange import (
    exchange_of,
    json_response,
    parse,
    read_body,
    timeout_ms,
    while_connected,
)
from service.graph_predictor import (
    GraphModels,
    GraphPredictor,
    can_include,
    check_include,
    graph_entries,
)
from service.graph_schemas import GraphsRequest, GraphsResponse, limited_graphs
from service.repository import Choice
from service.routes.documented import DirectRoute, body_of, problems
from service.routing_metrics import RoutingMetrics
from service.settings import Settings
from service.shadow import Answered, Kind, Shadows

__all__ = ["GraphQueue", "add_routes", "request_models"]

OF_POST = (400, 404, 408, 409, 413, 415, 422, 500, 503, 504)


class GraphQueue:
    """One request at work, in a thread of its own, and a bounded number waiting.

    A request that is given up leaves the queue at once; one that is at work already holds its turn
    until the thread is done with it, so that what nobody waits for never piles up.

    Args:
        predictor: what answers.
        limit: requests that may wait, the one at work included.
        shadows: that compare what was answered, where a route says so.
        metrics: that count the requests of names with a canary.
    """

    def __init__(
        self, predictor: GraphPredictor, limit: int, shadows: Shadows, metrics: RoutingMetrics
    ) -> None:
        self.predictor, self.limit, self.shadows, self.metrics = predictor, limit, shadows, metrics
        self.waiting, self.is_open = 0, True
        self._began: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graphs")

    async def answer(
        self, body: GraphsRequest, spent: Callable[[dict[str, float]], None] = lambda _: None
    ) -> dict[str, Any]:
        """What the model says of the graphs.

        Args:
            body: the request.
            spent: told the seconds of each stage.

        Raises:
            OverloadedError: too many requests wait.
            NotReadyError: the queue has been closed.
        """
        if not self.is_open:
            raise NotReadyError
        if self.waiting >= self.limit:
            raise OverloadedError(self.waiting, self.limit, 1)
        loop = asyncio.get_running_loop()
        self.waiting += 1
        seconds, arrived = dict[str, float](), time.perf_counter()
        work = self._thread.submit(self._work, body, seconds, arrived)
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        answer, answered = await asyncio.wrap_future(work)
        spent(seconds)
        if answered is not None:
            self.shadows.offer(answered)
        return answer

    async def probe(self, test: Callable[[], None]) -> None:
        """Run a test in the thread; while that is at work, see that it is not for too long.

        Raises:
            NotReadyError: the queue has been closed, or its thread is stuck.
            Exception: what the test raises.
        """
        if not self.is_open:
            raise NotReadyError
        began, limit_s = self._began, self.predictor.settings.request_timeout_ms / 1e3
        if not self.waiting:
            await asyncio.wrap_future(self._thread.submit(test))
        elif began is not None and time.perf_counter() - began > limit_s:
            raise NotReadyError(f"a request for whole graphs has been at work for over {limit_s} s")

    def close(self) -> None:
        """Finish what is at work, and nothing else."""
        self.is_open = False
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        self.waiting -= 1

    def _work(
        self, body: GraphsRequest, seconds: dict[str, float], arrived: float
    ) -> tuple[dict[str, Any], Answered | None]:
        self._began = time.perf_counter()
        seconds["queue"] = self._began - arrived
        try:
            return self._answer(body, seconds)
        finally:
            self._began = None

    def _answer(
        self, body: GraphsRequest, seconds: dict[str, float]
    ) -> tuple[dict[str, Any], Answered | None]:
        started, models = time.perf_counter(), self.predictor.models
        choice = _chosen(models, body)
        saved = choice.model or models.get(body.model, body.version)
        self._check_size(saved, body)
        rows, embeddings = self._outputs(saved, choice, body, seconds)
        answer = {
            "model": saved.info.name,
            "model_version": saved.info.version,
            "predictions": graph_entries(saved, rows, embeddings, body.include),
        }
        if choice.shadow is None:
            return answer, None
        taken_s = time.perf_counter() - started
        return answer, self._answered(body, saved, choice.name, choice.shadow, rows, taken_s)

    def _check_size(self, saved: SavedModel, body: GraphsRequest) -> None:
        numbers = saved.model.config.d_out * 2
        numbers += saved.model.d_embedding if "embedding" in body.include else 0
        check_answer_size(self.predictor.settings, len(body.graphs), HEAD + numbers * DOUBLE)

    def _outputs(
        self,
        saved: SavedModel,
        choice: Choice[SavedModel],
        body: GraphsRequest,
        seconds: dict[str, float],
    ) -> tuple[NDArray[np.float32], Tensor]:
        failed: Exception | None = None
        try:
            check_include(saved, body.include)
            return self.predictor.outputs(saved, body.graphs, seconds)
        except Exception as error:
            failed = error
            raise
        finally:
            if choice.arm is not None:
                self.metrics.canary(choice.name, saved.info.version, choice.arm, failed)

    def _answered(
        self,
        body: GraphsRequest,
        saved: SavedModel,
        name: str,
        shadow: SavedModel,
        rows: NDArray[np.float32],
        seconds: float,
    ) -> Answered:
        kind: Kind = "classes" if saved.info.classes else "values"
        versions = (saved.info.version, shadow.info.version)
        return Answered(
            name,
            *versions,
            kind,
            rows,
            lambda: self.predictor.outputs(shadow, body.graphs)[0],
            seconds,
        )


def _chosen(models: GraphModels, body: GraphsRequest) -> Choice[SavedModel]:
    if "embedding" in body.include:
        return Choice(body.model, models.opened(body.model, body.version))
    return models.choose(
        body.model,
        body.version,
        lambda: body.model_dump_json(include={"graphs"}).encode(),
        lambda saved: can_include(saved, body.include),
    )


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
        seconds = dict[str, float]()
        work = asyncio.wait_for(queue.answer(body, seconds.update), max(left, 0))
        try:
            answer = await while_connected(request, work)
        except TimeoutError:
            raise DeadlineError(limit_ms) from None
        exchange_of(request).spent(seconds)
        request.app.state.resources.telemetry.worked(seconds)
        return json_response(answer)

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
