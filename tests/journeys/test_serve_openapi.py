"""The OpenAPI document, attacked by a machine: nothing fails, nothing answers undocumented."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import make_world, running

NAMES = [
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
]

NEIGHBORS = "/v1/graph/nodes/{id}/neighbors"
POSTS = {"/v1/nodes/predict", "/v1/nodes/embed", "/v1/jobs"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    world = make_world(tmp_path_factory.mktemp("attacked"))
    with running(world.settings(max_ids_per_request=50)) as client:
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
        if mode is GenerationMode.NEGATIVE and operation.path not in {*POSTS, NEIGHBORS}:
            continue  # a path of any text has no wrong input

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
    assert attacked >= {*POSTS, NEIGHBORS}
