"""What a stranger may send or do to files: refused in a sentence, telling and costing nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inprocess import InProcess, in_process
from world import World, add_model, make_world

from service.errors import PROBLEMS
from service.telemetry import configure_logging

CODES = {problem.code for problem in PROBLEMS.values()} | {"not_found", "method_not_allowed"}
POSTS = {
    "/v1/nodes/predict": "nodes",
    "/v1/nodes/embed": "nodes",
    "/v1/nodes/similar": "nodes",
    "/v1/links/predict": "pairs",
    "/v1/graphs/predict": "graphs",
    "/v1/jobs": "nodes",
    "/v2/models/default/infer": "inputs",
    "/v2/repository/index": "ready",
    "/v2/repository/models/default/unload": "parameters",
}
VALUES = {
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "1e400": b"1e400",
    "2^63": b"9223372036854775808",
    "5000 digits": b"9" * 5000,
    "lone surrogate": b'"\\ud800"',
    "nul": b'"\\u0000"',
    "true": b"true",
    "null": b"null",
    "text": b'"nodes"',
    "long text": b'"' + b"x" * 5000 + b'"',
    "object": b'{"__proto__": {"a": 1}}',
    "raw line feed": b'"a\nb"',
    "not utf-8": b'"\xff"',
    "path": b'"../../etc/passwd"',
}
SHAPES = {
    "bare": b"%s",
    "list": b"[%s]",
    "lists": b"[[%s, %s]]",
    "deep": b"[" * 200 + b"%s" + b"]" * 200,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("hostile"), num_edges=3000)


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[InProcess]:
    with in_process(world.settings(open_admin=True, max_body_bytes=200_000)) as client:
        yield client


def harmless(response: httpx.Response, world: World) -> None:
    """A refusal that is no failure and tells nothing of the server; or an answer."""
    assert response.status_code < 500 or response.status_code == 503, response.text
    text = response.text
    for secret in (str(world.models.parent), "Traceback", "site-packages", ".py"):
        assert secret not in text
    if response.status_code >= 400:
        assert len(text) < 20_000
        document = response.json()
        assert document.keys() == {"error"} or document["code"] in CODES


@pytest.mark.parametrize("url", POSTS)
@pytest.mark.parametrize("kind", VALUES)
def test_no_value_anywhere_fails_a_route(client: InProcess, world: World, url: str, kind: str):
    headers = {"content-type": "application/json"}
    for shape in SHAPES.values():
        value = shape.replace(b"%s", VALUES[kind])
        field = POSTS[url].encode()
        for body in (
            value,
            b'{"%s": %s}' % (field, value),
            b'{"%s": [], "model": %s}' % (field, value),
            b'{"nodes": [105], "pairs": [[105, 106]], "kind": "embed", "%s": %s, "version": %s}'
            % (field, value, value),
        ):
            harmless(client.post(url, content=body, headers=headers), world)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["node_features", "edges", "positions"]), inner)
        ),
        max_leaves=12,
    )
)
def test_no_graph_and_no_route_of_any_json_fails(client: InProcess, world: World, value: Any):
    headers = {"content-type": "application/json"}
    for url, field in (("/v1/graphs/predict", "graphs"), ("/v1/links/predict", "pairs")):
        content = json.dumps({field: value, "model": "default"})
        harmless(client.post(url, content=content, headers=headers), world)
    route = json.dumps({"model": "default", "canary": value})
    if value is not None:
        put = client.request("PUT", "/v1/aliases/x", content=route, headers=headers)
        harmless(put, world)
        assert put.status_code >= 400


NAMES = ["..%2fdefault", "%2e%2e", "default%00", "default%0a", "default@1",
         "default/1", ".hidden", "DEFAULT", "%ff", "x" * 3000, "routing.json",
         "%F0%9F%92%A9"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_spelling_of_a_name_reaches_a_file(client: InProcess, world: World, name: str):
    for method, url in (
        ("GET", f"/v1/models/{name}"),
        ("GET", f"/v2/models/{name}"),
        ("GET", f"/v2/models/default/versions/{name}"),
        ("POST", f"/v2/models/{name}/infer"),
        ("POST", f"/v1/models/{name}/versions/1/load"),
        ("POST", f"/v1/models/{name}/versions/1/unload"),
        ("POST", f"/v1/models/default/versions/{name}/load"),
        ("POST", f"/v2/repository/models/{name}/load"),
        ("DELETE", f"/v1/aliases/{name}"),
        ("GET", f"/v1/jobs/{name}"),
        ("GET", f"/v1/jobs/{name}/result"),
    ):
        response = client.request(method, url)
        harmless(response, world)
        assert response.status_code in (400, 404, 405, 422), (method, url, response.status_code)
    body = {"nodes": [105], "model": name}
    assert client.post("/v1/nodes/predict", json=body).status_code in (404, 422)


@pytest.mark.parametrize("version", ["0", "-1", "1e3", "9" * 5000, "1.0", "%31", " 1", "٣"])
def test_a_version_is_a_whole_number_and_nothing_else(client: InProcess, version: str):
    wanted = (400, 404, 422) if version != "%31" else (200,)
    assert client.post(f"/v1/models/default/versions/{version}/load").status_code in wanted
    assert client.get(f"/v2/models/default/versions/{version}").status_code in wanted


def test_a_page_in_a_browser_changes_no_model_where_there_are_no_keys(client: InProcess):
    url = "/v1/models/default/versions/1/load"
    assert client.post(url).status_code == 200
    for header in ({"origin": "http://test"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert client.post(url, headers=header).status_code == 403


# --- files ------------------------------------------------------------------------------------


def test_files_that_are_cut_replaced_or_removed_cost_no_answer(world: World, tmp_path: Path):
    models = tmp_path / "models"
    shutil.copytree(world.models, models)
    own = World(world.graph, models, world.embeddings, world.data)
    with in_process(own.settings(models_poll_s=0.01)) as client:
        body = {"nodes": list(range(100, 140)), "mode": "sampled", "seed": 1}

        def answer(seed: int) -> Any:
            found = client.post("/v1/nodes/predict", json={**body, "seed": seed})
            assert found.status_code == 200, found.text
            entries = found.json()["predictions"]
            return np.array([list(entry["probabilities"].values()) for entry in entries])

        def look() -> None:
            client.resources.rollout.refresh()

        wanted = [answer(seed) for seed in range(6)]
        client.resources.predictor.cache.__init__(0)  # type: ignore[misc]
        path = models / "default" / "1"
        for step, spoil in enumerate((cut, swap_for_pipes, swap_for_folder, make_unreadable)):
            spoil(path)
            look()
            assert np.abs(answer(step) - wanted[step]).max() < 1e-5
        shutil.rmtree(path)
        look()
        assert client.post("/v1/nodes/predict", json=body).status_code == 404
        add_model(models / "default", world.data, seed=1)
        look()
        assert np.abs(answer(5) - wanted[5]).max() < 1e-5


def cut(path: Path) -> None:
    """Truncated in place: what is mapped would end the process."""
    for name in ("weights.safetensors", "model.json"):
        os.truncate(path / name, 7)


def swap_for_pipes(path: Path) -> None:
    """A pipe would be read for ever."""
    for name in ("weights.safetensors", "model.json"):
        (path / name).unlink()
        os.mkfifo(path / name)


def swap_for_folder(path: Path) -> None:
    (path / "model.json").unlink()
    (path / "model.json").mkdir()


def make_unreadable(path: Path) -> None:
    (path / "model.json").rmdir()
    (path / "model.json").symlink_to("model.json")


# --- the log ----------------------------------------------------------------------------------

NASTY = [
    'x\n{"event":"forged"}',
    "\r\x1b[2J\x1b]0;title\x07",
    "\x9b31m\u2028\u202e",
    "\ud800",
    "\x00\x7f",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_log_line_is_one_line_of_plain_ascii(text: str, capsys: pytest.CaptureFixture[str]):
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    try:
        configure_logging("info")
        structlog.get_logger().info("event", said=text, key=object(), listed=[text])
        logging.getLogger("other").warning("said %s", text)
        try:
            raise ValueError(text)
        except ValueError as error:
            structlog.get_logger().error("failed", exc_info=error)
        lines = capsys.readouterr().err.splitlines()
    finally:
        root.handlers[:] = before
        structlog.reset_defaults()
    assert len(lines) == 3
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["event"] in ("event", f"said {text}", "failed")
