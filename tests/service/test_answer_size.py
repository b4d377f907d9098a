"""Answers that would be too large are refused before any work, by rows and widths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving import Serving, serving
from world import World

MANY = list(range(100, 1100))
ARROW = {"accept": "application/vnd.apache.arrow.stream"}
LIMIT = 160_000


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Serving]:
    """1000 rows of 16 numbers: 12 bytes each are too many, 4 are not."""
    settings = world.settings(embeddings=world.embeddings, max_response_bytes=LIMIT)
    with serving(settings) as server:
        yield server


def test_embeddings_in_json_are_refused_where_arrow_is_not(server: Serving):
    asked = []
    plan = server.resources.predictor.plan
    server.resources.predictor.plan = lambda *given: asked.append(given) or plan(*given)  # type: ignore[method-assign]
    answer = server.client.post("/v1/nodes/embed", json={"nodes": MANY})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "limit_exceeded")
    assert (problem["limit"], problem["rows"]) == (LIMIT, 1000)
    assert problem["got"] == 1000 * problem["bytes_per_row"] > LIMIT
    assert not asked, "refused before it is planned"
    binary = server.client.post("/v1/nodes/embed", json={"nodes": MANY}, headers=ARROW)
    assert binary.status_code == 200
    few = server.client.post("/v1/nodes/embed", json={"nodes": MANY[:500]})
    assert few.status_code == 200


def test_predictions_and_tensors_and_neighbors_are_counted_too(server: Serving):
    post = server.client.post
    body = {"nodes": MANY, "include": ["label", "probabilities", "embedding"]}
    assert post("/v1/nodes/predict", json=body).json()["code"] == "limit_exceeded"
    assert post("/v1/nodes/predict", json=body | {"include": ["label"]}).status_code == 200
    near = {"nodes": MANY[:100], "k": 100}
    assert post("/v1/nodes/similar", json=near).json()["code"] == "limit_exceeded"
    assert post("/v1/nodes/similar", json=near | {"k": 10}).status_code == 200
    tensor = {"name": "nodes", "shape": [1000], "datatype": "INT64", "data": MANY}
    for is_binary, status in ((False, 400), (True, 200)):
        output = {"name": "embedding", "parameters": {"binary_data": is_binary}}
        asked = {"inputs": [tensor], "outputs": [output]}
        assert post("/v2/models/default/infer", json=asked).status_code == status


def test_the_estimate_is_near_what_is_sent(world: World):
    with serving(world.settings(embeddings=world.embeddings)) as roomy:
        sent = len(roomy.client.post("/v1/nodes/embed", json={"nodes": MANY}).content)
        assert 0.5 * sent < 1000 * (64 + 16 * 12) < 2 * sent
