"""Scores of node pairs over HTTP."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from numpy.typing import NDArray
from starlette.responses import Response

from service.exchange import exchange_of, json_response, parse, read_body
from service.links import LinkQuery, default_for_links, link_entries
from service.predictor import Predictor
from service.registry import ServedModel
from service.repository import Choice
from service.routes.documented import DirectRoute, body_of, problems
from service.routes.nodes import OF_POST
from service.routes.planning import SMALL, planned
from service.routing import content_of
from service.schemas import LinksRequest, LinksResponse, limited
from service.settings import Settings
from service.shadow import Answered

__all__ = ["add_routes", "request_models"]


def request_models(settings: Settings) -> tuple[type[LinksRequest]]:
    """The body, with the limit that is set."""
    return (limited(LinksRequest, {"pairs": settings.max_ids_per_request}),)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/links`."""
    (body_model,) = request_models(settings)

    async def predict(request: Request) -> Response:
        """A score for every pair, in the order sent."""
        body = parse(body_model, await read_body(request, settings))
        predictor: Predictor = request.app.state.resources.predictor
        is_named = "model" in body.model_fields_set
        name = body.model if is_named else default_for_links(predictor.registry)
        query = LinkQuery(body.pairs, name, body.version, body.mode, body.relation)
        choice, planning = _chosen(predictor, query), request.app.state.resources.planning
        model = choice.model
        if model is None:
            model = await planning.run(predictor.registry.get, query.model, query.version)
        nodes = query.of_nodes(model, settings.max_ids_per_request)
        plan = await planned(request, nodes, settings, replace(choice, model=model), number=0)
        types = predictor.data.graph.edge_types
        if len(query.pairs) <= SMALL:
            entries = link_entries(query, plan, types)
        else:
            entries = await planning.run(link_entries, query, plan, types)
        _shadowed(request, query, choice, model, entries)
        head = {
            "model": query.model,
            "model_version": model.version,
            "graph_version": predictor.data.meta.version,
        }
        return json_response(head | {"scores": entries})

    app.router.add_api_route(
        "/v1/links/predict",
        predict,
        methods=["POST"],
        tags=["links"],
        route_class_override=DirectRoute,
        responses={200: {"model": LinksResponse}, **problems(*OF_POST)},
        openapi_extra=body_of(body_model),
    )


def _chosen(predictor: Predictor, query: LinkQuery) -> Choice[ServedModel]:
    ids = [key for pair in query.pairs for key in pair]
    return predictor.registry.choose(
        query.model,
        query.version,
        content_of(ids),
        lambda model: query.mode != "table" or model.table is not None,
    )


def _shadowed(
    request: Request,
    query: LinkQuery,
    choice: Choice[ServedModel],
    model: ServedModel,
    entries: list[dict[str, Any]],
) -> None:
    """Have the shadow, where one was drawn, score the same pairs."""
    shadow, resources = choice.shadow, request.app.state.resources
    if shadow is None or not entries:
        return
    predictor: Predictor = resources.shadow_predictor

    def compute() -> NDArray[np.float32]:
        asked = query if query.mode != "table" else replace(query, mode="auto")
        nodes = asked.of_nodes(shadow, predictor.settings.max_ids_per_request)
        plan = predictor.finished(nodes, shadow)
        return _scores(link_entries(asked, plan, predictor.data.graph.edge_types))

    seconds = time.perf_counter() - exchange_of(request).started
    resources.shadows.offer(
        Answered(
            choice.name, model.version, shadow.version, "flags", _scores(entries), compute, seconds
        )
    )


def _scores(entries: list[dict[str, Any]]) -> NDArray[np.float32]:
    return np.array([[entry["score"]] for entry in entries], np.float32)
