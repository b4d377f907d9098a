"""Every route of the API heeds the time that its caller gives."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from serving import Serving, serving
from test_access_matrix import NEEDS, path_of
from world import World

HEADER = "x-request-timeout-ms"
API = ("/v1/", "/v2/")
ROUTES = sorted(
    (method, path)
    for method, path in NEEDS
    if f"{path}/".startswith(API) and method != "HEAD"  # whose answers have no body
)


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Serving]:
    with serving(world.settings(open_admin=True, run_jobs=False)) as server:
        yield server


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_time_is_504_and_no_number_is_refused(server: Serving, method: str, path: str):
    of_protocol = path.startswith("/v2")

    def ask(given: str) -> tuple[int, str]:
        answer = server.client.request(method, path_of(path), headers={HEADER: given}, json={})
        body = answer.json()
        assert set(body) == {"error"} if of_protocol else "code" in body
        return answer.status_code, body.get("code", "")

    assert ask("0") == (504, "" if of_protocol else "deadline_exceeded")
    for garbage in ("soon", "-1", "1.5", ""):
        assert ask(garbage) == ((400, "") if of_protocol else (422, "invalid_request"))


@pytest.mark.parametrize("path", ["/v1/models", "/v2/repository/index", "/v1/models/default/map"])
def test_what_takes_too_long_is_given_up(
    server: Serving, path: str, monkeypatch: pytest.MonkeyPatch
):
    registry = type(server.resources.predictor.registry)
    for name in ("get", "versions"):
        real = getattr(registry, name)
        monkeypatch.setattr(
            registry, name, lambda *a, real=real, **k: (time.sleep(0.5), real(*a, **k))[1]
        )
    monkeypatch.setattr(
        registry, "listed", property(lambda self: (time.sleep(0.5), {})[1]), raising=False
    )
    method = "POST" if "repository" in path else "GET"
    began = time.monotonic()
    answer = server.client.request(method, path, headers={HEADER: "60"})
    assert answer.status_code == 504, answer.text
    assert time.monotonic() - began < 0.4


def test_enough_time_changes_nothing(server: Serving):
    plain = server.client.get("/v1/graph")
    assert server.client.get("/v1/graph", headers={HEADER: "5000"}).json() == plain.json()


def test_the_document_says_so_of_every_operation(server: Serving):
    document = server.client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        if path.startswith(("/v1", "/v2")):
            for operation in operations.values():
                names = [parameter["name"] for parameter in operation["parameters"]]
                assert names.count("X-Request-Timeout-Ms") == 1, path
                assert "504" in operation["responses"], path
