"""The service as a client sees it: a real process, a real socket."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import AWKWARD, CLASSES, DIM, World, make_world, running

LIMITS = {
    "max_ids_per_request": 2000,
    "max_new_nodes": 3,
    "max_new_edges": 50,
    "max_body_bytes": 100_000,
    "header_timeout_s": 1.0,
    "body_timeout_s": 1.0,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    """A server with a fresh table and small limits."""
    with running(world.settings(embeddings=world.embeddings, **LIMITS)) as client:
        yield client


@pytest.fixture(scope="module")
def computing(world: World) -> Iterator[httpx.Client]:
    """A server without a table."""
    with running(world.settings(exact_edge_budget=300)) as client:
        yield client


def predict(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/nodes/predict", json=body)


def rows(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array([entry["embedding"] for entry in response.json()["predictions"]])


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert {"type", "title", "detail"} <= problem.keys()
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "server-timing" in response.headers
    return problem


# --- what there is ----------------------------------------------------------------------------


def test_health_says_what_is_served(client: httpx.Client):
    assert client.get("/health/live").json()["status"] == "live"
    ready = client.get("/health/ready").json()
    assert ready["status"] == "ready"
    assert ready["checks"]["graph"] == {"name": "world", "version": 1}
    assert ready["checks"]["models"] == {"default": 1}
    assert (ready["checks"]["self_test"], ready["checks"]["table"]) == ("passed", "fresh")


def test_the_graph_is_described(client: httpx.Client, world: World):
    graph = client.get("/v1/graph").json()
    assert (graph["num_nodes"], graph["num_edges"]) == (1500, 9000)
    assert (graph["classes"], graph["id_type"], graph["feature_dim"]) == (CLASSES, "int", DIM)
    assert graph["fingerprint"] == world.data.meta.fingerprint


def test_a_node_is_described(client: httpx.Client, world: World):
    node = client.get("/v1/graph/nodes/105").json()
    assert (node["node"], node["type"]) == (105, "node")
    assert node["degree"] == len(world.data.graph.in_neighbors(5))
    assert node["features"] == pytest.approx(world.data.features.array[5].tolist())
    code = int(world.data.labels[5])
    assert node["label"] == (CLASSES[code] if code >= 0 else None)


def test_neighbors_are_listed_up_to_a_limit(client: httpx.Client, world: World):
    wanted = (world.data.graph.in_neighbors(0) + 100).tolist()
    some = client.get("/v1/graph/nodes/100/neighbors", params={"limit": 3}).json()
    assert [n["node"] for n in some["neighbors"]] == wanted[:3]
    assert some["degree"] == len(wanted)
    every = client.get("/v1/graph/nodes/100/neighbors", params={"limit": 10_000}).json()
    assert [n["node"] for n in every["neighbors"]] == wanted
    problem = refused(
        client.get("/v1/graph/nodes/100/neighbors", params={"limit": 10_001}),
        422, "limit_exceeded",
    )  # fmt: skip
    assert (problem["limit"], problem["got"]) == (10_000, 10_001)


@pytest.mark.parametrize(
    "key",
    ["7", "0105", "105.0", "x", "-1", "9" * 30, "%00", "%ff", "1_05", "%D9%A1", "a/b"],
)
def test_a_node_that_is_not_there_is_404(client: httpx.Client, key: str):
    response = client.get(f"/v1/graph/nodes/{key}")
    refused(response, 404, "unknown_node")


@pytest.mark.parametrize(
    "key", ["105%0A", "105%0A/neighbors", "105/neighbors%0A", "1%0A05", "%0A105"]
)
def test_a_line_feed_is_part_of_the_id(client: httpx.Client, key: str):
    refused(client.get(f"/v1/graph/nodes/{key}"), 404, "unknown_node")


def test_a_path_may_name_a_node_of_any_text(tmp_path: Path):
    world = make_world(tmp_path, string_ids=True)
    with running(world.settings()) as client:
        for row, name in enumerate(AWKWARD):
            path = f"/v1/graph/nodes/{quote(name, safe='')}"
            degree = len(world.data.graph.in_neighbors(row))
            for answer in (client.get(path), client.get(f"{path}/neighbors")):
                assert answer.status_code == 200, (name, answer.text)
                assert (answer.json()["node"], answer.json()["degree"]) == (name, degree)


@pytest.mark.parametrize("path", ["/v1/graph", "/v1/models", "/health/live", "/metrics"])
def test_a_line_feed_behind_a_path_is_another_path(client: httpx.Client, path: str):
    refused(client.get(f"{path}%0A"), 404, "not_found")


def test_models_are_listed_with_card_and_metrics(client: httpx.Client):
    [listed] = client.get("/v1/models").json()["models"]
    assert listed["name"] == "default"
    assert listed["versions"] == [1]
    model = client.get("/v1/models/default").json()
    assert model["task"] == "node-classification"
    assert model["classes"] == CLASSES
    assert model["metrics"] == {"test": {"accuracy": 0.5}}
    assert model["card"].startswith("# default")
    assert model["has_fresh_table"]


@pytest.mark.parametrize(
    "name",
    ["nope", "%2e%2e%2f%2e%2e", "..%2fgraph", "a%2fb", "%00", "x" * 300, "DEFAULT", "default%0A"],
)
def test_a_path_that_names_no_model_is_404(client: httpx.Client, name: str):
    refused(client.get(f"/v1/models/{name}"), 404, "unknown_model")


def test_the_documentation_is_one_page_that_loads_nothing(client: httpx.Client):
    page = client.get("/docs")
    assert "/v1/nodes/predict" in page.text
    for forbidden in ("src=", "<link", "@import", "http://", "https://"):
        assert forbidden not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_openapi_document_shows_the_limits_and_has_no_loose_ends(client: httpx.Client):
    document = client.get("/openapi.json").json()
    request = document["components"]["schemas"]["PredictRequest"]["properties"]
    assert request["nodes"]["maxItems"] == 2000
    assert request["new_nodes"]["maxItems"] == 3
    text = json.dumps(document)
    for part in text.split('"$ref": "')[1:]:
        name = part.split('"')[0].removeprefix("#/components/schemas/")
        assert name in document["components"]["schemas"]


def test_metrics_count_what_happened(computing: httpx.Client):
    def metric(name: str) -> float:
        lines = computing.get("/metrics").text.splitlines()
        values = [float(line.split()[-1]) for line in lines if line.startswith(name)]
        assert values, name
        return sum(values)

    before = metric('gnn_requests_total{method="POST",route="/v1/nodes/predict",status="200"}') if (
        predict(computing, nodes=[1200]).status_code == 200) else 0  # fmt: skip
    predict(computing, nodes=[1200])
    now = metric('gnn_requests_total{method="POST",route="/v1/nodes/predict",status="200"}')
    assert now == before + 1
    assert metric("gnn_cache_hits_total") >= 1
    assert metric("gnn_cache_misses_total") >= 1
    assert metric("gnn_cache_bytes") > 0
    assert metric("gnn_sampled_edges_total") > 0
    for stage in ("queue", "sample", "gather", "compute"):
        assert metric(f'gnn_stage_seconds_count{{stage="{stage}"}}') > 0
    assert metric('gnn_frontier_nodes_count{hop="2"}') > 0
    assert metric("gnn_graph_info") == metric("gnn_model_info") == 1


# --- the same answer by every road ------------------------------------------------------------


def test_table_exact_cache_and_restart_agree(client: httpx.Client, world: World):
    body = {"nodes": list(range(100, 1100)), "include": ["label", "probabilities", "embedding"]}
    table = predict(client, **body)
    exact = predict(client, mode="exact", **body)
    cached = predict(client, mode="exact", **body)
    for response, source in ((table, "table"), (exact, "computed"), (cached, "cache")):
        assert {entry["source"] for entry in response.json()["predictions"]} == {source}
    assert np.abs(rows(table) - rows(exact)).max() < 1e-5
    assert (rows(cached) == rows(exact)).all()
    with running(world.settings(embeddings=world.embeddings)) as restarted:
        again = predict(restarted, mode="exact", **body)
        drawn = predict(restarted, mode="sampled", seed=3, **body)
    assert (rows(again) == rows(exact)).all()
    assert (rows(predict(client, mode="sampled", seed=3, **body)) == rows(drawn)).all()


def test_alone_is_as_in_a_thousand_and_embed_as_predict(computing: httpx.Client):
    ids = list(range(200, 1200))
    together = rows(predict(computing, nodes=ids, include=["embedding"], seed=8))
    for i in range(0, 1000, 111):
        alone = rows(predict(computing, nodes=[ids[i]], include=["embedding"], seed=8))
        assert np.abs(alone[0] - together[i]).max() < 1e-5
    embedded = computing.post("/v1/nodes/embed", json={"nodes": ids, "seed": 8}).json()
    assert embedded.keys() == {"model", "model_version", "graph_version", "embeddings"}
    assert np.abs(np.array(embedded["embeddings"]) - together).max() < 1e-5


def test_clients_at_once_get_what_one_gets_alone(world: World):
    asked = [([100 + i, 900 - i, 100 + 3 * i], i % 3) for i in range(60)]

    def ask(client: httpx.Client, ids: list[int], seed: int) -> np.ndarray:
        body = {"nodes": ids, "seed": seed, "mode": "sampled", "include": ["embedding"]}
        return rows(predict(client, **body))

    with running(world.settings(cache_bytes=0, max_batch_cost_edges=200)) as client:
        alone = [ask(client, *one) for one in asked]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda one: ask(client, *one), asked))
    for a, b in zip(alone, together, strict=True):
        assert np.abs(a - b).max() < 1e-5


def test_arrow_carries_the_rows_of_json(computing: httpx.Client):
    body = {"nodes": [105, 100, 105], "mode": "exact"}
    accept = {"accept": "application/vnd.apache.arrow.stream"}
    response = computing.post("/v1/nodes/embed", json=body, headers=accept)
    assert response.headers["content-type"] == accept["accept"]
    table = pa.ipc.open_stream(response.content).read_all()
    table.validate(full=True)
    assert table["node"].to_pylist() == body["nodes"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    plain = computing.post("/v1/nodes/embed", json=body).json()["embeddings"]
    assert np.allclose(table["embedding"].to_pylist(), plain, atol=1e-7)


def test_a_described_node_is_answered_for_and_not_stored(computing: httpx.Client):
    new = {"id": "new", "features": [0.5] * DIM, "in_edges": [105, 106]}
    body = {"nodes": [105], "new_nodes": [new], "include": ["label"]}
    first = predict(computing, **body).json()["predictions"]
    assert [entry["node"] for entry in first] == [105, "new"]
    assert first[1]["source"] == "computed"
    refused(predict(computing, nodes=["new"]), 422, "unknown_node")


# --- every answer carries ---------------------------------------------------------------------


def test_a_sane_request_id_is_kept_and_any_other_replaced(client: httpx.Client):
    given = {"x-request-id": "trace-7.a:b"}
    assert client.get("/v1/graph", headers=given).headers["x-request-id"] == "trace-7.a:b"
    for bad in ("a b", "x" * 65, '"><script>', ""):
        got = client.get("/v1/graph", headers={"x-request-id": bad}).headers["x-request-id"]
        assert got != bad
        assert len(got) == 16


def test_server_timing_has_every_stage(computing: httpx.Client):
    response = predict(computing, nodes=[777], mode="sampled", seed=99)
    stages = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert list(stages) == ["queue", "sample", "gather", "compute"]
    assert float(stages["compute"]) > 0


def with_timeout(client: httpx.Client, given: str) -> httpx.Response:
    headers = {"x-request-timeout-ms": given}
    return client.post("/v1/nodes/predict", json={"nodes": [105]}, headers=headers)


def test_a_deadline_that_has_passed_is_504(client: httpx.Client):
    refused(with_timeout(client, "0"), 504, "deadline_exceeded")


@pytest.mark.parametrize("given", ["-1", "-0", "soon", "1.5", "", "1e3", "9" * 20 + "x"])
def test_a_timeout_that_is_no_whole_number_from_0_is_422(client: httpx.Client, given: str):
    refused(with_timeout(client, given), 422, "invalid_request")


@pytest.mark.parametrize("given", ["9999999", "1" + "0" * 12, "9" * 6000, "0" * 5000 + "5000"])
def test_a_timeout_over_the_setting_counts_as_the_setting(client: httpx.Client, given: str):
    assert with_timeout(client, given).status_code == 200


def test_a_request_too_large_for_its_deadline_is_504_and_leaves_the_queue(world: World):
    slow = world.settings(max_batch_cost_edges=1, cache_bytes=0)
    with running(slow) as client:
        body = {"nodes": list(range(100, 1600)), "mode": "exact"}
        response = client.post(
            "/v1/nodes/predict", json=body, headers={"x-request-timeout-ms": "60"}
        )
        refused(response, 504, "deadline_exceeded")
        assert client.get("/health/ready").json()["checks"]["queue"] == {"waiting": 0}
        assert predict(client, nodes=[105]).status_code == 200


def test_a_full_queue_is_503_with_retry_after(world: World):
    tight = world.settings(queue_limit=1, max_batch_cost_edges=1, cache_bytes=0)
    body = {"nodes": list(range(100, 400)), "mode": "exact"}
    with running(tight) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        responses, statuses = list[httpx.Response](), set[int]()
        deadline = time.monotonic() + 60
        while statuses != {200, 503} and time.monotonic() < deadline:
            responses += pool.map(lambda _: predict(client, **body), range(8))
            statuses = {response.status_code for response in responses}
        assert statuses == {200, 503}
        for response in responses:
            if response.status_code == 503:
                refused(response, 503, "overloaded")
                assert int(response.headers["retry-after"]) >= 1
        assert predict(client, nodes=[105]).status_code == 200


# --- refusals ---------------------------------------------------------------------------------


def test_unknown_ids_are_listed(client: httpx.Client):
    problem = refused(predict(client, nodes=[105, 7, "105", 7]), 422, "unknown_node")
    assert problem["unknown"] == [7, "105"]
    reported = predict(client, nodes=[7, 105], on_unknown="report").json()["predictions"]
    assert reported[0] == {"node": 7, "status": "unknown"}
    assert reported[1]["source"] == "table"


@pytest.mark.parametrize("name", ["nope", "../default", "..", "a/b", "%2e%2e%2f", "\u0000"])
def test_an_unknown_model_is_404(client: httpx.Client, name: str):
    refused(predict(client, nodes=[105], model=name), 404, "unknown_model")


def test_an_unknown_version_is_404_and_a_missing_table_409(
    client: httpx.Client, computing: httpx.Client
):
    problem = refused(predict(client, nodes=[105], version=9), 404, "unknown_version")
    assert problem["known"] == [1]
    refused(predict(computing, nodes=[105], mode="table"), 409, "no_table")


def test_too_many_ids_are_422_with_limit_and_got(client: httpx.Client):
    problem = refused(predict(client, nodes=[105] * 2001), 422, "limit_exceeded")
    assert (problem["limit"], problem["got"]) == (2000, 2001)
    assert predict(client, nodes=[105] * 2000).status_code == 200


def described(*num_edges: int) -> list[dict[str, Any]]:
    """New nodes with so many edges."""
    row = [0.5] * DIM
    return [
        {"id": f"x{i}", "features": row, "in_edges": [105] * n} for i, n in enumerate(num_edges)
    ]


def test_too_many_edges_into_new_nodes_are_422_before_any_is_looked_up(client: httpx.Client):
    new = described(25, 26)
    new[0]["in_edges"][0] = 7
    problem = refused(predict(client, new_nodes=new), 422, "limit_exceeded")
    assert (problem["limit"], problem["got"]) == (50, 51)
    assert predict(client, new_nodes=described(25, 25)).status_code == 200


def test_too_many_new_nodes_are_422_with_limit_and_got(client: httpx.Client):
    problem = refused(predict(client, new_nodes=described(1, 1, 1, 1)), 422, "limit_exceeded")
    assert (problem["limit"], problem["got"]) == (3, 4)
    assert predict(client, new_nodes=described(1, 1, 1)).status_code == 200


@pytest.mark.parametrize("body", [{}, {"nodes": []}, {"new_nodes": []}, {"mode": "exact"}])
def test_a_prediction_of_nothing_is_422(client: httpx.Client, body: dict[str, Any]):
    problem = refused(predict(client, **body), 422, "invalid_request")
    assert "`nodes`" in problem["detail"]
    assert "`new_nodes`" in problem["detail"]


HOSTILE = {
    "empty": (b"", 400),
    "cut": (b'{"nodes": [1', 400),
    "text": (b"hello", 400),
    "not utf-8": (b'{"nodes": ["\xff"]}', 400),
    "lone surrogate": (b'{"nodes": ["\\ud800"]}', 400),
    "surrogate as key": (b'{"\\udfff": 1}', 400),
    "deep": (b'{"nodes": ' + b"[" * 40_000, 400),
    "deep and closed": (b'{"nodes": ' + b"[" * 40_000 + b"]" * 40_000 + b"}", 400),
    "deep objects": (b'{"a":' * 15_000, 400),
    "null": (b"null", 422),
    "array": (b"[1]", 422),
    "number": (b"1", 422),
    "nodes null": (b'{"nodes": null}', 422),
    "nodes object": (b'{"nodes": {"0": 1}}', 422),
    "id true": (b'{"nodes": [true]}', 422),
    "id null": (b'{"nodes": [null]}', 422),
    "id float": (b'{"nodes": [105.0]}', 422),
    "id list": (b'{"nodes": [[105]]}', 422),
    "id NaN": (b'{"nodes": [NaN]}', 422),
    "id 1e400": (b'{"nodes": [1e400]}', 422),
    "id 2^63": (b'{"nodes": [9223372036854775808]}', 422),
    "id -2^63-1": (b'{"nodes": [-9223372036854775809]}', 422),
    "id 2^63-1": (b'{"nodes": [9223372036854775807]}', 422),
    "id of 5000 digits": (b'{"nodes": [' + b"9" * 5000 + b"]}", 400),
    "id of 5000 letters": (b'{"nodes": ["' + b"x" * 5000 + b'"]}', 422),
    "extra field": (b'{"nodes": [105], "hops": 9}', 422),
    "mode": (b'{"nodes": [105], "mode": "best"}', 422),
    "model number": (b'{"nodes": [105], "model": 1}', 422),
    "version text": (b'{"nodes": [105], "version": "1"}', 422),
    "version 0": (b'{"nodes": [105], "version": 0}', 422),
    "seed float": (b'{"nodes": [105], "seed": 1.5}', 422),
    "seed 2^63": (b'{"nodes": [105], "seed": 9223372036854775808}', 422),
    "include": (b'{"nodes": [105], "include": ["weights"]}', 422),
    "feature NaN": (b'{"new_nodes": [{"id": 1, "features": [NaN]}]}', 422),
    "feature 1e400": (b'{"new_nodes": [{"id": 1, "features": [1e400]}]}', 422),
    "feature text": (b'{"new_nodes": [{"id": 1, "features": ["1"]}]}', 422),
    "features missing": (b'{"new_nodes": [{"id": 1}]}', 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_a_problem_and_never_a_failure(client: httpx.Client, name: str):
    body, status = HOSTILE[name]
    headers = {"content-type": "application/json"}
    response = client.post("/v1/nodes/predict", content=body, headers=headers)
    code = "malformed_json" if status == 400 else response.json()["code"]
    problem = refused(response, status, code)
    assert len(response.content) < 4000
    if problem["code"] == "invalid_request":
        assert all(entry.keys() - {"got"} == {"loc", "msg"} for entry in problem["errors"])


def test_a_body_over_the_limit_is_413_with_or_without_its_length(client: httpx.Client):
    body = b'{"nodes": [' + b"1," * 60_000 + b"1]}"
    headers = {"content-type": "application/json"}
    problem = refused(
        client.post("/v1/nodes/predict", content=body, headers=headers), 413, "body_too_large"
    )
    assert (problem["limit"], problem["got"]) == (100_000, len(body))
    pieces = (body[i : i + 5000] for i in range(0, len(body), 5000))
    chunked = client.post("/v1/nodes/predict", content=pieces, headers=headers)
    problem = refused(chunked, 413, "body_too_large")
    assert problem["limit"] == 100_000 < problem["got"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json", "content-encoding": "br"},
    ],
)
def test_a_body_of_another_type_is_415(client: httpx.Client, headers: dict[str, str]):
    response = client.post("/v1/nodes/predict", content=b'{"nodes": [105]}', headers=headers)
    refused(response, 415, "unsupported_media_type")


def test_other_paths_and_methods_are_problems_too(client: httpx.Client):
    refused(client.get("/v1/nope"), 404, "not_found")
    response = client.get("/v1/nodes/predict")
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        refused(client.request(method, "/v1/graph"), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/", "/page/map.js", "/health/live", "/health/ready"])
def test_what_balancers_ask_for_by_head_is_answered_without_a_body(client: httpx.Client, path: str):
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert client.get(path).content == whole.content  # on the same connection


# --- connections ------------------------------------------------------------------------------


def connect(client: httpx.Client) -> socket.socket:
    url = client.base_url
    return socket.create_connection((url.host, url.port), timeout=8)


def received(connection: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("start", "drip", "answer"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b""),
        (b"POST /v1/nodes/predict HTTP/1.1\r\n", b"x: y\r\n", b""),
        (
            b"POST /v1/nodes/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 5000\r\n\r\n",
            b" ",
            b"HTTP/1.1 408 ",
        ),
    ],
    ids=["idle", "blank lines", "headers", "body"],
)
def test_a_slow_client_is_cut_off_and_others_do_not_notice(client, start, drip, answer):
    with connect(client) as connection:
        connection.sendall(start)
        began = time.monotonic()
        connection.settimeout(0.2)
        got = b""
        while time.monotonic() - began < 6:
            try:
                if drip:
                    connection.sendall(drip)
                part = connection.recv(65536)
                got += part
                if not part:
                    break
            except TimeoutError:
                assert client.get("/health/live").status_code == 200
            except OSError:
                break
        assert 0.5 < time.monotonic() - began < 4
        assert got.startswith(answer)
        assert answer or not got


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: " + b"b" * 200_000, b"431"),
        (b"GET /health/live HTTP/1.1\r\na: " + b"b" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET /health/live HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", b"431"),
        (b"GET /health/live HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", b"431"),
        (b"GET /health/live?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /health/live?" + b"a" * 70_000, b"431"),
        (b"GET /health/live HTTP/1.1\r\na: " + b"b" * 70_000, b"431"),
        (b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
    ],
)
def test_what_is_not_http_is_a_problem_and_the_end(client, request_bytes: bytes, status: bytes):
    with connect(client) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request_bytes)
        answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        assert b"application/problem+json" in answer
    assert client.get("/health/live").status_code == 200


def test_headers_up_to_the_limit_are_read_however_they_come(client: httpx.Client):
    fields = b"a: %s\r\n" % (b"b" * 995) * 64
    request = b"GET /health/live HTTP/1.1\r\n" + fields + b"connection: close\r\n\r\n"
    assert 64_000 < len(request) < 65_536
    for size in (len(request), 9_000, 60_000):
        with connect(client) as connection:
            for start in range(0, len(request), size):
                connection.sendall(request[start : start + size])
                time.sleep(0.01)
            assert received(connection).startswith(b"HTTP/1.1 200")


def test_a_request_in_pieces_and_two_in_one_are_answered(client: httpx.Client):
    body = b'{"nodes": [105]}'
    request = (
        b"POST /v1/nodes/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )
    with connect(client) as connection:
        for byte in range(len(request)):
            connection.sendall(request[byte : byte + 1])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(request + request.replace(b"host: x", b"connection: close"))
        assert received(connection).count(b"HTTP/1.1 200") == 2


def test_clients_that_leave_do_no_harm(computing: httpx.Client):
    body = json.dumps({"nodes": list(range(100, 1600)), "mode": "sampled", "seed": 77}).encode()
    request = (
        b"POST /v1/nodes/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )
    for cut in (20, 150, len(request)) * 7:
        with connect(computing) as connection:
            connection.sendall(request[:cut])
    assert predict(computing, nodes=[105]).status_code == 200
    time.sleep(0.3)
    assert computing.get("/health/ready").json()["checks"]["queue"] == {"waiting": 0}
    assert 'status="500"' not in computing.get("/metrics").text


def test_requests_under_way_are_finished_after_sigterm(world: World):
    slow = world.settings(max_batch_cost_edges=1, cache_bytes=0)
    body = {"nodes": list(range(100, 400)), "mode": "exact"}
    with running(slow) as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(predict, client, **body)
        time.sleep(0.05)
        client.process.terminate()  # type: ignore[attr-defined]
        assert len(answer.result().json()["predictions"]) == 300


def counted(client: httpx.Client, route: str) -> float:
    """Requests of a route in the metrics."""
    lines = client.get("/metrics").text.splitlines()
    own = [line for line in lines if line.startswith("gnn_requests_total") and route in line]
    return sum(float(line.split()[-1]) for line in own)


def test_two_workers_answer_alike_and_count_together(world: World):
    settings = world.settings(workers=2, embeddings=world.embeddings)
    with running(settings) as client:
        url, answers = client.base_url, set()
        for _ in range(12):
            with httpx.Client(base_url=url) as fresh:
                answers.add(
                    predict(fresh, nodes=[105], mode="exact").text.replace("cache", "computed")
                )
        assert len(answers) == 1
        deadline = time.monotonic() + 5
        while counted(client, "predict") != 12:  # a request is counted once its answer is gone
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_server_that_cannot_start_says_why_and_fails(world: World, tmp_path: Path):
    with (
        pytest.raises(AssertionError),
        running(world.settings().model_copy(update={"graph": tmp_path})),
    ):
        pass
