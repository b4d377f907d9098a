"""What crosses the wire about whole graphs: strict requests, documented answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, FailFast, Field, create_model

from service.schemas import ModelName, Request, Version

__all__ = ["GraphsRequest", "GraphsResponse", "SentGraph", "limited_graphs"]

Row = Annotated[list[float], FailFast()]
NodeNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
Edge = Annotated[list[NodeNumber], Field(min_length=2, max_length=2)]
Place = Annotated[list[float], Field(min_length=3, max_length=3)]
GraphOutput = Literal["label", "probabilities", "embedding", "prediction_set"]


def _default_outputs() -> list[GraphOutput]:
    return ["label", "probabilities"]


class SentGraph(Request):
    """A whole graph: its nodes are 0 … n - 1, in the order of their features."""

    node_features: Annotated[list[Row], FailFast()] = Field(
        min_length=1, description="One row per node: one number per input feature of the model."
    )
    edges: Annotated[list[Edge], FailFast()] = Field(
        default_factory=list,
        description="Pairs [source, destination]; an edge that runs both ways is sent twice.",
    )
    edge_features: list[Row] | None = Field(
        None, description="One row per edge, where the model reads edge features."
    )
    positions: list[Place] | None = Field(
        None, description="[x, y, z] per node, where the model reads positions."
    )


class GraphsRequest(Request):
    """Body of `POST /v1/graphs/predict`."""

    graphs: Annotated[list[SentGraph], FailFast()] = Field(
        min_length=1, description="Whole graphs."
    )
    model: ModelName = Field("default", description="Name of a model for graphs.")
    version: Version | None = Field(None, description="Model version; the newest when left out.")
    include: Annotated[list[GraphOutput], Field(max_length=4)] = Field(
        default_factory=_default_outputs,
        description="What to answer for every graph.",
        json_schema_extra={"default": ["label", "probabilities"]},
    )


class GraphPrediction(BaseModel):
    """What one graph is."""

    label: int | str | None = Field(None, description="Most probable class.")
    score: float | None = Field(None, description="Probability of the label.")
    value: float | list[float] | None = Field(None, description="Regression: the prediction.")
    probabilities: dict[str, float] | None = None
    prediction_set: list[int | str] | None = Field(
        None, description="Labels that the graph may have, most probable first."
    )
    embedding: list[float] | None = None


class GraphsResponse(BaseModel):
    """Answer of `POST /v1/graphs/predict`."""

    model: str
    model_version: int
    predictions: list[GraphPrediction] = Field(description="In the order sent.")


def limited_graphs(limit: int) -> type[GraphsRequest]:
    """The same request with at most this many graphs, in the parser and in OpenAPI."""
    bounds = Field(min_length=1, max_length=limit, description="Whole graphs.")
    kind = Annotated[list[SentGraph], FailFast()]
    about = GraphsRequest.__doc__
    fields: dict[str, Any] = {"graphs": (kind, bounds)}
    return create_model("GraphsRequest", __base__=GraphsRequest, __doc__=about, **fields)
