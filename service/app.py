"""The application: every resource is opened here, once, and handed to the routes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from sampling.errors import GnnError
from service.access import close_routes, describe_access, keys_of
from service.cache import MemoryCache
from service.deadlines import describe_deadlines, keep_deadlines
from service.draining import Draining, draining_on_signals
from service.errors import Problem, RequestError, problem_body, problem_of
from service.exchange import (
    PROBLEM_TYPE,
    ExchangeMiddleware,
    exchange_of,
    in_dialect,
    problem_response,
)
from service.gate import Gate
from service.graph_predictor import GraphModels, GraphPredictor
from service.jobs.door import JobDoor
from service.jobs.process import open_queue
from service.jobs.tending import tending
from service.lane import LanedApp, open_lanes
from service.live_keys import KeyMetrics, LiveKeys, following_keys
from service.loop_watch import LoopWatch, watched_loop
from service.maps import Maps
from service.microbatch import Batch, MicroBatcher
from service.predictor import Predictor, open_predictor
from service.registry import ServedModel
from service.rollout import Followed, Rollout
from service.routes import (
    admin,
    docs,
    graph,
    graphs,
    health,
    jobs,
    links,
    maps,
    metrics,
    models,
    neighborhood,
    nodes,
    page,
    repository,
    similar,
    stats,
    v2,
)
from service.routes.paths import WholeRoute
from service.routing_file import RoutingFile
from service.routing_metrics import RoutingMetrics
from service.schemas import ProblemResponse
from service.selftest import SelfTest
from service.settings import Settings
from service.shadow import ShadowMetrics, Shadows, shadowing
from service.shared import RedisCache
from service.side import SideWork
from service.similarity import Similarity
from service.telemetry import Telemetry, configure_logging
from service.tracing import Tracing, open_tracing
from service.watch import watching

__all__ = ["Resources", "create_app"]

LANES = ("/v1/nodes/predict", "/v1/nodes/embed", "/v1/links/predict")
SMALL_EDGES = 10_000
"""About a millisecond of work: less than handing it to a thread and back adds to an answer."""
SIDE_THREADS, SIDE_LIMIT = 4, 64
"""For neighborhoods, maps and the like: at work at once, and in all."""
CODES = {404: "not_found", 405: "method_not_allowed"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resources:
    """What routes work with: `request.app.state.resources`."""

    settings: Settings
    predictor: Predictor
    batcher: MicroBatcher
    telemetry: Telemetry
    jobs: JobDoor
    graphs: graphs.GraphQueue
    draining: Draining
    similarity: Similarity
    rollout: Rollout
    routing_metrics: RoutingMetrics
    shadows: Shadows
    shadow_predictor: Predictor
    maps: Maps
    self_test: SelfTest
    loop_watch: LoopWatch
    side: SideWork
    planning: SideWork
    shared: RedisCache | None = None
    keys: LiveKeys | None = None


def create_app(settings: Settings | None = None, predictor: Predictor | None = None) -> FastAPI:
    """The REST application.

    Args:
        settings: read from the environment when left out.
        predictor: opened from the settings, at the start, when left out.
    """
    settings = settings or Settings()  # type: ignore[call-arg]
    telemetry, keys = Telemetry(), keys_of(settings)
    tracing = open_tracing(settings.otlp_endpoint)
    routing_metrics = RoutingMetrics(telemetry.registry)
    shadow_metrics = ShadowMetrics(telemetry.registry)
    key_metrics = KeyMetrics(telemetry.registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        configure_logging(settings.log_level)
        opened = predictor or open_predictor(
            settings.graph, settings.models, settings.embeddings, settings
        )
        registry = opened.registry
        of_graphs = GraphPredictor(
            GraphModels(settings, registry.index, registry.routing), settings
        )
        opened.self_test()
        of_graphs.self_test()
        rollout = _rollout(settings, opened, of_graphs, telemetry, routing_metrics)
        door = JobDoor(open_queue(settings), opened, settings)
        async with (
            _letting_go(app),
            tending(door, settings.verify_graph),
            _shared(settings, telemetry) as shared,
            _batcher(settings, opened, telemetry, tracing) as batcher,
            watching(rollout, settings.models_poll_s),
            following_keys(keys, key_metrics),
            shadowing(settings.shadow_queue, shadow_metrics, lambda: batcher.depth > 0) as shadows,
        ):
            graph_queue = graphs.GraphQueue(
                of_graphs, settings.queue_limit, shadows, routing_metrics
            )
            with (
                closing(graph_queue) as queue,
                _similarity(settings) as similarity,
                closing(_side("side", SIDE_LIMIT, telemetry)) as side,
                closing(_side("planning", settings.queue_limit, telemetry)) as planning,
                watched_loop(telemetry.loop_lag.set) as loop_watch,
                draining_on_signals(settings.drain_s) as draining,
            ):
                self_test = SelfTest(opened, batcher, of_graphs, queue.probe)
                app.state.resources = Resources(
                    settings,
                    opened,
                    batcher,
                    telemetry,
                    door,
                    queue,
                    draining,
                    similarity,
                    rollout,
                    routing_metrics,
                    shadows,
                    _without_caches(opened),
                    Maps(side),
                    self_test,
                    loop_watch,
                    side,
                    planning,
                    shared,
                    keys,
                )
                # what is loaded by now stays: the collector need not look at it again
                gc.freeze()
                log.info("ready", graph=opened.data.meta.name, models=opened.registry.names)
                try:
                    yield {"settings": settings, "gate": _gate(settings, telemetry)}
                finally:
                    await self_test.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)
        log.info("stopped")

    app = LanedApp(
        title="gnn-service",
        version="0.1.0",
        summary="Predictions and embeddings of the nodes of one graph.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_cors(app, settings)
    logs_requests = settings.log_level == "debug"
    observed = (telemetry, logs_requests, tracing)
    app.add_middleware(ExchangeMiddleware, *observed)
    app.router.route_class = WholeRoute
    _add_errors(app)
    nodes.add_routes(app, settings)
    links.add_routes(app, settings)
    neighborhood.add_routes(app, settings)
    graph.add_routes(app, settings)
    graphs.add_routes(app, settings)
    maps.add_routes(app)
    models.add_routes(app)
    admin.add_routes(app, settings)
    similar.add_routes(app, settings)
    v2.add_routes(app, settings)
    repository.add_routes(app, settings)
    jobs.add_routes(app, settings)
    health.add_routes(app)
    metrics.add_routes(app)
    stats.add_routes(app)
    docs.add_routes(app)
    page.add_routes(app)
    keep_deadlines(app, settings)
    close_routes(app, keys, settings, key_metrics)
    if not settings.cors_origins:
        open_lanes(app, LANES, ExchangeMiddleware(app, *observed), _answer_to)
    bodies = (
        *nodes.request_models(settings),
        *similar.request_models(settings),
        *v2.request_models(),
        *graphs.request_models(settings),
        jobs.request_model(settings),
        *links.request_models(settings),
        *admin.request_models(),
        *repository.request_models(),
    )
    _describe_bodies(app, bodies, settings, keys is not None)
    return app


def _add_cors(app: FastAPI, settings: Settings) -> None:
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins.split(","),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id",
                           "x-request-timeout-ms"],
            expose_headers=["retry-after", "server-timing", "x-request-id"],
        )  # fmt: skip


def _gate(settings: Settings, telemetry: Telemetry) -> Gate | None:
    """The gate before the lanes; None where there are none, or nothing is to be refused."""
    if not settings.max_delay_ms or settings.cors_origins:
        return None
    delay_s = settings.max_delay_ms / 1e3

    def refused(path: str) -> None:
        telemetry.request(path, "POST", 503, 0.0)
        telemetry.refused.labels("door").inc()

    return Gate(delay_s, LANES, refused)


def _batcher(
    settings: Settings, predictor: Predictor, telemetry: Telemetry, tracing: Tracing | None
) -> MicroBatcher:
    def on_batch(batch: Batch) -> Any:
        telemetry.batch(batch)
        if tracing is None:
            return None
        return tracing.batch(batch.started, batch.num_requests, batch.computed)

    return MicroBatcher(
        predictor.compute,
        max_batch_cost=settings.max_batch_cost_edges,
        max_wait_s=settings.max_wait_ms / 1e3,
        queue_limit=settings.queue_limit,
        queue_limit_cost=settings.queue_limit_edges,
        on_batch=on_batch,
        small_cost=SMALL_EDGES,
    )


@asynccontextmanager
async def _letting_go(app: FastAPI) -> AsyncIterator[None]:
    """Graph and models leave with the server, however it ends, even where the app is kept."""
    try:
        yield
    finally:
        gc.unfreeze()
        app.state.resources = None


@asynccontextmanager
async def _shared(settings: Settings, telemetry: Telemetry) -> AsyncIterator[RedisCache | None]:
    """The cache in Redis, if there is to be one; a Redis that is lost starts as lost."""
    if settings.redis_url is None:
        yield None
        return
    shared = RedisCache(
        settings.redis_url,
        prefix=settings.redis_prefix,
        ttl_s=settings.redis_ttl_s,
        timeout_s=settings.redis_timeout_ms / 1e3,
        retry_s=settings.redis_retry_s,
        count=telemetry.redis,
    )
    try:
        await shared.look()
        yield shared
    finally:
        await shared.aclose()


@contextmanager
def _similarity(settings: Settings) -> Iterator[Similarity]:
    similarity = Similarity(settings.similar_exact_rows, settings.threads)
    try:
        yield similarity
    finally:
        similarity.close()


def _side(name: str, limit: int, telemetry: Telemetry) -> SideWork:
    """Threads for what is not computed in a batch; `where` of the metric is their name."""
    return SideWork(name, SIDE_THREADS, limit, telemetry.refused.labels(name).inc)


def _without_caches(predictor: Predictor) -> Predictor:
    """The same for shadows, which take no room from those who are answered."""
    nothing = {"cache_bytes": 0, "hidden_cache_bytes": 0}
    settings = predictor.settings.model_copy(update=nothing)
    return Predictor(predictor.data, predictor.registry, MemoryCache(0), settings)


def _rollout(
    settings: Settings,
    predictor: Predictor,
    of_graphs: GraphPredictor,
    telemetry: Telemetry,
    metrics: RoutingMetrics,
) -> Rollout:
    """What an operator may change; the metrics say what is served from now on."""
    registry, models = predictor.registry, of_graphs.models
    meta = predictor.data.meta
    telemetry.graph_info.labels(meta.name, str(meta.version), meta.fingerprint).set(1)

    served: dict[str, tuple[str, str, str]] = {}

    def told(changed: Sequence[Any]) -> None:
        for model in changed:
            info = model.saved.info if isinstance(model, ServedModel) else model.info
            telemetry.model(info.name, info.version, info.digest)
            served[info.name] = (info.name, str(info.version), info.digest)
        for name in served.keys() - {*registry.names, *models.names}:
            telemetry.model_info.labels(*served.pop(name)).set(0)

    told([m for r in (registry, models) for name in r.names if (m := r.opened(name)) is not None])
    followed = (Followed(registry, predictor.test), Followed(models, of_graphs.test))
    file = RoutingFile(settings.routing_path)
    return Rollout(file, registry.routing, followed, metrics, told)


def _add_errors(app: FastAPI) -> None:
    app.add_exception_handler(GnnError, _failed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _answer_to(request: Request, error: Exception) -> Response:
    """What the stack would answer to an error, whatever it is."""
    if isinstance(error, HTTPException):
        return await _refused(request, error)
    if isinstance(error, RequestValidationError):
        return await _invalid(request, error)
    return await _failed(request, error)


async def _failed(request: Request, error: Exception) -> Response:
    response = problem_response(exchange_of(request).request_id, error)
    is_hidden = response.status_code >= 500 and not problem_of(error).public
    if is_hidden or response.status_code in (500, 507):
        log.error("failed", request_id=exchange_of(request).request_id, exc_info=error)
    return in_dialect(request.url.path, response)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for no other"
    problem = Problem(error.status_code, CODES.get(error.status_code, "refused"), error.detail)
    detail = f"there is no {request.method} {request.url.path[:200]}; /docs lists what there is"
    body = problem_body(problem, detail, exchange_of(request).request_id)
    response = Response(body, error.status_code, error.headers, PROBLEM_TYPE)
    return in_dialect(request.url.path, response)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for no other"
    faults = [{"loc": list(f["loc"]), "msg": f["msg"]} for f in error.errors()[:20]]
    place = ".".join(str(part) for part in faults[0]["loc"])
    wrong = RequestError(f"{place}: {faults[0]['msg']}", faults)
    return in_dialect(request.url.path, problem_response(exchange_of(request).request_id, wrong))


def _describe_bodies(
    app: FastAPI, requests: Sequence[type[Any]], settings: Settings, needs_keys: bool
) -> None:
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
            describe_deadlines(document)
            if needs_keys:
                describe_access(app, document, settings)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
