"""Predictions and embeddings of nodes: the endpoints that the rest is there for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from fastapi import FastAPI, Request
from starlette.responses import Response

from service.answer_size import BINARY, JSON
from service.answers import rows_of
from service.errors import LimitError
from service.exchange import (
    json_response,
    parse,
    read_body,
)
from service.overlay import EdgeEdits
from service.plan import Plan, Query
from service.predictor import Answer, Predictor
from service.routes.documented import DirectRoute, body_of, problems
from service.routes.planning import SMALL, chosen, planned, shadowed
from service.schemas import (
    EdgeOverlay,
    EmbedRequest,
    EmbedResponse,
    NodesRequest,
    PredictRequest,
    PredictResponse,
    limited,
)
from service.settings import Settings
from service.side import SideWork

__all__ = ["OF_POST", "add_routes", "request_models"]

ARROW = "application/vnd.apache.arrow.stream"
OF_POST = (400, 404, 408, 409, 413, 415, 422, 500, 503, 504)


def request_models(settings: Settings) -> tuple[type[PredictRequest], type[EmbedRequest]]:
    """The bodies, with the limits that are set."""
    ids, new_nodes = settings.max_ids_per_request, settings.max_new_nodes
    predict = limited(PredictRequest, {"nodes": ids, "new_nodes": new_nodes})
    return predict, limited(EmbedRequest, {"nodes": ids})


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/nodes`."""
    predict_model, embed_model = request_models(settings)

    async def predict(request: Request) -> Response:
        """A prediction for every node, in the order sent."""
        body = parse(predict_model, await read_body(request, settings))
        _check_edges(body, settings)
        query = _query(body, body.include, body.on_unknown, body.new_nodes)
        if body.overlay is not None:
            query = replace(query, overlay=_edits(body.overlay))
        choice = chosen(request, query)
        plan = await planned(request, query, settings, choice)
        predictor = _predictor(request)
        if len(plan.ids) <= SMALL:
            response = _predicted(predictor, plan)
        else:
            response = await request.app.state.resources.planning.run(_predicted, predictor, plan)
        shadowed(request, plan, choice)
        return response

    async def embed(request: Request) -> Response:
        """The embedding of every node, in the order sent; JSON, or Arrow where it is accepted."""
        body = parse(embed_model, await read_body(request, settings))
        query = _query(body, ["embedding"])
        is_binary = ARROW in request.headers.get("accept", "")
        encode, number = (_arrow, BINARY) if is_binary else (_embedded, JSON)
        plan = await planned(request, query, settings, chosen(request, query), number)
        planning: SideWork = request.app.state.resources.planning
        return await planning.run(encode, _predictor(request), plan)

    post = partial(
        app.router.add_api_route,
        methods=["POST"],
        tags=["nodes"],
        route_class_override=DirectRoute,
    )
    post(
        "/v1/nodes/predict",
        predict,
        responses={200: {"model": PredictResponse}, **problems(*OF_POST)},
        openapi_extra=body_of(predict_model),
    )
    binary = {"content": {ARROW: {"schema": {"type": "string"}}}}
    post(
        "/v1/nodes/embed",
        embed,
        responses={200: {"model": EmbedResponse} | binary, **problems(*OF_POST)},
        openapi_extra=body_of(embed_model),
    )


def _check_edges(body: PredictRequest, settings: Settings) -> None:
    got, limit = sum(len(node.in_edges) for node in body.new_nodes), settings.max_new_edges
    if got > limit:
        raise LimitError("in_edges of all new_nodes", limit, got)
    overlay, limit = body.overlay or EdgeOverlay(), settings.max_overlay_edges
    got = len(overlay.add_edges) + len(overlay.remove_edges)
    if got > limit:
        raise LimitError("edges of the overlay", limit, got)


def _edits(overlay: EdgeOverlay) -> EdgeEdits:
    added, removed = ([(u, v) for u, v in edges] for edges in (overlay.add_edges,
                      overlay.remove_edges))  # fmt: skip
    return EdgeEdits(added, removed)


def _query(
    body: NodesRequest, include: Sequence[str], on_unknown: Any = "error", new: Sequence[Any] = ()
) -> Query:
    return Query(
        body.nodes, body.model, body.version, body.mode, include, body.seed, on_unknown, new
    )


def _predictor(request: Request) -> Predictor:
    predictor: Predictor = request.app.state.resources.predictor
    return predictor


def _predicted(predictor: Predictor, plan: Plan) -> Response:
    answer = predictor.answer(plan, as_arrays=True)
    return json_response(_head(answer) | {"predictions": answer.predictions})


def _head(answer: Answer) -> dict[str, Any]:
    return {
        "model": answer.model,
        "model_version": answer.model_version,
        "graph_version": answer.graph_version,
    }


def _embedded(predictor: Predictor, plan: Plan) -> Response:
    head = _head(predictor.answer(plan, as_arrays=True))
    return json_response(head | {"embeddings": rows_of(plan)})


def _arrow(predictor: Predictor, plan: Plan) -> Response:
    """An IPC stream: the node ids and a fixed-size list of float32 for each."""
    rows = rows_of(plan)
    head = _head(predictor.answer(plan, as_arrays=True))
    kind = pa.string() if predictor.data.ids.is_string else pa.int64()
    columns = {
        "node": pa.array(plan.ids, kind),
        "embedding": pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1]),
    }
    table = pa.table(columns).replace_schema_metadata({k: str(v) for k, v in head.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), media_type=ARROW)
