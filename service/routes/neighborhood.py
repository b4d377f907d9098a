"""The edges behind a prediction, for pictures of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from sampling import Dataset
from service.errors import LimitError
from service.exchange import json_response
from service.neighborhood import Neighborhood, neighborhood_of
from service.predictor import Predictor
from service.registry import ServedModel
from service.routes.documented import problems
from service.routes.graph import NodePath, find_node
from service.schemas import NeighborhoodResponse
from service.settings import Settings

__all__ = ["ModelQuery", "VersionQuery", "add_routes"]

ModelQuery = Annotated[str, Query(min_length=1, max_length=64, description="Model name.")]
VersionQuery = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="Model version; the newest when left out.")
]
Mode = Annotated[
    Literal["sampled", "exact"], Query(description="The model's fanouts, or all neighbors.")
]
Seed = Annotated[int, Query(ge=0, le=2**63 - 1, description="Of the neighbors drawn.")]
Limit = Annotated[int, Query(ge=1, le=2**31 - 1, description="Edges to list at most.")]


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/graph/nodes/{id}/neighborhood`; before the nodes, whose ids are any text."""

    @app.get(
        "/v1/graph/nodes/{id:text}/neighborhood",
        tags=["graph"],
        response_model=NeighborhoodResponse,
        responses=problems(404, 409, 422, 500, 503),
    )
    async def neighborhood(
        request: Request,
        id: NodePath,  # noqa: A002 - the name in the path
        model: ModelQuery = "default",
        version: VersionQuery = None,
        mode: Mode = "sampled",
        seed: Seed = 0,
        limit: Limit = 200,
    ) -> Response:
        """The edges that a prediction of the node reads, those next to it first."""
        if limit > settings.max_neighbors:
            raise LimitError("limit", settings.max_neighbors, limit)
        predictor: Predictor = request.app.state.resources.predictor
        key, row = find_node(predictor.data, id)

        def read() -> dict[str, Any]:
            served = predictor.registry.get(model, version)
            found = neighborhood_of(
                predictor.data, served, row, mode, seed, limit, settings.max_exact_edges
            )
            head = _head(predictor.data, served, model)
            return head | {"node": key, "mode": mode, "seed": seed} | _body(predictor.data, found)

        return json_response(await request.app.state.resources.side.run(read))


def _head(data: Dataset, model: ServedModel, name: str) -> dict[str, Any]:
    return {
        "model": name,
        "model_version": model.version,
        "graph_version": data.meta.version,
        "fanouts": list(model.saved.info.fanouts),
    }


def _body(data: Dataset, found: Neighborhood) -> dict[str, Any]:
    ids = list(data.ids.to_ids(found.nodes))
    hops, layers = found.hops.tolist(), found.layers.tolist()
    ends = zip(found.src.tolist(), found.dst.tolist(), layers, strict=True)
    edges: list[dict[str, Any]] = [
        {"source": ids[a], "target": ids[b], "layer": layer} for a, b, layer in ends
    ]
    if found.types is not None:
        for edge, code in zip(edges, found.types.tolist(), strict=True):
            edge["edge_type"] = data.graph.edge_types[code]
    return {
        "num_edges": found.num_edges,
        "nodes": [{"node": a, "hop": hop} for a, hop in zip(ids, hops, strict=True)],
        "edges": edges,
    }
