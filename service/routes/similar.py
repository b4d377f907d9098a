"""Nodes that are near, by their embeddings."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from numpy.typing import NDArray
from starlette.responses import Response

from gnn import EmbeddingTable
from sampling.errors import UnknownNodeError
from service.answer_size import HEAD, check_answer_size
from service.errors import DeadlineError, NoTableError, RequestError
from service.exchange import (
    exchange_of,
    json_response,
    parse,
    read_body,
    timeout_ms,
    while_connected,
)
from service.registry import ServedModel
from service.routes.documented import DirectRoute, body_of, problems
from service.schemas import SimilarRequest, SimilarResponse, limited
from service.settings import Settings
from service.similarity import Found

__all__ = ["add_routes", "request_models"]

Answer = dict[str, Any]

OF_POST = (400, 404, 408, 409, 413, 415, 422, 500, 503, 504)


def request_models(settings: Settings) -> tuple[type[SimilarRequest]]:
    """The body, with the limits that are set."""
    return (limited(SimilarRequest, {"nodes": settings.max_similar_nodes}),)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/nodes/similar`."""
    (model_of_body,) = request_models(settings)

    async def similar(request: Request) -> Response:
        """The nearest nodes of a node, of several, or of a vector, best first."""
        body = parse(model_of_body, await read_body(request, settings))
        limit_ms = timeout_ms(request, settings)
        left_s = exchange_of(request).started + limit_ms / 1e3 - time.perf_counter()
        if left_s <= 0:
            raise DeadlineError(limit_ms)
        try:
            async with asyncio.timeout(left_s):
                return json_response(await while_connected(request, _answer(request, body)))
        except TimeoutError:
            raise DeadlineError(limit_ms) from None

    app.router.add_api_route(
        "/v1/nodes/similar",
        similar,
        methods=["POST"],
        tags=["nodes"],
        route_class_override=DirectRoute,
        responses={200: {"model": SimilarResponse}, **problems(*OF_POST)},
        openapi_extra=body_of(model_of_body),
    )


async def _answer(request: Request, body: SimilarRequest) -> Answer:
    resources = request.app.state.resources
    predictor = resources.predictor
    model = await resources.side.run(predictor.registry.get, body.model, body.version)
    similarity, table = resources.similarity, _table(model)
    similarity.check(table)
    check_answer_size(predictor.settings, len(body.nodes) or 1, body.k * HEAD)
    if body.embedding:
        vector = _vector(body.embedding, table.meta.dim)
        [found], seconds = await similarity.of_vector(table, vector, body.k)
        answer: Answer = {"neighbors": _listed(predictor.data.ids, *found)}
    else:
        asked = body.nodes if body.node is None else [body.node]
        dense = _dense(predictor.data.ids, asked)
        lists, seconds = await similarity.of_nodes(table, dense, body.k)
        answer = _by_node(predictor.data.ids, asked, lists, body.node is not None)
    exchange_of(request).spent(seconds)
    resources.telemetry.worked(seconds)
    return {
        "model": body.model,
        "model_version": model.version,
        "graph_version": predictor.data.meta.version,
        "source": "index" if similarity.has_index(table) else "exact",
        **answer,
    }


def _table(model: ServedModel) -> EmbeddingTable:
    """The fresh table of a model.

    Raises:
        NoTableError: there is none.
    """
    if model.table is None:
        raise NoTableError(model.name, model.version)
    return model.table


def _vector(values: list[float], dim: int) -> NDArray[np.float32]:
    """The direction of a vector: a cosine asks for no more, and its length may overflow.

    Raises:
        RequestError: it has another width than the table, or no direction.
    """
    vector = np.asarray(values, np.float64)
    if len(vector) != dim:
        raise RequestError(f"embedding: got {len(vector)} numbers; the table has {dim}")
    largest = np.abs(vector).max()
    if largest == 0:
        raise RequestError("embedding: all numbers are zero, which is near nothing")
    direction: NDArray[np.float32] = (vector / largest).astype(np.float32)
    return direction


def _dense(ids: Any, asked: list[int | str]) -> NDArray[np.int64]:
    dense: NDArray[np.int64] = ids.find(asked)
    if (dense < 0).any():
        unknown = [asked[i] for i in np.flatnonzero(dense < 0).tolist()]
        raise UnknownNodeError(list(dict.fromkeys(unknown)))
    return dense


def _by_node(ids: Any, asked: list[int | str], lists: Found, is_one: bool) -> Answer:
    if is_one:
        return {"neighbors": _listed(ids, *lists[0])}
    entries = zip(asked, lists, strict=True)
    return {"results": [{"node": n, "neighbors": _listed(ids, *found)} for n, found in entries]}


def _listed(ids: Any, nodes: NDArray[np.int64], scores: NDArray[np.float32]) -> list[Answer]:
    pairs = zip(ids.to_ids(nodes), scores.tolist(), strict=True)
    return [{"node": node, "score": score} for node, score in pairs]
