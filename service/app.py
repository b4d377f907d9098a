"""The application: every resource is opened here, once, and handed to the routes."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sampling.errors import GnnError
from service.errors import Problem, RequestError, problem_body
from service.exchange import (
    PROBLEM_TYPE,
    ExchangeMiddleware,
    exchange_of,
    problem_response,
)
from service.graph_predictor import GraphPredictor
from service.microbatch import MicroBatcher
from service.predictor import Predictor, open_predictor
from service.routes import docs, graph, graphs, health, links, metrics, models, nodes
from service.routes.paths import WholeRoute
from service.schemas import ProblemResponse
from service.settings import Settings
from service.telemetry import Telemetry, configure_logging

__all__ = ["Resources", "create_app"]

CODES = {404: "not_found", 405: "method_not_allowed"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resources:
    """What routes work with: `request.app.state.resources`."""

    settings: Settings
    predictor: Predictor
    batcher: MicroBatcher
    telemetry: Telemetry
    graphs: graphs.GraphQueue


def create_app(settings: Settings | None = None, predictor: Predictor | None = None) -> FastAPI:
    """The REST application.

    Args:
        settings: read from the environment when left out.
        predictor: opened from the settings, at the start, when left out.
    """
    settings = settings or Settings()  # type: ignore[call-arg]
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        configure_logging(settings.log_level)
        opened = predictor or open_predictor(
            settings.graph, settings.models, settings.embeddings, settings
        )
        opened.self_test()
        _describe(telemetry, opened)
        async with _batcher(settings, opened, telemetry) as batcher:
            queue = graphs.GraphQueue(
                GraphPredictor(settings.models, settings), settings.queue_limit
            )
            app.state.resources = Resources(settings, opened, batcher, telemetry, queue)
            # what is loaded by now stays: the collector need not look at it again
            gc.freeze()
            log.info("ready", graph=opened.data.meta.name, models=opened.registry.names)
            yield {"settings": settings}
        gc.unfreeze()
        log.info("stopped")

    app = FastAPI(
        title="gnn-service",
        version="0.1.0",
        summary="Predictions and embeddings of the nodes of one graph.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(
        ExchangeMiddleware, telemetry=telemetry, logs_requests=settings.log_level == "debug"
    )
    app.router.route_class = WholeRoute
    _add_errors(app)
    nodes.add_routes(app, settings)
    links.add_routes(app, settings)
    graph.add_routes(app, settings)
    graphs.add_routes(app, settings)
    models.add_routes(app)
    health.add_routes(app)
    metrics.add_routes(app)
    docs.add_routes(app)
    rooms = (nodes, links, graphs)
    _describe_bodies(app, [model for room in rooms for model in room.request_models(settings)])
    return app


def _batcher(settings: Settings, predictor: Predictor, telemetry: Telemetry) -> MicroBatcher:
    return MicroBatcher(
        predictor.compute,
        max_batch_cost=settings.max_batch_cost_edges,
        max_wait_s=settings.max_wait_ms / 1e3,
        queue_limit=settings.queue_limit,
        queue_limit_cost=settings.queue_limit_edges,
        on_batch=telemetry.batch,
    )


def _describe(telemetry: Telemetry, predictor: Predictor) -> None:
    meta, registry = predictor.data.meta, predictor.registry
    telemetry.graph_info.labels(meta.name, str(meta.version), meta.fingerprint).set(1)
    for name in registry.names:
        model = registry.opened(name)
        if model is not None:
            digest = model.saved.info.digest
            telemetry.model_info.labels(name, str(model.version), digest).set(1)


def _add_errors(app: FastAPI) -> None:
    app.add_exception_handler(GnnError, _failed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _failed(request: Request, error: Exception) -> Response:
    response = problem_response(exchange_of(request).request_id, error)
    if response.status_code in (500, 507):
        log.error("failed", request_id=exchange_of(request).request_id, exc_info=error)
    return response


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for no other"
    problem = Problem(error.status_code, CODES.get(error.status_code, "refused"), error.detail)
    detail = f"there is no {request.method} {request.url.path[:200]}; /docs lists what there is"
    body = problem_body(problem, detail, exchange_of(request).request_id)
    return Response(body, error.status_code, error.headers, PROBLEM_TYPE)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for no other"
    faults = [{"loc": list(f["loc"]), "msg": f["msg"]} for f in error.errors()[:20]]
    place = ".".join(str(part) for part in faults[0]["loc"])
    wrong = RequestError(f"{place}: {faults[0]['msg']}", faults)
    return problem_response(exchange_of(request).request_id, wrong)


def _describe_bodies(app: FastAPI, requests: Sequence[type[Any]]) -> None:
    """Add the request models, which routes parse themselves, to the OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            template = "#/components/schemas/{model}"
            kinds = [(model, "validation") for model in (*requests, ProblemResponse)]
            _, schemas = models_json_schema(kinds, ref_template=template)  # type: ignore[arg-type]
            document["components"]["schemas"] |= schemas["$defs"]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
