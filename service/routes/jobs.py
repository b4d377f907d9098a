"""Batch jobs: embeddings and predictions of many nodes or all, worked on in the background."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from starlette.responses import Response

from service.errors import JobExpiredError
from service.exchange import json_response, parse, read_body
from service.jobs.door import JobDoor
from service.jobs.job import State
from service.jobs.request import JobRequest, JobResponse, JobsResponse, limited_request
from service.routes.documented import DirectRoute, body_of, problems
from service.routes.ranges import file_response
from service.settings import Settings

__all__ = ["add_routes", "request_model"]

MEDIA_TYPES = {".parquet": "application/vnd.apache.parquet", ".npy": "application/octet-stream"}
OF_POST = (400, 404, 408, 409, 413, 415, 422, 429, 500, 503, 507)

JobId = Annotated[str, Path(description="Id of the job.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Jobs to list at most.")]
OneState = Annotated[State | None, Query(description="Only jobs in this state.")]
PartNumber = Annotated[
    int | None, Query(ge=0, le=99_999, description="Which part; needed where there are several.")
]


def request_model(settings: Settings) -> type[JobRequest]:
    """The body, with the limit that is set."""
    return limited_request(settings.max_job_ids)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v1/jobs`."""
    model = request_model(settings)

    async def submit(request: Request) -> Response:
        """Let a job wait for a runner; its id comes back at once."""
        body = await read_body(request, settings)
        door = _door(request)
        job = await asyncio.to_thread(lambda: door.submit(parse(model, body)))
        response = json_response(door.document(job), {"location": f"/v1/jobs/{job.id}"})
        response.status_code = 202
        return response

    app.router.add_api_route(
        "/v1/jobs",
        submit,
        methods=["POST"],
        tags=["jobs"],
        status_code=202,
        route_class_override=DirectRoute,
        responses={202: {"model": JobResponse}, **problems(*OF_POST)},
        openapi_extra={"requestBody": body_of(model)["requestBody"]},
    )
    _add_result(app)  # before the rest: an id is any text, "x/result" too
    _add_reads(app)


def _add_reads(app: FastAPI) -> None:
    of_one = partial(app.api_route, tags=["jobs"], response_model=JobResponse)

    @app.get(
        "/v1/jobs", tags=["jobs"], response_model=JobsResponse, responses=problems(422, 500, 503)
    )
    async def jobs(request: Request, limit: Limit = 100, state: OneState = None) -> Response:
        """Jobs, the newest first."""
        door = _door(request)
        listed = await asyncio.to_thread(door.listed, limit, state)
        return json_response({"jobs": [door.document(job) for job in listed]})

    @of_one("/v1/jobs/{id:text}", methods=["GET"], responses=problems(404, 503))
    async def job(request: Request, id: JobId) -> Response:  # noqa: A002 - the name in the path
        """State, progress, error, result."""
        door = _door(request)
        return json_response(door.document(await asyncio.to_thread(door.queue.get, id)))

    @of_one("/v1/jobs/{id:text}", methods=["DELETE"], responses=problems(404, 503))
    async def cancel(request: Request, id: JobId) -> Response:  # noqa: A002 - the name in the path
        """Cancel a job that waits or runs; discard the result of one that is closed."""
        door = _door(request)
        return json_response(door.document(await asyncio.to_thread(door.cancel, id)))


def _add_result(app: FastAPI) -> None:
    content: dict[str, Any] = {
        kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()
    }

    @app.head("/v1/jobs/{id:text}/result", include_in_schema=False)
    @app.get(
        "/v1/jobs/{id:text}/result",
        tags=["jobs"],
        response_class=Response,
        responses={
            200: {"description": "The file.", "content": content},
            206: {"description": "The part that `Range` asks for.", "content": content},
            304: {"description": "The client has it."},
            **problems(404, 409, 410, 416, 422, 503),
        },
    )
    async def result(
        request: Request,
        id: JobId,  # noqa: A002 - the name in the path
        part: PartNumber = None,
    ) -> Response:
        """The file of a finished job; `Range` goes on where a download broke off."""
        path, about = await asyncio.to_thread(_door(request).part, id, part)
        media_type, name = MEDIA_TYPES[path.suffix], f"job-{id}-{about.name}"
        try:
            return file_response(request, path, about.size_bytes, about.sha256, media_type, name)
        except FileNotFoundError:
            raise JobExpiredError(id) from None


def _door(request: Request) -> JobDoor:
    door: JobDoor = request.app.state.resources.jobs
    return door
