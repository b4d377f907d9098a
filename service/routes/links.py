"""Scores of node pairs over HTTP."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.exchange import json_response, parse, read_body
from service.links import LinkQuery, link_entries
from service.predictor import Predictor
from service.routes.documented import DirectRoute, body_of, problems
from service.routes.nodes import OF_POST, SMALL, planned
from service.schemas import LinksRequest, LinksResponse, limited
from service.settings import Settings

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
        query = LinkQuery(body.pairs, body.model, body.version, body.mode, body.relation)
        predictor: Predictor = request.app.state.resources.predictor
        model = predictor.registry.opened(query.model, query.version)
        if model is None:
            model = await asyncio.to_thread(predictor.registry.get, query.model, query.version)
        nodes = query.of_nodes(model, settings.max_ids_per_request)
        plan = await planned(request, nodes, settings)
        types = predictor.data.graph.edge_types
        if len(query.pairs) <= SMALL:
            entries = link_entries(query, plan, types)
        else:
            entries = await asyncio.to_thread(link_entries, query, plan, types)
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
