"""The Open Inference Protocol v2 face of the models: what `/v1/nodes/predict` answers, as tensors.

Stock clients (KServe's, Triton's) speak it. Errors are `{"error": "…"}` here, and what is wrong
with a request is 400, as the protocol says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response

from gnn.tasks import WITHOUT_OUTPUTS
from service.access import needs
from service.answer_size import BINARY as FLOAT_BYTES
from service.answer_size import JSON
from service.answers import outputs_of, rows_of
from service.errors import RequestError, VersionNotFoundError
from service.exchange import json_response, read_bytes
from service.oip import InferBody, InferRequest, OutputTensor, encode_answer, read_request
from service.plan import Plan, Query
from service.registry import ModelRegistry, ServedModel
from service.routes.documented import DirectRoute, body_of
from service.routes.health import check_ready
from service.routes.planning import SMALL, chosen, planned, shadowed
from service.settings import Settings
from service.side import SideWork

__all__ = ["ErrorBody", "add_routes", "request_models"]

VERSION = re.compile(r"[1-9][0-9]{0,8}")
HEADER = "inference-header-content-length"
BINARY = "application/octet-stream"
Responses = dict[int | str, dict[str, Any]]

PLATFORM = "gnn-service"
EXTENSIONS = ["binary_tensor_data", "model_repository"]


class TensorMetadata(BaseModel):
    """Name, type and shape of a tensor; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ServerMetadata(BaseModel):
    """Answer of `GET /v2`."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    """Answer of `GET /v2/models/{name}`."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ErrorBody(BaseModel):
    """What every error of the protocol is."""

    error: str


class InferAnswer(BaseModel):
    """Answer of `POST /v2/models/{name}/infer`."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[dict[str, Any]]


def request_models() -> tuple[type[BaseModel], ...]:
    """The body, for the OpenAPI document."""
    return (InferBody,)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """`/v2`."""

    @needs(None)
    async def live(request: Request) -> Response:
        """The event loop turns."""
        return json_response({"live": True})

    @needs(None)
    async def ready(request: Request) -> Response:
        """A model computes a test prediction."""
        await check_ready(request)
        return json_response({"ready": True})

    async def server(request: Request) -> Response:
        """Name, version and extensions of the server."""
        app = request.app  # FastAPI remembers endpoints: one that held its app would keep it
        return json_response({"name": app.title, "version": app.version, "extensions": EXTENSIONS})

    async def metadata(request: Request) -> Response:
        """Inputs and outputs of a model."""
        return json_response(await _side(request).run(_metadata, _registry(request), request))

    async def model_ready(request: Request) -> Response:
        """The model answers."""
        model = await _side(request).run(_model, _registry(request), request)
        return json_response({"name": model.name, "version": str(model.version), "ready": True})

    async def infer(request: Request) -> Response:
        """Outputs for node ids, in the order sent."""
        body = await read_bytes(request, settings)
        length, most = request.headers.get(HEADER), settings.max_ids_per_request
        asked = read_request(body, length, most)
        name, version = request.path_params["name"], _version(request)
        include = [output for output, _ in asked.outputs]
        if not include:
            include = _usual(await _side(request).run(_model, _registry(request), request))
        query = Query(asked.nodes, name, version, asked.mode, include, asked.seed)
        choice = chosen(request, query)
        is_binary = dict(asked.outputs).get("embedding", asked.all_binary)
        number = FLOAT_BYTES if is_binary else JSON
        plan = await planned(request, query, settings, choice, number)
        if len(plan.ids) <= SMALL:
            response = _answer(plan, asked)
        else:
            response = await request.app.state.resources.planning.run(_answer, plan, asked)
        shadowed(request, plan, choice)
        return response

    add = partial(app.router.add_api_route, tags=["v2"], route_class_override=DirectRoute)
    bad: Responses = {status: {"model": ErrorBody} for status in (400, 404, 409)}
    why = "The server is starting or stopping, or no model answers."
    none: Responses = {503: {"model": ErrorBody, "description": why}}
    get = partial(add, methods=["GET"])
    get("/v2", server, responses={200: {"model": ServerMetadata}})
    get("/v2/health/live", live)
    get("/v2/health/ready", ready, responses=none)
    late: Responses = {s: {"model": ErrorBody} for s in (408, 413, 415, 500, 503, 504)}
    told: Responses = {**bad, 503: {"model": ErrorBody}}
    answered: Responses = {200: {"model": InferAnswer, "content": {BINARY: {}}}}
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        extra = {"parameters": _path_parameters(path)}
        body = body_of(InferBody)
        body["parameters"] = [*body["parameters"], *extra["parameters"]]
        get(path, metadata, responses={200: {"model": ModelMetadata}, **told}, openapi_extra=extra)
        get(f"{path}/ready", model_ready, responses=told, openapi_extra=extra)
        add(
            f"{path}/infer",
            infer,
            methods=["POST"],
            responses={**answered, **bad, **late},
            openapi_extra=body,
        )


def _path_parameters(path: str) -> list[dict[str, Any]]:
    """What the OpenAPI document says of the parts of a path that a direct route reads itself."""
    names = re.findall(r"{(\w+)}", path)
    return [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
            for n in names]  # fmt: skip


def _side(request: Request) -> SideWork:
    side: SideWork = request.app.state.resources.side
    return side


def _registry(request: Request) -> ModelRegistry:
    registry: ModelRegistry = request.app.state.resources.predictor.registry
    return registry


def _version(request: Request) -> int | None:
    """The version in the path, or None.

    Raises:
        ModelNotFoundError, VersionNotFoundError: there is no such thing.
    """
    text = request.path_params.get("version")
    if text is None:
        return None
    if not VERSION.fullmatch(text):
        registry, name = _registry(request), request.path_params["name"]
        raise VersionNotFoundError(registry.resolve(name), text, registry.versions(name))
    return int(text)


def _model(registry: ModelRegistry, request: Request) -> ServedModel:
    return registry.get(request.path_params["name"], _version(request))


def _metadata(registry: ModelRegistry, request: Request) -> dict[str, Any]:
    model = _model(registry, request)
    ids = "BYTES" if registry.data.ids.is_string else "INT64"
    return {
        "name": model.name,
        "versions": [str(version) for version in registry.versions(model.name)],
        "platform": PLATFORM,
        "inputs": [{"name": "nodes", "datatype": ids, "shape": [-1]}],
        "outputs": [{"name": n, "datatype": t, "shape": s} for n, t, s in _outputs(model)],
    }


def _outputs(model: ServedModel) -> list[tuple[str, str, list[int]]]:
    """Name, type and shape of what a model gives for nodes, the usual ones first."""
    d_out, outputs = model.saved.model.config.d_out, []
    if _has_label(model):
        outputs.append(("label", _label_type(model), [-1]))
    if model.saved.info.task not in WITHOUT_OUTPUTS:
        name = "value" if model.classes is None else "probabilities"
        outputs.append((name, "FP32", [-1, d_out]))
    return [*outputs, ("embedding", "FP32", [-1, model.saved.model.d_embedding])]


def _has_label(model: ServedModel) -> bool:
    """Whether a node has one label; where it may have several, they are no tensor."""
    return model.classes is not None and not model.has_many_labels


def _label_type(model: ServedModel) -> Any:
    classes = model.classes or []
    return "INT64" if all(isinstance(name, int) for name in classes) else "BYTES"


def _answer(plan: Plan, asked: InferRequest) -> Response:
    model = plan.model
    wanted = asked.outputs or [(name, asked.all_binary) for name in _usual(model)]
    tensors = [(_tensor(plan, name), is_binary) for name, is_binary in wanted]
    head = {"model_name": plan.query.model, "model_version": str(model.version)}
    if asked.id is not None:
        head["id"] = asked.id
    body, length = encode_answer(head, tensors)
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type=BINARY, headers={HEADER: str(length)})


def _usual(model: ServedModel) -> list[str]:
    """What is given where the request names no outputs: embeddings only where there is no other."""
    names = [name for name, _, _ in _outputs(model)]
    return names[:-1] or names


def _tensor(plan: Plan, name: str) -> OutputTensor:
    """One output of a finished plan.

    Raises:
        RequestError: the model has no such output.
    """
    model = plan.model
    names = [known for known, _, _ in _outputs(model)]
    if name not in names:
        raise RequestError(f"model {model.name!r} has no such output; it has {', '.join(names)}")
    if name == "embedding":
        return OutputTensor(name, "FP32", rows_of(plan))
    if name == "label" and model.classes is not None:
        return _labels(model.classes, outputs_of(plan), _label_type(model))
    return OutputTensor(name, "FP32", outputs_of(plan))


def _labels(classes: Sequence[int | str], outputs: Any, datatype: Any) -> OutputTensor:
    best = outputs.argmax(axis=1)
    if datatype == "INT64":
        return OutputTensor("label", "INT64", np.asarray(classes, np.int64)[best])
    return OutputTensor("label", "BYTES", [str(classes[i]) for i in best.tolist()])
