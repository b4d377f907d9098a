"""From a query to a plan with no work left: what all endpoints about nodes share."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from service.answer_size import JSON, check_answer_size, row_bytes
from service.answers import outputs_of
from service.errors import DeadlineError, OverloadedError
from service.exchange import exchange_of, timeout_ms, while_connected
from service.plan import CACHE, SOURCES, Plan, Query
from service.predictor import Predictor
from service.recall import keep, recall
from service.registry import ServedModel
from service.repository import Choice
from service.routing import content_of
from service.settings import Settings
from service.shadow import Answered, Kind
from service.shared import RedisCache
from service.side import SideWork

__all__ = ["SMALL", "chosen", "planned", "shadowed"]

SMALL = 256
"""Ids up to which the event loop does what it would take longer to hand over."""


def chosen(request: Request, query: Query) -> Choice[ServedModel]:
    """What answers a query: rows of two versions cannot be compared, so that whoever asks for
    embeddings gets those of one.

    Raises:
        ModelNotFoundError, UnloadedError, GnnError: nothing does.
    """
    predictor: Predictor = request.app.state.resources.predictor
    registry = predictor.registry
    if "embedding" in query.include:
        return Choice(query.model, registry.opened(query.model, query.version))
    ids = [*query.nodes, *(node.id for node in query.new_nodes)] if query.new_nodes else query.nodes
    return registry.choose(
        query.model, query.version, content_of(ids), lambda model: _is_usable(model, query)
    )


async def planned(
    request: Request,
    query: Query,
    settings: Settings,
    choice: Choice[ServedModel],
    number: int = JSON,
) -> Plan:
    """The plan of a query with no work left, within the deadline.

    Args:
        request: that asks.
        query: what it asks.
        settings: with the longest deadline.
        choice: what answers; see `chosen`.
        number: bytes of each number of an embedding in the answer; 0 where none is in it.

    Raises:
        ServiceError: the query cannot be answered, or not in time.
    """
    try:
        plan = await _planned(request, query, settings, choice.model, number)
    except Exception as error:
        _count(request, choice, choice.model, error)
        raise
    _count(request, choice, plan.model, None)
    if query.mode == "auto" and plan.model.table is None:
        request.app.state.resources.telemetry.untabled(len(plan.ids))
    counts = np.bincount(plan.source, minlength=len(SOURCES)).tolist()
    request.app.state.resources.telemetry.sources(zip(SOURCES, counts, strict=True))
    return plan


def shadowed(request: Request, plan: Plan, choice: Choice[ServedModel]) -> None:
    """Have the shadow, where one was drawn, compute what has been answered."""
    shadow, known = choice.shadow, plan.source > 0
    if shadow is None or plan.outputs is None or not known.any():
        return
    resources = request.app.state.resources
    predictor = resources.shadow_predictor

    def compute() -> NDArray[np.float32]:
        mode = "auto" if plan.query.mode == "table" else plan.query.mode
        again = predictor.finished(replace(plan.query, mode=mode, include=["label"]), shadow)
        outputs: NDArray[np.float32] = outputs_of(again)[again.source > 0]
        return outputs

    seconds = time.perf_counter() - exchange_of(request).started
    resources.shadows.offer(
        Answered(
            choice.name, plan.model.version, shadow.version, _kind(plan.model),
            plan.outputs[known], compute, seconds,
        )
    )  # fmt: skip


async def _planned(
    request: Request, query: Query, settings: Settings, model: ServedModel | None, number: int
) -> Plan:
    limit_ms = timeout_ms(request, settings)
    deadline = exchange_of(request).started + limit_ms / 1e3
    if time.perf_counter() >= deadline:
        raise DeadlineError(limit_ms)
    predictor: Predictor = request.app.state.resources.predictor
    try:
        if model is not None and len(query.nodes) <= SMALL and predictor.plans_soon(query, model):
            plan = _plan(predictor, query, model, number)
        else:
            side: SideWork = request.app.state.resources.planning
            async with asyncio.timeout(deadline - time.perf_counter()):
                plan = await side.run(_plan, predictor, query, model, number)
        _count_memory(request, plan)
        if plan.work:
            await while_connected(request, _work(request, plan, deadline))
    except OverloadedError:
        request.app.state.resources.telemetry.refused.labels("queue").inc()
        raise
    except (TimeoutError, DeadlineError):
        raise DeadlineError(limit_ms) from None
    return plan


def _count_memory(request: Request, plan: Plan) -> None:
    """Count what the cache in memory had of the rows that the table had not."""
    hits = int(np.count_nonzero(plan.source == CACHE))
    misses = sum(len(work.nodes) for work in plan.work if work.key.is_cacheable)
    request.app.state.resources.telemetry.looked_up("memory", "last", hits, misses)


def _plan(predictor: Predictor, query: Query, model: ServedModel | None, number: int) -> Plan:
    served = model or predictor.registry.get(query.model, query.version)
    rows = len(query.nodes) + len(query.new_nodes)
    check_answer_size(predictor.settings, rows, row_bytes(served, query.include, number))
    return predictor.plan(query, served)


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


def _is_usable(model: ServedModel, query: Query) -> bool:
    """Whether a canary can answer; where it has no table, or no calibration, it need not."""
    has_table = query.mode != "table" or model.table is not None
    has_sets = model.saved.info.calibration is not None or "prediction_set" not in query.include
    return has_table and has_sets


def _count(
    request: Request,
    choice: Choice[ServedModel],
    model: ServedModel | None,
    error: Exception | None,
) -> None:
    if choice.arm is not None and model is not None:
        metrics = request.app.state.resources.routing_metrics
        metrics.canary(choice.name, model.version, choice.arm, error)


def _kind(model: ServedModel) -> Kind:
    if model.classes is None:
        return "values"
    return "flags" if model.has_many_labels else "classes"
