"""Errors on the wire: every class has its place in the table, and says nothing it should not."""

from __future__ import annotations

import builtins
import importlib
import json
import pkgutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from inprocess import InProcess, in_process
from pydantic import ValidationError
from world import World

import gnn
import sampling
import service
from sampling.errors import DamagedError, GnnError, InputError, StoreError, UnknownNodeError
from service.errors import (
    PROBLEMS,
    DeadlineError,
    LimitError,
    MalformedJsonError,
    ModelNotFoundError,
    OverloadedError,
    RequestError,
    ServiceError,
    from_validation,
    problem_body,
    problem_of,
)
from service.exchange import problem_response
from service.schemas import PredictRequest, limited

SECRET = "/secret/path.py: SELECT secret"
ROOMS = ("sampling", "gnn", "service")
OPTIONAL = {"gnn.bridges.pyg", "gnn.bridges.dgl"}


def error_classes() -> set[type[BaseException]]:
    for room in (sampling, gnn, service):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if module.name not in OPTIONAL:
                importlib.import_module(module.name)
    found, queue = {GnnError}, [GnnError]
    while queue:
        for kind in queue.pop().__subclasses__():
            if kind not in found and kind.__module__.split(".")[0] in ROOMS:
                found.add(kind)
                queue.append(kind)
    return found


def test_every_error_of_the_three_rooms_is_in_the_table():
    classes = error_classes()
    assert len(classes) > 30
    trees = {kind for kind in classes if kind.__module__.endswith(".errors")}
    assert {kind.__name__ for kind in trees - PROBLEMS.keys()} == set()
    roots = {GnnError, InputError, StoreError, ServiceError}
    elsewhere = {k for k in classes - trees if not set(k.__mro__) & (PROBLEMS.keys() - roots)}
    assert {kind.__name__ for kind in elsewhere} == set(), "give it a parent of its own kind"


def test_equal_codes_have_equal_titles_and_statuses_that_http_knows():
    titles = {}
    for problem in PROBLEMS.values():
        assert titles.setdefault(problem.code, problem.title) == problem.title
        assert 400 <= problem.status < 600


def test_every_code_is_documented_with_its_status():
    text = (Path(__file__).parent.parent.parent / "docs/rest.md").read_text()
    for problem in PROBLEMS.values():
        assert f"| `{problem.code}` | {problem.status} |" in text, problem.code


def test_an_error_brings_its_data():
    body = json.loads(problem_response("r1", UnknownNodeError([7, "x"])).body)
    assert body["unknown"] == [7, "x"]
    assert (body["status"], body["code"], body["request_id"]) == (422, "unknown_node", "r1")
    body = json.loads(problem_response("r1", LimitError("nodes", 10, 11)).body)
    assert (body["limit"], body["got"]) == (10, 11)
    body = json.loads(problem_response("r1", DeadlineError(250)).body)
    assert (body["status"], body["timeout_ms"]) == (504, 250)


def test_a_full_queue_says_when_to_come_back():
    response = problem_response("r1", OverloadedError(9, 9, 3))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    "error", [DamagedError("/secret/path", "indptr.npy", "is missing"), ValueError("/secret/path")]
)
def test_what_is_our_fault_tells_the_client_the_request_id_and_nothing_else(error):
    response = problem_response("r1", error)
    assert response.status_code == 500
    assert b"secret" not in response.body
    assert b"r1" in response.body


def raisable() -> list[Exception]:
    """Whatever may go wrong inside: errors of our own that are not the client's, and Python's."""
    found = [kind for kind, p in PROBLEMS.items() if p.status >= 500 and not p.public]
    found += [kind for kind in vars(builtins).values() if isinstance(kind, type)]
    errors = list[Exception]()
    for kind in found:
        if issubclass(kind, Exception) and not issubclass(kind, Warning | BaseExceptionGroup):
            error = kind.__new__(kind, SECRET)
            with suppress(TypeError):
                error.args = (SECRET,)
            errors.append(error)
    return errors


@pytest.fixture(scope="module")
def failing(world: World) -> Iterator[InProcess]:
    """A service with an endpoint under each face that raises what it is told to."""
    with in_process(world.settings()) as client:

        async def fail() -> None:
            raise client.app.state.error

        for path in ("/v1/fail", "/v2/fail"):
            client.app.add_api_route(path, fail)
        yield client


@pytest.mark.parametrize("error", raisable(), ids=lambda error: type(error).__name__)
def test_no_failure_tells_what_failed(failing: InProcess, error: Exception):
    failing.app.state.error = error
    for path in ("/v1/fail", "/v2/fail"):
        response = failing.get(path)
        assert 500 <= response.status_code < 600
        assert response.headers["x-request-id"] in response.text
        for word in ("secret", "Traceback", ".py", "SELECT", type(error).__name__):
            assert word not in response.text


def test_failures_of_fifty_kinds_are_tried():
    assert len({type(error) for error in raisable()}) >= 50


def test_a_subclass_without_a_place_of_its_own_is_treated_as_its_parent():
    class OddError(UnknownNodeError):
        pass

    assert problem_of(OddError([1])) is PROBLEMS[UnknownNodeError]
    assert problem_of(KeyError("x")).status == 500


def test_a_model_name_is_cut_before_it_is_repeated():
    error = ModelNotFoundError("x" * 5000, ["default"])
    assert len(problem_body(problem_of(error), str(error), "r1", error.members())) < 600


def parse_error(text: str) -> RequestError:
    model = limited(PredictRequest, {"nodes": 3, "new_nodes": 2})
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(text)
    return from_validation(caught.value)


def test_what_is_not_json_is_told_apart_from_what_does_not_fit():
    assert isinstance(parse_error('{"nodes": [1'), MalformedJsonError)
    assert isinstance(parse_error('{"nodes": ["\\ud800"]}'), MalformedJsonError)
    assert type(parse_error('{"nodes": [1.5]}')) is RequestError
    assert type(parse_error('{"nodes": [1], "what": 1}')) is RequestError


def test_too_many_ids_is_a_limit_with_what_was_got():
    error = parse_error('{"nodes": [1, 2, 3, 4]}')
    assert isinstance(error, LimitError)
    assert (error.what, error.limit, error.got) == ("nodes", 3, 4)


def test_too_many_new_nodes_is_a_limit_with_what_was_got():
    error = parse_error(json.dumps({"new_nodes": [{"id": i, "features": []} for i in range(3)]}))
    assert isinstance(error, LimitError)
    assert (error.what, error.limit, error.got) == ("new_nodes", 2, 3)


def test_a_fault_names_its_place_once():
    error = parse_error('{"nodes": [1, true], "seed": -1}')
    assert [fault["loc"] for fault in error.errors] == [["nodes", 1], ["seed"]]


def test_long_field_names_are_cut():
    error = parse_error(json.dumps({"nodes": [], "x" * 5000: 1}))
    assert max(len(part) for part in error.errors[0]["loc"]) <= 80
