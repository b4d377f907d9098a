"""What can go wrong at the door, and what a client is told: problem details (RFC 9457).

    GnnError
    └── ServiceError              a request that cannot be answered
        ├── RequestError          the request is wrong
        │   ├── MalformedJsonError    the body is not JSON
        │   ├── MediaTypeError        the body is of another type, or compressed
        │   ├── BodyTooLargeError     the body is over the limit
        │   ├── BodyTimeoutError      the body came too slowly
        │   ├── LimitError            more was asked for than a setting allows
        │   ├── NewNodeError          a described node is wrong
        │   ├── PostedGraphError      a graph in the request is wrong
        │   ├── OverlayError          an edge of a what-if is wrong
        │   ├── WrongTaskError        the model was trained for another task
        │   ├── NodeNotFoundError     a path names a node that is not there
        │   ├── UnauthorizedError     no valid key came with the request
        │   ├── TooManyWrongKeysError a client sends one wrong key after the other
        │   ├── ForbiddenError        the key does not open this
        │   │   └── NoKeysError       this is never open, and there are no keys
        │   ├── ModelNotFoundError    no model has this name
        │   ├── VersionNotFoundError  the model has no such version
        │   ├── UnloadedError         the version was told not to answer
        │   ├── InUseError            a name leads to the version
        │   ├── AliasNotFoundError    no alias of this name was set at run time
        │   ├── JobNotFoundError      no job has this id
        │   ├── JobNotDoneError       the job has no result (yet)
        │   ├── JobExpiredError       the files of the job are gone
        │   └── RangeError            a range of bytes lies behind the end
        ├── NotCalibratedError    prediction sets of a model without calibration
        ├── ClientError           a server refused, as `service.client` tells it
        ├── NoTableError          no fresh embedding table answers for the model
        ├── NoMapError            the table is too large to be mapped on demand
        ├── NoIndexError          the table is too large to be searched without an index
        ├── NonFiniteError        a model answered with NaN or infinity
        ├── OverloadedError       the queue is full
        ├── ClientGoneError       the client left before the answer
        ├── NotReadyError         the server is starting or stopping, or no model answers
        ├── DeadlineError         the time that the client gave has passed
        ├── TooManyJobsError      too many jobs wait
        ├── JobStoreError         the rows of jobs cannot be read or written
        ├── RoutingStoreError     what is set at run time cannot be kept
        ├── NoSpaceError          the disk is full
        └── GraphChangedError     the graph on disk is not the one a job was sent for

`PROBLEMS` is the one table from exception to HTTP status and code. Where `public` is False the
client learns the request id and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from pydantic import ValidationError

from gnn.errors import (
    BusyError,
    DeviceMemoryError,
    DivergedError,
    MissingPackageError,
    ModelNameError,
    ModuleNotAllowedError,
    NotCertifiedError,
    ResumeError,
    SchemaMismatchError,
    TrainingError,
    UnknownModelError,
    UserModuleError,
)
from sampling.errors import (
    DamagedError,
    ExistsError,
    FeatureError,
    FutureFormatError,
    GnnError,
    InputError,
    ParseError,
    StoreError,
    UnknownNodeError,
)

__all__ = [
    "INTERNAL",
    "PROBLEMS",
    "AliasNotFoundError",
    "BodyTimeoutError",
    "BodyTooLargeError",
    "ClientError",
    "ClientGoneError",
    "DeadlineError",
    "ForbiddenError",
    "GraphChangedError",
    "InUseError",
    "JobExpiredError",
    "JobNotDoneError",
    "JobNotFoundError",
    "JobStoreError",
    "LimitError",
    "MalformedJsonError",
    "MediaTypeError",
    "ModelNotFoundError",
    "NewNodeError",
    "NoIndexError",
    "NoKeysError",
    "NoMapError",
    "NoSpaceError",
    "NoTableError",
    "NodeNotFoundError",
    "NonFiniteError",
    "NotCalibratedError",
    "NotReadyError",
    "OverlayError",
    "OverloadedError",
    "PostedGraphError",
    "Problem",
    "RangeError",
    "RequestError",
    "RoutingStoreError",
    "ServiceError",
    "TooManyJobsError",
    "TooManyWrongKeysError",
    "UnauthorizedError",
    "UnloadedError",
    "VersionNotFoundError",
    "WrongTaskError",
    "from_validation",
    "problem_body",
    "problem_of",
]

MAX_FAULTS = 20
MAX_SHOWN = 80
UNION_TAGS = ("constrained-int", "constrained-str", "int", "str")


class ServiceError(GnnError):
    """A request that cannot be answered."""

    def members(self) -> dict[str, Any]:
        """The offending data, as further members of the problem document."""
        return {}


class RequestError(ServiceError):
    """The request is wrong: the fields at fault and why."""

    def __init__(self, detail: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        self.errors = list(errors)
        super().__init__(detail)

    def members(self) -> dict[str, Any]:
        return {"errors": self.errors} if self.errors else {}


class MalformedJsonError(RequestError):
    """The body is not JSON."""


class MediaTypeError(RequestError):
    """The body is of another media type, or compressed."""


class BodyTooLargeError(RequestError):
    """The body is over the limit."""

    def __init__(self, limit: int, got: int) -> None:
        self.limit, self.got = limit, got
        super().__init__(
            f"the body has {got} bytes or more; send at most {limit}, in several requests"
        )

    def members(self) -> dict[str, Any]:
        return {"limit": self.limit, "got": self.got}


class BodyTimeoutError(RequestError):
    """The body came too slowly."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body was not complete after {seconds:g} s; send it faster")


class LimitError(RequestError):
    """More was asked for than a setting allows."""

    def __init__(self, what: str, limit: int, got: int, data: dict[str, Any] | None = None) -> None:
        self.what, self.limit, self.got, self.data = what, limit, got, data or {}
        super().__init__(f"{what}: got {got}, the limit is {limit}; ask for less at a time")

    def members(self) -> dict[str, Any]:
        return {"what": self.what, "limit": self.limit, "got": self.got, **self.data}


class NewNodeError(RequestError):
    """A described node is wrong."""

    def __init__(self, node: int | str, what: str) -> None:
        self.node = node
        super().__init__(f"new node {shown(node)}: {what}")

    def members(self) -> dict[str, Any]:
        return {"node": self.node}


class PostedGraphError(RequestError):
    """A graph in the request is wrong."""

    def __init__(self, number: int, field: str, what: str) -> None:
        self.number, self.field = number, field
        super().__init__(f"graphs[{number}].{field} {what}")

    def members(self) -> dict[str, Any]:
        return {"graph": self.number, "field": self.field}


class OverlayError(RequestError):
    """An edge of a what-if is wrong."""

    def __init__(self, what: str) -> None:
        super().__init__(f"overlay: {what}")


class UnauthorizedError(RequestError):
    """No valid key came with the request."""

    def __init__(self) -> None:
        self.headers = {"www-authenticate": "Bearer"}
        super().__init__(
            "no valid API key came with the request; send one as `Authorization: Bearer KEY` or "
            "`X-API-Key: KEY`"
        )


class TooManyWrongKeysError(RequestError):
    """A client sends one wrong key after the other."""

    def __init__(self, limit: int, retry_after_s: int) -> None:
        self.limit, self.retry_after_s = limit, retry_after_s
        super().__init__(
            f"more than {limit} wrong API keys a minute came from this address; check the key and "
            f"try again in {retry_after_s} s"
        )

    def members(self) -> dict[str, Any]:
        return {"limit": self.limit, "retry_after_s": self.retry_after_s}


class ForbiddenError(RequestError):
    """The key does not open this."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"this needs a key with the scope {scope!r}; the key sent has not")

    def members(self) -> dict[str, Any]:
        return {"scope": self.scope}


class NoKeysError(ForbiddenError):
    """This is never open to all, and the server has no keys."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        Exception.__init__(
            self,
            f"this needs a key with the scope {scope!r}, and the server has no keys; set some "
            "(`gnn key NAME`), or GNN_OPEN_ADMIN where all who reach the server may change it",
        )


class WrongTaskError(RequestError):
    """The model was trained for another task than the one that is asked for."""

    def __init__(self, name: str, task: str, wanted: str) -> None:
        self.name, self.task, self.wanted = name, task, wanted
        super().__init__(f"model {name!r} was trained for {task}, and this asks for {wanted}; name "
                         "a model of that task, or read the embeddings")  # fmt: skip

    def members(self) -> dict[str, Any]:
        return {"model": self.name, "task": self.task, "wanted": self.wanted}


class NodeNotFoundError(RequestError, UnknownNodeError):
    """A path names a node that is not there."""

    def __init__(self, node: str) -> None:
        self.ids, self.errors = [node], []
        Exception.__init__(self, f"not in the graph: {shown(node)}; use the id as it was ingested")

    def members(self) -> dict[str, Any]:
        return {"unknown": self.ids}


class ModelNotFoundError(RequestError):
    """No model has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name[:MAX_SHOWN], list(known)
        there = f"there is {', '.join(self.known) or 'none'}"
        what = f"no model is called {shown(name)}; {there}"
        if name == "default":
            what = f"no model is the default; name one in `model`, {there}"
        super().__init__(what)

    def members(self) -> dict[str, Any]:
        return {"model": self.name, "known": self.known}


class VersionNotFoundError(RequestError):
    """The model has no such version."""

    def __init__(self, name: str, version: int | str, known: Sequence[int]) -> None:
        self.name, self.known = name, list(known)
        self.version = version[:MAX_SHOWN] if isinstance(version, str) else version
        versions = ", ".join(str(v) for v in self.known)
        super().__init__(f"model {name!r} has no version {self.version}; it has {versions}")

    def members(self) -> dict[str, Any]:
        return {"model": self.name, "version": self.version, "known": self.known}


class UnloadedError(RequestError):
    """The version was told not to answer."""

    def __init__(self, name: str, version: int) -> None:
        self.name, self.version = name, version
        super().__init__(
            f"model {name!r} version {version} is unloaded; choose another, or load it with "
            f"POST /v1/models/{name}/versions/{version}/load"
        )

    def members(self) -> dict[str, Any]:
        return {"model": self.name, "version": self.version}


class InUseError(RequestError):
    """A name leads to the version that is to be unloaded."""

    def __init__(self, name: str, version: int, names: Sequence[str]) -> None:
        self.name, self.version, self.names = name, version, list(names)
        super().__init__(
            f"model {name!r} version {version} is in use by {', '.join(self.names)}; lead those "
            "to another version first, with PUT /v1/aliases/NAME"
        )

    def members(self) -> dict[str, Any]:
        return {"model": self.name, "version": self.version, "aliases": self.names}


class AliasNotFoundError(RequestError):
    """No alias of this name was set at run time."""

    def __init__(self, name: str) -> None:
        self.name = name[:MAX_SHOWN]
        super().__init__(f"no alias {shown(name)} was set at run time; GET /v1/aliases lists all")

    def members(self) -> dict[str, Any]:
        return {"alias": self.name}


class ClientError(ServiceError):
    """A server refused, or could not be reached: what `service.client` raises.

    Attributes:
        status: HTTP status, 0 where there was no answer.
        code: the problem's word for programs.
        problem: the whole problem document.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, dict(problem)
        self.code = str(problem.get("code", "unreachable" if status == 0 else "refused"))
        super().__init__(str(problem.get("detail", f"refused with {status} and no reason")))


class NoTableError(ServiceError):
    """No fresh embedding table answers for the model."""

    def __init__(self, name: str, version: int) -> None:
        self.name, self.version = name, version
        super().__init__(
            f"no embedding table of model {name!r} version {version} and this graph is loaded; "
            "run `gnn embed` and restart with --embeddings, or a job that publishes; predictions "
            "in mode auto need none"
        )

    def members(self) -> dict[str, Any]:
        return {"model": self.name, "version": self.version}


class NoIndexError(ServiceError):
    """The table is too large to be searched without an index."""

    def __init__(self, num_rows: int, limit: int) -> None:
        self.num_rows, self.limit = num_rows, limit
        super().__init__(
            f"the table has {num_rows} rows and no index, and is searched without one up to "
            f"{limit}; with the package usearch installed, run a job that publishes, or "
            "`gnn embed … --index` and restart; or raise GNN_SIMILAR_EXACT_ROWS"
        )

    def members(self) -> dict[str, Any]:
        return {"num_rows": self.num_rows, "limit": self.limit}


class NoMapError(ServiceError):
    """The table has no map, and is too large to be given one while somebody waits."""

    def __init__(self, num_rows: int, limit: int) -> None:
        self.num_rows, self.limit = num_rows, limit
        super().__init__(
            f"the table has {num_rows} rows and no map, and is mapped on demand up to {limit}; "
            "run `gnn embed … --map` and restart, or an embed job with publish"
        )

    def members(self) -> dict[str, Any]:
        return {"num_rows": self.num_rows, "limit": self.limit}


class NotCalibratedError(ServiceError):
    """Prediction sets were asked of a model without calibration."""

    def __init__(self, name: str, version: int) -> None:
        self.name, self.version = name, version
        super().__init__(
            f"model {name!r} version {version} has no calibration to make prediction sets with; "
            "leave prediction_set out, or train a classifier with a labeled validation part"
        )

    def members(self) -> dict[str, Any]:
        return {"model": self.name, "version": self.version}


class NonFiniteError(ServiceError):
    """A model answered with NaN or infinity."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"model {name!r} version {version} answered with NaN or infinity")


class OverloadedError(ServiceError):
    """The queue is full."""

    def __init__(self, waiting: int, limit: int, retry_after_s: int) -> None:
        self.waiting, self.limit, self.retry_after_s = waiting, limit, retry_after_s
        super().__init__(f"{waiting} requests are waiting; try again in {retry_after_s} s")

    def members(self) -> dict[str, Any]:
        return {"waiting": self.waiting, "limit": self.limit, "retry_after_s": self.retry_after_s}


class ClientGoneError(ServiceError):
    """The client left before the answer."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class NotReadyError(ServiceError):
    """The server is starting or stopping, or no model answers."""

    def __init__(self, reason: str = "", failed: Mapping[str, str] | None = None) -> None:
        self.retry_after_s, self.failed = 1, dict(failed or {})
        super().__init__(f"{reason or 'the server is starting or stopping'}; try again in 1 s")

    def members(self) -> dict[str, Any]:
        return {"failed": self.failed} if self.failed else {}


class DeadlineError(ServiceError):
    """The time that the client gave has passed."""

    def __init__(self, timeout_ms: float) -> None:
        self.timeout_ms = timeout_ms
        super().__init__(
            f"no answer within {timeout_ms:g} ms; ask for fewer nodes or give more time "
            "in X-Request-Timeout-Ms"
        )

    def members(self) -> dict[str, Any]:
        return {"timeout_ms": self.timeout_ms}


class JobNotFoundError(RequestError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job has the id {shown(job_id)}; GET /v1/jobs lists those there are")


class JobNotDoneError(RequestError):
    """The job has no result, or none yet."""

    def __init__(self, job_id: str, state: str) -> None:
        self.job_id, self.state = job_id, state
        advice = {"queued": "ask again later", "running": "ask again later"}
        super().__init__(
            f"job {job_id} is {state} and has no result; "
            f"{advice.get(state, 'send it again where it is still wanted')}"
        )

    def members(self) -> dict[str, Any]:
        return {"state": self.state}


class JobExpiredError(RequestError):
    """The files of the job are gone."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the result of job {job_id} was discarded; send the job again")


class RangeError(RequestError):
    """A range of bytes lies behind the end of the file."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the range lies outside of the file, which has {size} bytes")

    def members(self) -> dict[str, Any]:
        return {"size_bytes": self.size}


class TooManyJobsError(ServiceError):
    """Too many jobs wait."""

    def __init__(self, waiting: int, limit: int, retry_after_s: int = 10) -> None:
        self.waiting, self.limit, self.retry_after_s = waiting, limit, retry_after_s
        super().__init__(
            f"{waiting} jobs are waiting, the limit is {limit}; try again in {retry_after_s} s"
        )

    def members(self) -> dict[str, Any]:
        return {"waiting": self.waiting, "limit": self.limit}


class JobStoreError(ServiceError):
    """The rows of jobs cannot be read or written."""

    def __init__(self, where: str, what: str) -> None:
        self.where, self.what, self.retry_after_s = where, what, 10
        super().__init__(f"{where}: {what}; check that it can be reached and has space left")


class RoutingStoreError(ServiceError):
    """What is set at run time cannot be kept."""

    def __init__(self, where: str, what: str) -> None:
        self.where, self.what, self.retry_after_s = where, what, 10
        super().__init__(f"{where}: {what}; check that the directory can be written")


class NoSpaceError(ServiceError):
    """The disk is full, or a file as large as it may be."""

    def __init__(self) -> None:
        super().__init__("the disk of the jobs directory is full; free some space and try again")


class GraphChangedError(ServiceError):
    """The graph on disk is not the one that a job was sent for."""

    def __init__(self) -> None:
        super().__init__(
            "the graph directory was replaced after the job was sent; restart the server and "
            "send the job again"
        )


def _no_members(error: Any) -> dict[str, Any]:
    return error.members() if isinstance(error, ServiceError) else {}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told of one class of error.

    Attributes:
        status: the HTTP status.
        code: a stable word for programs.
        title: a sentence for people, the same for every error of the class.
        public: whether the error's own sentence and data may be shown.
        members: takes the offending data out of the error.
    """

    status: int
    code: str
    title: str
    public: bool = True
    members: Callable[[Any], dict[str, Any]] = _no_members


INTERNAL = Problem(500, "internal", "The server failed", public=False)
"""Anything that is not in the table: our fault."""

STORE = Problem(500, "store", "A stored file cannot be used", public=False)
NO_MODEL = Problem(404, "unknown_model", "No such model")

PROBLEMS: dict[type[BaseException], Problem] = {
    GnnError: Problem(422, "invalid_request", "The request is not valid"),
    InputError: Problem(422, "invalid_request", "The request is not valid"),
    ParseError: INTERNAL,
    UnknownNodeError: Problem(
        422,
        "unknown_node",
        "Some nodes are not in the graph",
        members=lambda error: {"unknown": error.ids},
    ),
    FeatureError: Problem(422, "invalid_features", "A feature value or shape is wrong"),
    StoreError: STORE,
    DamagedError: STORE,
    FutureFormatError: STORE,
    ExistsError: STORE,
    ResumeError: STORE,
    BusyError: STORE,
    ModuleNotAllowedError: STORE,
    UserModuleError: INTERNAL,
    ModelNameError: replace(NO_MODEL, public=False),
    UnknownModelError: replace(NO_MODEL, public=False),
    SchemaMismatchError: Problem(409, "model_mismatch", "The model does not fit the graph"),
    NotCertifiedError: Problem(409, "not_certified", "The model has no certificate that passed"),
    MissingPackageError: INTERNAL,
    TrainingError: INTERNAL,
    DivergedError: INTERNAL,
    DeviceMemoryError: INTERNAL,
    ServiceError: INTERNAL,
    RequestError: Problem(422, "invalid_request", "The request is not valid"),
    MalformedJsonError: Problem(400, "malformed_json", "The body is not JSON"),
    MediaTypeError: Problem(415, "unsupported_media_type", "The body must be plain JSON"),
    BodyTooLargeError: Problem(413, "body_too_large", "The body is over the limit"),
    BodyTimeoutError: Problem(408, "body_timeout", "The body came too slowly"),
    LimitError: Problem(422, "limit_exceeded", "More was asked for than is allowed"),
    PostedGraphError: Problem(422, "invalid_graph", "A graph in the request is not valid"),
    NewNodeError: Problem(422, "invalid_new_node", "A described node is not valid"),
    WrongTaskError: Problem(422, "wrong_task", "The model was trained for another task"),
    NodeNotFoundError: Problem(404, "unknown_node", "Some nodes are not in the graph"),
    OverlayError: Problem(422, "invalid_overlay", "An edge of the overlay is not valid"),
    UnauthorizedError: Problem(401, "unauthorized", "No valid API key"),
    ForbiddenError: Problem(403, "forbidden", "The key does not open this"),
    TooManyWrongKeysError: Problem(429, "too_many_wrong_keys", "Too many wrong API keys"),
    NoKeysError: Problem(403, "forbidden", "The key does not open this"),
    UnloadedError: Problem(409, "unloaded", "The version is unloaded"),
    InUseError: Problem(409, "in_use", "A name leads to the version"),
    AliasNotFoundError: Problem(404, "unknown_alias", "No such alias"),
    ModelNotFoundError: NO_MODEL,
    VersionNotFoundError: Problem(404, "unknown_version", "No such version of the model"),
    ClientError: INTERNAL,
    NoTableError: Problem(409, "no_table", "No fresh embedding table"),
    NoIndexError: Problem(409, "no_index", "No index of nearest rows"),
    NoMapError: Problem(409, "no_map", "No map of the nodes"),
    NotCalibratedError: Problem(422, "not_calibrated", "The model has no calibration"),
    NonFiniteError: Problem(500, "non_finite", "The model's answer is not finite", public=False),
    OverloadedError: Problem(503, "overloaded", "The queue is full"),
    ClientGoneError: Problem(499, "client_gone", "The client left"),
    NotReadyError: Problem(503, "not_ready", "The server is not ready"),
    DeadlineError: Problem(504, "deadline_exceeded", "The deadline has passed"),
    JobNotFoundError: Problem(404, "job_not_found", "No such job"),
    JobNotDoneError: Problem(409, "job_not_done", "The job has no result"),
    JobExpiredError: Problem(410, "job_expired", "The result of the job is gone"),
    RangeError: Problem(416, "range_not_satisfiable", "The range lies outside of the file"),
    TooManyJobsError: Problem(429, "too_many_jobs", "Too many jobs wait"),
    JobStoreError: Problem(
        503, "jobs_unavailable", "Jobs cannot be reached; see the log", public=False
    ),
    RoutingStoreError: Problem(
        503, "routing_unavailable", "What was set cannot be kept; see the log", public=False
    ),
    NoSpaceError: Problem(507, "no_space", "The disk is full"),
    GraphChangedError: Problem(409, "graph_changed", "The graph is another by now"),
}


def problem_of(error: BaseException) -> Problem:
    """The table's entry for an error: its class's, or that of the nearest class above it."""
    return next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), INTERNAL)


def problem_body(
    problem: Problem, detail: str, request_id: str, members: dict[str, Any] | None = None
) -> bytes:
    """An `application/problem+json` document."""
    document = {
        "type": f"/docs#problem-{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
        "request_id": request_id,
        **(members or {}),
    }
    return orjson.dumps(document)


def from_validation(error: ValidationError) -> RequestError:
    """What a failed parse of a body means; of the body itself only short plain values."""
    faults = error.errors(include_url=False, include_context=True, include_input=True)
    first = faults[0]
    if first["type"] == "json_invalid":
        return MalformedJsonError(f"the body is not JSON: {first['msg'].partition(': ')[2]}")
    if first["type"] == "too_long":
        context = first["ctx"]
        where = ".".join(str(part) for part in first["loc"])
        got = context["actual_length"] or len(first["input"])  # objects are not counted to the end
        return LimitError(where, context["max_length"], got)
    listed = _by_place(faults)[:MAX_FAULTS]
    place = ".".join(str(part) for part in listed[0]["loc"])
    got = f", got {listed[0]['got']!r}" if "got" in listed[0] else ""
    return RequestError(f"{place or 'body'}: {listed[0]['msg']}{got}", listed)


def _by_place(faults: Sequence[Any]) -> list[dict[str, Any]]:
    """One entry per place; where a union tried several types, their messages side by side."""
    messages: dict[tuple[int | str, ...], list[str]] = {}
    given: dict[tuple[int | str, ...], dict[str, Any]] = {}
    for fault in faults:
        loc = fault["loc"]
        if loc and loc[-1] in UNION_TAGS and fault["type"] != "extra_forbidden":
            loc = loc[:-1]
        messages.setdefault(loc, []).append(fault["msg"])
        given.setdefault(loc, _given(fault))
    return [
        {"loc": _shown_loc(loc), "msg": "; or ".join(m), **given[loc]}
        for loc, m in messages.items()
    ]


def _given(fault: Mapping[str, Any]) -> dict[str, Any]:
    """What was got, where it is a plain value: text is cut, and NaN has no place in JSON."""
    value = fault.get("input")
    if isinstance(value, str):
        return {"got": value[:MAX_SHOWN]}
    if isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 2**53):
        return {"got": value}
    return {}


def _shown_loc(loc: Sequence[int | str]) -> list[int | str]:
    return [part[:MAX_SHOWN] if isinstance(part, str) else part for part in loc]


def shown(value: int | str) -> str:
    """An id or name as it may stand in a sentence: quoted, and cut where it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
