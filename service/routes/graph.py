"""What the graph holds."""

from __future__ import annotations

import re
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Path, Query, Request
from starlette.responses import Response

from sampling import Dataset
from sampling.graph.meta import UNLABELED
from service.errors import LimitError, NodeNotFoundError
from service.exchange import json_response
from service.routes.documented import problems
from service.schemas import GraphResponse, NeighborsResponse, NodeResponse
from service.settings import Settings

__all__ = ["NodePath", "add_routes", "find_node"]

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")

Limit = Annotated[int, Query(ge=0, le=2**31 - 1, description="Neighbors to list at most.")]
NodePath = Annotated[str, Path(description="Node id.", min_length=1)]


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/graph` and the nodes under it."""

    @app.get("/v1/graph", tags=["graph"], response_model=GraphResponse)
    async def graph(request: Request) -> Response:
        """Name, version, counts, types."""
        return json_response(_summary(_data(request)))

    @app.get(
        "/v1/graph/nodes/{id:text}/neighbors",
        tags=["graph"],
        response_model=NeighborsResponse,
        responses=problems(404, 422),
    )
    async def neighbors(
        request: Request,
        id: NodePath,  # noqa: A002
        limit: Limit = 100,
    ) -> Response:
        """The nodes that point to a node, in the order they are stored."""
        if limit > settings.max_neighbors:
            raise LimitError("limit", settings.max_neighbors, limit)
        return json_response(_neighbors(_data(request), id, limit))

    @app.get(
        "/v1/graph/nodes/{id:text}",
        tags=["graph"],
        response_model=NodeResponse,
        responses=problems(404, 422),
    )
    async def node(request: Request, id: NodePath) -> Response:  # noqa: A002
        """Features, label, degree."""
        return json_response(_node(_data(request), id))


def _data(request: Request) -> Dataset:
    data: Dataset = request.app.state.resources.predictor.data
    return data


def _summary(data: Dataset) -> dict[str, Any]:
    meta, labels = data.meta, data.meta.labels
    return {
        "name": meta.name,
        "version": meta.version,
        "fingerprint": meta.fingerprint,
        "num_nodes": meta.num_nodes,
        "num_edges": meta.num_edges,
        "node_types": [{"name": n, "num_nodes": b - a} for n, a, b in meta.node_types],
        "edge_types": meta.edge_types,
        "id_type": "string" if data.ids.is_string else "int",
        "feature_dim": meta.feature_dim,
        "feature_storage": meta.feature_storage,
        "label_kind": labels.kind if labels else None,
        "classes": labels.classes if labels else [],
    }


def find_node(data: Dataset, text: str) -> tuple[int | str, int]:
    """The id with its own type, and its dense node.

    Raises:
        NodeNotFoundError: there is no such node.
    """
    key: int | str = text
    if not data.ids.is_string and INTEGER.fullmatch(text):
        key = int(text)
    row = int(data.ids.find([key])[0])
    if row < 0:
        raise NodeNotFoundError(text)
    return key, row


def _node(data: Dataset, text: str) -> dict[str, Any]:
    key, row = find_node(data, text)
    features = data.features
    kinds = [t.name for t in data.graph.node_types if t.start <= row < t.end]
    several = data.meta.labels is not None and data.meta.labels.kind == "multi"
    return {
        "node": key,
        "type": kinds[0],
        "degree": len(data.graph.in_neighbors(row)),
        "label": None if several else _label(data, row),
        **({"labels": _labels(data, row)} if several else {}),
        "features": None if features is None else features.rows(row, row + 1).to_dense()[0].numpy(),
    }


def _labels(data: Dataset, row: int) -> list[int] | list[str] | None:
    """All labels of a node that may have several; None where none are known."""
    assert data.labels is not None and data.meta.labels is not None, "the caller looked"
    flags = data.labels[row]
    if (flags == UNLABELED).any():
        return None
    return [data.meta.labels.classes[code] for code in np.flatnonzero(flags).tolist()]  # type: ignore[return-value]


def _label(data: Dataset, row: int) -> int | str | float | None:
    if data.labels is None or data.meta.labels is None:
        return None
    if data.meta.labels.kind == "real":
        value = float(data.labels[row])
        return value if np.isfinite(value) else None
    code = int(data.labels[row])
    return data.meta.labels.classes[code] if code >= 0 else None


def _neighbors(data: Dataset, text: str, limit: int) -> dict[str, Any]:
    key, row = find_node(data, text)
    graph = data.graph
    start, end = int(graph.indptr[row]), int(graph.indptr[row + 1])
    edges = slice(start, min(end, start + limit))
    sources = np.asarray(graph.indices[edges], np.int64)
    listed: list[dict[str, Any]] = [{"node": source} for source in data.ids.to_ids(sources)]
    if graph.edge_type is not None:
        names = [graph.edge_types[code] for code in graph.edge_type[edges].tolist()]
        _add_column(listed, "edge_type", names)
    if graph.edge_weight is not None:
        _add_column(listed, "weight", graph.edge_weight[edges].tolist())
    if graph.edge_time is not None:
        _add_column(listed, "time", graph.edge_time[edges].tolist())
    return {"node": key, "degree": end - start, "neighbors": listed}


def _add_column(entries: list[dict[str, Any]], name: str, values: list[Any]) -> None:
    for entry, value in zip(entries, values, strict=True):
        entry[name] = value
