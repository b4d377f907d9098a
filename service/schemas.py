"""What crosses the wire: requests that are refused unless they fit exactly, answers as documented.

Requests are strict (no coercion: "7", 7.0 and true are not the integer 7), closed (no field that
is not listed) and finite. Answers are written by hand from arrays; their models here describe
them in the OpenAPI document, and tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

__all__ = [
    "AliasesResponse",
    "EmbedRequest",
    "EmbedResponse",
    "GraphResponse",
    "HealthResponse",
    "LinksRequest",
    "LinksResponse",
    "MapPointsResponse",
    "MapResponse",
    "ModelResponse",
    "ModelsResponse",
    "NeighborhoodResponse",
    "NeighborsResponse",
    "NewNode",
    "NodeResponse",
    "PredictRequest",
    "PredictResponse",
    "ProblemResponse",
    "SimilarRequest",
    "SimilarResponse",
    "StatsResponse",
    "limited",
]

MAX_ID_CHARS = 1024
MAX_FEATURES = 1_000_000

IntId = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
StringId = Annotated[str, Field(max_length=MAX_ID_CHARS)]
NodeId = IntId | StringId
Pair = Annotated[list[NodeId], Field(min_length=2, max_length=2)]
Relation = Annotated[str, Field(max_length=MAX_ID_CHARS)]
ModelName = Annotated[str, Field(min_length=1, max_length=64)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Edge = Annotated[list[NodeId], Field(min_length=2, max_length=2)]
Mode = Literal["auto", "table", "exact", "sampled"]
Output = Literal["label", "probabilities", "embedding", "prediction_set"]


def _default_outputs() -> list[Output]:
    return ["label", "probabilities"]


class Request(BaseModel):
    """Strict, closed, finite."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class NewNode(Request):
    """A node that is not in the graph: answered for and not stored."""

    id: NodeId = Field(description="Any id that the graph does not have.")
    features: Annotated[list[float], FailFast()] = Field(
        max_length=MAX_FEATURES, description="One finite number per input feature of the model."
    )
    in_edges: Annotated[list[NodeId], FailFast()] = Field(
        default_factory=list,
        description="Ids of the nodes in the graph that point to the new node; every mode reads "
        "all of them.",
    )


class NodesRequest(Request):
    """Which nodes, which model, and how hard to work."""

    nodes: Annotated[list[NodeId], FailFast()] = Field(description="Node ids; repeats allowed.")
    model: ModelName = Field("default", description="Model name.")
    version: Version | None = Field(None, description="Model version; the newest when left out.")
    mode: Mode = Field(
        "auto",
        description="`table`: from the batch table. `exact`: all neighbors. `sampled`: the model's "
        "fanouts. `auto`: the cheapest that is fresh.",
    )
    seed: Seed = Field(0, description="Randomness of the neighbors drawn, where any are drawn.")


class EdgeOverlay(Request):
    """Edges to think away or into the graph, for this request alone."""

    add_edges: Annotated[list[Edge], FailFast()] = Field(
        default_factory=list, description="Pairs of ids, source first; both are in the graph."
    )
    remove_edges: Annotated[list[Edge], FailFast()] = Field(
        default_factory=list, description="Pairs of ids whose edges are all taken away."
    )


class PredictRequest(NodesRequest):
    """Body of `POST /v1/nodes/predict`: at least one entry in `nodes` and `new_nodes` together."""

    nodes: Annotated[list[NodeId], FailFast()] = Field(
        default_factory=list, description="Node ids; repeats allowed."
    )
    include: Annotated[list[Output], Field(max_length=4)] = Field(
        default_factory=_default_outputs,
        description="What to answer for every node.",
        json_schema_extra={"default": ["label", "probabilities"]},
    )
    on_unknown: Literal["error", "report"] = Field(
        "error", description="Refuse the request, or answer the rest and report the unknown ids."
    )
    new_nodes: Annotated[list[NewNode], FailFast()] = Field(
        default_factory=list,
        description="Nodes to describe; those that `nodes` does not name are answered last.",
    )

    overlay: EdgeOverlay | None = Field(
        None,
        description="What if the graph had these edges? Answered exactly, never stored or cached.",
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> PredictRequest:
        if not self.nodes and not self.new_nodes:
            raise PydanticCustomError("nothing_asked", "give a node in `nodes` or in `new_nodes`")
        return self


class EmbedRequest(NodesRequest):
    """Body of `POST /v1/nodes/embed`."""


class SimilarRequest(Request):
    """Body of `POST /v1/nodes/similar`: exactly one of `node`, `nodes` and `embedding`."""

    node: NodeId | None = Field(None, description="The node whose neighbors are asked for.")
    nodes: Annotated[list[NodeId], FailFast()] = Field(
        default_factory=list, description="Several such nodes."
    )
    embedding: Annotated[list[float], FailFast()] = Field(
        default_factory=list,
        max_length=MAX_FEATURES,
        description="A vector as wide as the table, in place of a node.",
    )
    k: Annotated[int, Field(ge=1, le=1000)] = Field(10, description="Neighbors to answer.")
    model: ModelName = Field("default", description="Model name.")
    version: Version | None = Field(None, description="Model version; the newest when left out.")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> SimilarRequest:
        if (self.node is not None) + bool(self.nodes) + bool(self.embedding) != 1:
            raise PydanticCustomError(
                "one_of", "give exactly one of `node`, `nodes` and `embedding`"
            )
        return self


class LinksRequest(Request):
    """Body of `POST /v1/links/predict`."""

    pairs: Annotated[list[Pair], FailFast()] = Field(
        description="Pairs of node ids, source and destination; repeats allowed."
    )
    model: ModelName = Field("default", description="Model name.")
    version: Version | None = Field(None, description="Model version; the newest when left out.")
    mode: Literal["auto", "table", "exact"] = Field(
        "auto",
        description="`table`: from the batch table. `exact`: all neighbors. `auto`: the table "
        "while it is fresh.",
    )
    relation: Relation | list[Relation] | None = Field(
        None, description="Edge type of all pairs, or one for each; left out where there is one."
    )


RequestT = TypeVar("RequestT", bound=Request)


def limited(model: type[RequestT], limits: Mapping[str, int]) -> type[RequestT]:
    """The same request, whose lists end at the settings, in the parser and in OpenAPI.

    Args:
        model: the request.
        limits: most entries of each list, by the field's name.
    """
    fields: dict[str, Any] = {}
    for name, limit in limits.items():
        field = model.model_fields[name]
        default: Any = {} if field.is_required() else {"default_factory": list}
        bounds = Field(max_length=limit, description=field.description, **default)
        fields[name] = (Annotated[field.annotation, FailFast()], bounds)
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)


class Prediction(BaseModel):
    """What one node is."""

    node: int | str = Field(description="The id, with the type it was sent in.")
    label: int | str | None = Field(None, description="Most probable class.")
    score: float | None = Field(None, description="Probability of the label.")
    labels: list[int | str] | None = Field(
        None, description="Where a node may have several: all of a probability above one half."
    )
    value: float | list[float] | None = Field(None, description="Regression: the prediction.")
    probabilities: dict[str, float] | None = None
    prediction_set: list[int | str] | None = Field(
        None, description="Labels that the node may have, most probable first."
    )
    embedding: list[float] | None = None
    source: Literal["table", "cache", "computed"] | None = None
    mode: Literal["exact", "sampled"] | None = Field(
        None,
        description="All neighbors, or the model's fanouts; of a new node, beyond its `in_edges`.",
    )
    status: Literal["unknown"] | None = Field(None, description="The id is not in the graph.")


class Answered(BaseModel):
    """Which model answered, on which graph."""

    model: str
    model_version: int
    graph_version: int


class PredictResponse(Answered):
    """Answer of `POST /v1/nodes/predict`: one entry per id, in the order sent."""

    predictions: list[Prediction]


class EmbedResponse(Answered):
    """Answer of `POST /v1/nodes/embed`: one row per id, in the order sent."""

    embeddings: list[list[float]]


class SimilarNode(BaseModel):
    """A node that is near."""

    node: int | str
    score: float = Field(description="Cosine of the embeddings.")


class NearNodes(BaseModel):
    """What is near one of the nodes asked for."""

    node: int | str
    neighbors: list[SimilarNode]


class SimilarResponse(Answered):
    """Answer of `POST /v1/nodes/similar`: best first, without the node itself."""

    source: Literal["index", "exact"]
    neighbors: list[SimilarNode] | None = Field(None, description="Of `node` or `embedding`.")
    results: list[NearNodes] | None = Field(None, description="Of `nodes`, in the order sent.")


class LinkScore(BaseModel):
    """How likely one edge is."""

    pair: list[int | str] = Field(description="The ids, with the types they were sent in.")
    score: float = Field(description="Logistic function of the logit, between 0 and 1.")
    logit: float = Field(description="What the decoder gives, and what evaluation ranks by.")


class LinksResponse(Answered):
    """Answer of `POST /v1/links/predict`: one entry per pair, in the order sent."""

    scores: list[LinkScore]


class TypeCount(BaseModel):
    """A node type and how many nodes it has."""

    name: str
    num_nodes: int


class GraphResponse(BaseModel):
    """Answer of `GET /v1/graph`."""

    name: str
    version: int
    fingerprint: str = Field(description="Digest of what the graph holds.")
    num_nodes: int
    num_edges: int
    node_types: list[TypeCount]
    edge_types: list[str]
    id_type: Literal["int", "string"]
    feature_dim: int
    feature_storage: str | None
    label_kind: Literal["class", "real", "multi"] | None
    classes: list[int | str]


class NodeResponse(BaseModel):
    """Answer of `GET /v1/graph/nodes/{id}`."""

    node: int | str
    type: str
    degree: int = Field(description="Number of in-neighbors.")
    label: int | str | float | None
    labels: list[int | str] | None = Field(
        None, description="Where nodes have several; null for a node without any known."
    )
    features: list[float] | None


class Neighbor(BaseModel):
    """One edge into a node."""

    node: int | str
    edge_type: str | None = None
    weight: float | None = None
    time: int | None = None


class NeighborsResponse(BaseModel):
    """Answer of `GET /v1/graph/nodes/{id}/neighbors`."""

    node: int | str
    degree: int
    neighbors: list[Neighbor]


class ShareResponse(BaseModel):
    """A version that a share of the requests goes to."""

    version: int
    share: float = Field(description="Of the requests, up to 1.")


class RouteResponse(BaseModel):
    """Where an alias leads."""

    alias: str
    model: str
    version: int | None = Field(description="Null: the newest.")
    canary: ShareResponse | None
    shadow: ShareResponse | None
    source: Literal["settings", "run_time"]


class AliasesResponse(BaseModel):
    """Answer of `GET /v1/aliases`, and of what changes them."""

    revision: int = Field(description="Grows with every change; see `gnn_routing_revision`.")
    aliases: list[RouteResponse]
    loaded: dict[str, list[int]] = Field(description="Versions that are kept open.")
    unloaded: dict[str, list[int]] = Field(description="Versions that do not answer.")


class ReadNode(BaseModel):
    """A node that a prediction reads."""

    node: int | str
    hop: int = Field(description="Least number of edges from it to the node asked for.")


class ReadEdge(BaseModel):
    """An edge that a prediction reads."""

    source: int | str
    target: int | str
    layer: int = Field(description="Layer that reads it; that of the last is next to the node.")
    edge_type: str | None = None


class NeighborhoodResponse(Answered):
    """Answer of `GET /v1/graph/nodes/{id}/neighborhood`."""

    node: int | str
    mode: Literal["sampled", "exact"]
    seed: int
    fanouts: list[int] = Field(description="Neighbors drawn by every layer; -1 takes all.")
    num_edges: int = Field(description="Edges that are read, listed or not.")
    nodes: list[ReadNode] = Field(description="The node itself, then those of the edges.")
    edges: list[ReadEdge]


class MapResponse(Answered):
    """Answer of `GET /v1/models/{name}/map`."""

    num_nodes: int
    num_points: int = Field(description="Nodes on the map; a draw where the graph has more.")
    kind: Literal["class", "value", "none"] = Field(description="What codes of points are.")
    classes: list[int | str] = Field(description="Class of every code.")
    counts: list[int] = Field(description="Points of every class.")
    low: float = Field(description="Value of code 0, where codes are values.")
    high: float = Field(description="Value of code 255.")
    stored: bool = Field(description="Whether the table has the map, or it was made on demand.")


class MapPoint(BaseModel):
    """A node on the map."""

    point: int | None = Field(description="Its number; null where the draw left it out.")
    node: int | str
    x: float
    y: float
    label: int | str | None


class MapPointsResponse(BaseModel):
    """Answer of `GET /v1/models/{name}/map/nodes`."""

    points: list[MapPoint]


class RequestCount(BaseModel):
    """Requests answered."""

    route: str
    method: str
    status: str
    count: int


class RouteSeconds(BaseModel):
    """How long the answers of a route took."""

    route: str
    count: int
    sum_s: float
    buckets: list[int] = Field(description="Answers between the bounds; the last above all.")


class StageSeconds(BaseModel):
    """How long a stage took."""

    stage: str
    count: int
    sum_s: float
    buckets: list[int]


class CacheSize(BaseModel):
    """What this worker keeps of computed embeddings."""

    entries: int
    size_bytes: int


class StatsResponse(BaseModel):
    """Answer of `GET /v1/stats`: counts since the start, of all workers."""

    time_s: float = Field(description="Now, in seconds since 1970.")
    bounds_s: list[float] = Field(description="Upper bounds of all buckets but the last.")
    requests: list[RequestCount]
    routes: list[RouteSeconds]
    stages: list[StageSeconds]
    answers: dict[str, int] = Field(description="Nodes answered for, by source.")
    sampled_edges: int
    queue_depth: int
    cache: CacheSize


class ModelSummary(BaseModel):
    """One model in the list."""

    name: str
    version: int = Field(description="The version that answers when none is asked for.")
    versions: list[int]
    unloaded: list[int] = Field(description="Versions that were told not to answer.")
    aliases: list[str] = Field(description="Other names.")
    task: str
    is_default: bool
    canary: ShareResponse | None = Field(description="Of the model's own name.")
    shadow: ShareResponse | None = Field(description="Of the model's own name.")


class ModelsResponse(BaseModel):
    """Answer of `GET /v1/models`."""

    models: list[ModelSummary]


class ModelResponse(ModelSummary):
    """Answer of `GET /v1/models/{name}`."""

    classes: list[int | str] | None
    metrics: dict[str, Any]
    card: str = Field(description="The model card, Markdown.")
    config: dict[str, Any]
    fanouts: list[int]
    digest: str
    graph_fingerprint: str
    has_fresh_table: bool


class HealthResponse(BaseModel):
    """Answer of the health endpoints."""

    status: Literal["live", "ready"]
    checks: dict[str, Any] = {}


class ProblemResponse(BaseModel):
    """Problem details (RFC 9457): what every error answers, with the offending data."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable word for programs.")
    request_id: str
