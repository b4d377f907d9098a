"""From a query to a plan with no work left: what all endpoints about nodes share."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from fastapi import Request

from service.errors import DeadlineError, OverloadedError
from service.exchange import exchange_of, timeout_ms, while_connected
from service.plan import CACHE, SOURCES, Plan, Query
from service.predictor import Predictor
from service.recall import keep, recall
from service.registry import ServedModel
from service.settings import Settings
from service.shared import RedisCache

__all__ = ["SMALL", "planned"]

SMALL = 256
"""Ids up to which the event loop does what it would take longer to hand over."""


async def planned(request: Request, query: Query, settings: Settings) -> Plan:
    """The plan of a query with no work left, within the deadline.

    Raises:
        ServiceError: the query cannot be answered, or not in time.
    """
    limit_ms = timeout_ms(request, settings)
    deadline = exchange_of(request).started + limit_ms / 1e3
    if time.perf_counter() >= deadline:
        raise DeadlineError(limit_ms)
    predictor: Predictor = request.app.state.resources.predictor
    model = predictor.registry.opened(query.model, query.version)
    try:
        if model is None or len(query.nodes) > SMALL or query.is_dear_to_plan:
            async with asyncio.timeout(deadline - time.perf_counter()):
                plan = await asyncio.to_thread(_plan, predictor, query, model)
        else:
            plan = predictor.plan(query, model)
        _count_memory(request, plan)
        if plan.work:
            await while_connected(request, _work(request, plan, deadline))
    except OverloadedError:
        request.app.state.resources.telemetry.refused.labels("queue").inc()
        raise
    except (TimeoutError, DeadlineError):
        raise DeadlineError(limit_ms) from None
    if query.mode == "auto" and plan.model.table is None:
        request.app.state.resources.telemetry.untabled(len(plan.ids))
    counts = np.bincount(plan.source, minlength=len(SOURCES)).tolist()
    request.app.state.resources.telemetry.sources(zip(SOURCES, counts, strict=True))
    return plan


def _count_memory(request: Request, plan: Plan) -> None:
    """Count what the cache in memory had of the rows that the table had not."""
    hits = int(np.count_nonzero(plan.source == CACHE))
    misses = sum(len(work.nodes) for work in plan.work if work.key.is_cacheable)
    request.app.state.resources.telemetry.looked_up("memory", "last", hits, misses)


def _plan(predictor: Predictor, query: Query, model: ServedModel | None) -> Plan:
    return predictor.plan(query, model or predictor.registry.get(query.model, query.version))


async def _work(request: Request, plan: Plan, deadline: float) -> None:
    resources = request.app.state.resources
    shared: RedisCache | None = resources.shared
    if shared is not None:
        await recall(plan, resources.predictor, shared)
    for work in plan.work:
        left_s = deadline - time.perf_counter()
        computed = await resources.batcher.submit(work.key, work.nodes, work.costs, left_s)
        exchange_of(request).spent(computed.seconds)
        exchange_of(request).batches += computed.batches
        resources.telemetry.queued(computed.seconds.get("queue", 0.0))
        plan.finish(work, computed)
        if shared is not None:
            keep(work, computed, resources.predictor, shared)
