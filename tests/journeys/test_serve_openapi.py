"""The OpenAPI document, attacked by a machine: nothing fails, nothing answers undocumented."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import add_model, make_world, running

from service.keys import new_key

NAMES = [
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
]

NEIGHBORS = "/v1/graph/nodes/{id}/neighbors"
BODIES = {
    "/v1/nodes/predict", "/v1/nodes/embed", "/v1/nodes/similar", "/v1/links/predict",
    "/v1/graphs/predict", "/v1/jobs", "/v1/aliases/{alias}", "/v2/models/{name}/infer",
    "/v2/repository/index",
}  # fmt: skip
SECRET, LINE = new_key("tests", ["admin"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    world = make_world(tmp_path_factory.mktemp("attacked"))
    with running(world.settings(max_ids_per_request=50, open_admin=True)) as client:
        yield client


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with keys, and with models of nodes and links."""
    world = make_world(tmp_path_factory.mktemp("locked"))
    add_model(world.models / "links", world.data, 5, task="link-prediction", decoder="mlp",
              head="none", d_out=1)  # fmt: skip
    settings = world.settings(
        embeddings=world.embeddings, api_keys=LINE, wrong_keys_per_minute=0, max_ids_per_request=50
    )
    with running(settings) as client:
        yield client


MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
MANY = pytest.param(500, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])


@pytest.mark.parametrize("examples", [40, MANY])
@pytest.mark.parametrize("mode", MODES)
def test_no_generated_request_fails_or_answers_undocumented(
    client: httpx.Client, mode: GenerationMode, examples: int
):
    api = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    chosen = [checks.CHECKS.get_one(name) for name in NAMES]
    attacked = set()
    for found in api.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not has_wrong_input(operation):
            continue

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def attack(case: schemathesis.Case) -> None:
            response = case.call(timeout=10)
            case.validate_response(response, checks=chosen)
            assert response.status_code != 500

        attack()
        attacked.add(operation.path)
    assert attacked >= {*BODIES, NEIGHBORS}


def has_wrong_input(operation: Any) -> bool:
    """Whether anything can be wrong: a path of any text has no wrong input."""
    queries = {("get", NEIGHBORS), ("get", "/v1/jobs")}
    has_body = operation.path in BODIES and operation.method in ("post", "put")
    return has_body or (operation.method, operation.path) in queries


def test_what_lies_at_the_edges_of_the_document_is_answered_as_documented(client: httpx.Client):
    """Every bound of every field and one beyond it, right and wrong."""
    covered(client, NAMES[:4])


def test_a_key_opens_all_and_no_answer_is_a_server_error(locked: httpx.Client):
    """The same with a key, without one and with a wrong one; a deadline of 0 would be 504."""
    headers = [f"Authorization: Bearer {SECRET}", "X-Request-Timeout-Ms: 10000"]
    covered(locked, [*NAMES[:3], NAMES[4], "not_a_server_error", "ignored_auth"], headers)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_many_requests_with_a_key_are_answered_as_documented(locked: httpx.Client):
    headers = [f"Authorization: Bearer {SECRET}", "X-Request-Timeout-Ms: 10000"]
    checks = [*NAMES[:3], "not_a_server_error"]
    covered(locked, checks, headers, "fuzzing", os.environ.get("GNN_FUZZ_CASES", "500"))


def covered(
    client: httpx.Client, names: list[str], headers: Sequence[str] = (), phase: str = "coverage",
    examples: str = "1",
) -> None:  # fmt: skip
    """Run one phase of schemathesis over every operation."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/openapi.json",
        f"--phases={phase}", "--mode=all", f"--checks={','.join(names)}", "--no-color",
        "--generation-deterministic", "--request-timeout=10",
        f"--max-examples={examples}", "--suppress-health-check=all",
        *(word for header in headers for word in ("-H", header)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert "Tested: 40" in done.stdout
