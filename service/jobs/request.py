"""What crosses the wire about jobs: the request, strict as all, and the answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, FailFast, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from service.jobs.job import Job, Output, State
from service.schemas import ModelName, NodeId, Request, Version

__all__ = ["JobRequest", "JobResponse", "JobsResponse", "document_of", "limited_request"]

DEFAULTS: dict[str, tuple[Output, ...]] = {
    "embed": ("embedding",),
    "predict": ("label", "probabilities"),
}


class JobRequest(Request):
    """Body of `POST /v1/jobs`."""

    kind: Literal["embed", "predict"] = Field(
        "embed", description="What `include` is when left out."
    )
    model: ModelName = Field("default", description="Model name.")
    version: Version | None = Field(None, description="Model version; the newest when left out.")
    nodes: Annotated[list[NodeId] | None, FailFast(), Field(min_length=1)] = Field(
        None, description="Node ids, repeats allowed; every node when left out."
    )
    format: Literal["parquet", "npy"] = Field(
        "parquet", description="`npy`: only the embeddings, and only of every node."
    )
    include: Annotated[list[Output], Field(min_length=1, max_length=4)] | None = Field(
        None,
        description="Columns: `embedding`, `label` (with `score`), `probabilities`, "
        "`prediction_set`.",
    )
    publish: bool = Field(
        False, description="Serve the table when it is finished; `embed` of every node only."
    )

    @property
    def columns(self) -> tuple[Output, ...]:
        """`include`, each once, or what the kind means."""
        return DEFAULTS[self.kind] if self.include is None else tuple(dict.fromkeys(self.include))

    @model_validator(mode="after")
    def _fits_together(self) -> JobRequest:
        whole = self.kind == "embed" and self.nodes is None
        if self.format == "npy" and not (whole and self.columns == ("embedding",)):
            raise PydanticCustomError(
                "npy", "npy holds the embeddings of every node; take parquet for anything else"
            )
        if self.publish and not whole:
            raise PydanticCustomError("publish", "only an embed job of every node is published")
        return self


def limited_request(max_ids: int) -> type[JobRequest]:
    """The same request with at most so many ids, in the parser and in OpenAPI."""
    description = JobRequest.model_fields["nodes"].description
    bounds = Field(None, min_length=1, max_length=max_ids, description=description)
    kind = Annotated[list[NodeId] | None, FailFast()]
    return create_model(
        "JobRequest", __base__=JobRequest, __doc__=JobRequest.__doc__, nodes=(kind, bounds)
    )


class ProgressResponse(BaseModel):
    """How far the stage at work is."""

    stage: str
    rows_done: int
    num_rows: int
    rows_per_s: float
    seconds_left: float | None = Field(description="Until this stage ends.")


class FailureResponse(BaseModel):
    """Why a job failed."""

    code: str = Field(description="A stable word for programs.")
    detail: str


class PartResponse(BaseModel):
    """One file of a result: `GET /v1/jobs/{id}/result?part=`."""

    part: int
    rows: int
    size_bytes: int
    sha256: str


class ResultResponse(BaseModel):
    """What came of a job."""

    rows: int
    size_bytes: int
    sha256: str = Field(description="Of all parts, one after the other.")
    parts: list[PartResponse]
    expires: str = Field(description="When the files are discarded, at the latest.")


class JobResponse(BaseModel):
    """Answer of `POST /v1/jobs` and of everything about one job. Times are UTC (RFC 3339)."""

    id: str
    kind: Literal["embed", "predict"]
    state: State
    model: str
    model_version: int
    graph_version: int
    num_nodes: int
    format: Literal["parquet", "npy"]
    include: list[Output]
    publish: bool
    created: str
    started: str | None
    finished: str | None
    attempts: int = Field(description="Runs that were begun and not given back.")
    cancel_requested: bool
    progress: ProgressResponse | None
    error: FailureResponse | None
    result: ResultResponse | None = Field(description="None also once it was discarded.")


class JobsResponse(BaseModel):
    """Answer of `GET /v1/jobs`: the newest first."""

    jobs: list[JobResponse]


def document_of(job: Job, ttl_hours: float, expired: bool) -> dict[str, Any]:
    """A job as its user reads it.

    Args:
        job: the row.
        ttl_hours: how long results are kept.
        expired: whether the result is gone.
    """
    spec = job.spec
    return {
        "id": job.id,
        "kind": spec.kind,
        "state": job.state,
        "model": spec.model,
        "model_version": spec.version,
        "graph_version": spec.graph_version,
        "num_nodes": spec.num_nodes,
        "format": spec.format,
        "include": list(spec.include),
        "publish": spec.publish,
        "created": _time(job.created),
        "started": _time(job.started),
        "finished": _time(job.finished),
        "attempts": job.attempts,
        "cancel_requested": job.cancels,
        "progress": job.progress.model_dump() if job.progress and job.is_active else None,
        "error": job.error.model_dump() if job.error else None,
        "result": None if expired else _result(job, ttl_hours),
    }


def _result(job: Job, ttl_hours: float) -> dict[str, Any] | None:
    if job.result is None:
        return None
    parts = [
        {"part": number, **part.model_dump(exclude={"name"})}
        for number, part in enumerate(job.result.parts)
    ]
    expires = _time((job.finished or 0.0) + ttl_hours * 3600)
    return job.result.model_dump(exclude={"parts"}) | {"parts": parts, "expires": expires}


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
