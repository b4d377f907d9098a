"""The nodes in the plane, as a model sees them: counts, coordinates, and who a point is."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Path, Query, Request
from starlette.responses import Response

from sampling import Dataset
from service.errors import RequestError
from service.exchange import json_response
from service.maps import MOST_POINTS, NodeMap
from service.registry import ServedModel
from service.routes.documented import problems
from service.routes.graph import find_node
from service.routes.neighborhood import VersionQuery
from service.schemas import MapPointsResponse, MapResponse

__all__ = ["add_routes"]

ModelPath = Annotated[str, Path(description="Model name, or `default`.")]
Points = Annotated[
    list[Annotated[int, Query(ge=0, lt=MOST_POINTS)]],
    Query(max_length=100, description="Numbers of points; may be repeated."),
]
Node = Annotated[str | None, Query(min_length=1, description="The node of this id.")]
STATUSES = (404, 409, 422, 500, 503)


def add_routes(app: FastAPI) -> None:
    """`/v1/models/{name}/map`; before the models, whose names are any text."""
    binary: dict[str, Any] = {
        "description": "Coordinates, then codes.",
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    }

    @app.get(
        "/v1/models/{name:text}/map/points",
        tags=["models"],
        response_class=Response,
        responses={
            200: {"description": "Coordinates, then codes."} | binary,
            **problems(*STATUSES),
        },
    )
    async def points(request: Request, name: ModelPath, version: VersionQuery = None) -> Response:
        """`num_points` pairs of float32, then as many codes of uint16, little-endian."""
        _, found = await _map(request, name, version)
        content = await request.app.state.resources.side.run(found.to_bytes)
        return Response(content, media_type="application/octet-stream")

    @app.get(
        "/v1/models/{name:text}/map/nodes",
        tags=["models"],
        response_model=MapPointsResponse,
        responses=problems(*STATUSES),
    )
    async def nodes(
        request: Request,
        name: ModelPath,
        point: Points = [],  # noqa: B006 - read only
        node: Node = None,
        version: VersionQuery = None,
    ) -> Response:
        """The nodes behind some points, or where a node is."""
        model, found = await _map(request, name, version)
        data: Dataset = request.app.state.resources.predictor.data
        rows = _rows(data, found, point, node)
        return json_response({"points": _listed(data, model, found, rows)})

    @app.get(
        "/v1/models/{name:text}/map",
        tags=["models"],
        response_model=MapResponse,
        responses=problems(*STATUSES),
    )
    async def map_(request: Request, name: ModelPath, version: VersionQuery = None) -> Response:
        """How many points there are, and what their colors mean."""
        model, found = await _map(request, name, version)
        data: Dataset = request.app.state.resources.predictor.data
        return json_response(_summary(data, model, found, name))


async def _map(request: Request, name: str, version: int | None) -> tuple[ServedModel, NodeMap]:
    resources = request.app.state.resources
    model = await resources.side.run(resources.predictor.registry.get, name, version)
    return model, await resources.maps.get(model)


def _rows(data: Dataset, found: NodeMap, points: list[int], node: str | None) -> list[int]:
    if (node is None) == (not points):
        raise RequestError("give either `point`, once or several times, or `node`")
    if node is not None:
        return [find_node(data, node)[1]]
    if max(points) >= len(found.points):
        raise RequestError(f"point {max(points)}: the map has {len(found.points)}, from 0")
    rows: list[int] = found.points[points].tolist()
    return rows


def _listed(
    data: Dataset, model: ServedModel, found: NodeMap, rows: list[int]
) -> list[dict[str, Any]]:
    ids = data.ids.to_ids(np.array(rows, np.int64))
    return [
        {
            "point": found.place_of(row),
            "node": key,
            "x": float(found.spots[row, 0]),
            "y": float(found.spots[row, 1]),
            "label": model.classes[found.codes[row]] if model.classes else None,
        }
        for row, key in zip(rows, ids, strict=True)
    ]


def _summary(data: Dataset, model: ServedModel, found: NodeMap, name: str) -> dict[str, Any]:
    classes = (model.classes or []) if found.kind == "class" else []
    counts = np.bincount(found.codes[found.points], minlength=len(classes)).tolist()
    return {
        "model": name,
        "model_version": model.version,
        "graph_version": data.meta.version,
        "num_nodes": data.meta.num_nodes,
        "num_points": len(found.points),
        "kind": found.kind,
        "classes": classes,
        "counts": counts if classes else [],
        "low": found.low,
        "high": found.high,
        "stored": found.stored,
    }
