"""Every route by every kind of key: the exact answer, written down. A new route must be added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from inprocess import InProcess, in_process
from world import World

SECRETS = {scope: f"secret-of-{scope}" for scope in ("read", "predict", "admin")}
LINES = ";".join(
    f"{scope}:{scope}:{hashlib.sha256(secret.encode()).hexdigest()}"
    for scope, secret in SECRETS.items()
)
ID = "0" * 32

OPEN = [
    ("GET", "/"),
    ("GET", "/page/{name:text}"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/health/live"),
    ("HEAD", "/health/live"),
    ("GET", "/health/ready"),
    ("HEAD", "/health/ready"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
]
READ = [
    ("GET", "/metrics"),
    ("GET", "/v1/stats"),
    ("GET", "/v1/graph"),
    ("GET", "/v1/graph/nodes/{id:text}"),
    ("GET", "/v1/graph/nodes/{id:text}/neighbors"),
    ("GET", "/v1/graph/nodes/{id:text}/neighborhood"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name:text}"),
    ("GET", "/v1/models/{name:text}/map"),
    ("GET", "/v1/models/{name:text}/map/points"),
    ("GET", "/v1/models/{name:text}/map/nodes"),
    ("GET", "/v1/aliases"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{id:text}"),
    ("GET", "/v1/jobs/{id:text}/result"),
    ("HEAD", "/v1/jobs/{id:text}/result"),
    ("GET", "/v2"),
    ("GET", "/v2/models/{name}"),
    ("GET", "/v2/models/{name}/ready"),
    ("GET", "/v2/models/{name}/versions/{version}"),
    ("GET", "/v2/models/{name}/versions/{version}/ready"),
    ("POST", "/v2/repository/index"),
]
PREDICT = [
    ("POST", "/v1/nodes/predict"),
    ("POST", "/v1/nodes/embed"),
    ("POST", "/v1/nodes/similar"),
    ("POST", "/v1/links/predict"),
    ("POST", "/v1/graphs/predict"),
    ("POST", "/v1/jobs"),
    ("DELETE", "/v1/jobs/{id:text}"),
    ("POST", "/v2/models/{name}/infer"),
    ("POST", "/v2/models/{name}/versions/{version}/infer"),
]
ADMIN = [
    ("PUT", "/v1/aliases/{alias}"),
    ("DELETE", "/v1/aliases/{alias}"),
    ("POST", "/v1/models/{name}/versions/{version}/load"),
    ("POST", "/v1/models/{name}/versions/{version}/unload"),
    ("POST", "/v2/repository/models/{name}/load"),
    ("POST", "/v2/repository/models/{name}/unload"),
]
NEEDS = {
    **dict.fromkeys(OPEN),
    **dict.fromkeys(READ, "read"),
    **dict.fromkeys(PREDICT, "predict"),
    **dict.fromkeys(ADMIN, "admin"),
}
ALLOWED = {"read": {"read", "admin"}, "predict": {"predict", "admin"}, "admin": {"admin"}}

WRONG: dict[str, list[tuple[str, bytes]]] = {
    "no key": [],
    "wrong": [("authorization", b"Bearer wrong")],
    "empty": [("authorization", b"")],
    "empty bearer": [("authorization", b"Bearer ")],
    "empty header": [("x-api-key", b"")],
    "doubled": [("x-api-key", b"secret-of-admin"), ("x-api-key", b"secret-of-read")],
    "doubled across": [("x-api-key", b"secret-of-admin"), ("authorization", b"Bearer wrong")],
    "doubled with none": [("x-api-key", b"secret-of-admin"), ("authorization", b"")],
    "joined": [("x-api-key", b"secret-of-admin, secret-of-admin")],
    "unicode": [("authorization", "Bearer secret-of-admin\u00e9".encode())],
    "wide": [("x-api-key", "\uff53ecret-of-admin".encode())],
    "not utf-8": [("x-api-key", b"\xff\xfe")],
    "nul": [("x-api-key", b"secret-of-admin\0")],
    "basic": [("authorization", b"Basic secret-of-admin")],
    "upper": [("x-api-key", b"SECRET-OF-ADMIN")],
    "digest": [("x-api-key", hashlib.sha256(b"secret-of-admin").hexdigest().encode())],
    "long": [("x-api-key", b"secret-of-admin" * 1000)],
}


def routes(client: InProcess) -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in client.app.routes
        for method in route.methods
        if not (method == "HEAD" and "GET" in route.methods)
    }


def path_of(path: str) -> str:
    values = {"/page/{name:text}": "/page/main.js", "{id:text}": ID, "{name:text}": "nope",
              "{name}": "nope", "{version}": "9", "{alias}": "nope"}  # fmt: skip
    for part, value in values.items():
        path = path.replace(part, value)
    return path


@pytest.fixture(scope="module")
def client(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    routing = tmp_path_factory.mktemp("routing") / "routing.json"
    with in_process(
        world.settings(api_keys=LINES, routing=routing, wrong_keys_per_minute=0)
    ) as client:
        yield client


def test_the_matrix_names_every_route_and_no_other(client: InProcess):
    assert routes(client) == NEEDS.keys()


@pytest.mark.parametrize("kind", WRONG)
def test_whoever_has_no_key_gets_401_everywhere_but_where_all_may(client: InProcess, kind: str):
    for (method, path), need in NEEDS.items():
        answer = client.request(method, path_of(path), headers=WRONG[kind])
        if need is None:
            assert answer.status_code in (200, 307), (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", SECRETS)
def test_a_key_opens_what_its_scope_says_and_nothing_else(client: InProcess, scope: str):
    for (method, path), need in NEEDS.items():
        headers = {"x-api-key": SECRETS[scope]}
        status = client.request(method, path_of(path), headers=headers).status_code
        if need is None or scope in ALLOWED[need]:
            assert status not in (401, 403, 405, 500), (method, path, status)
        else:
            assert status == 403, (method, path)


def test_without_keys_all_is_open_but_what_changes_models(world: World, tmp_path):
    routing = tmp_path / "routing.json"
    with in_process(world.settings(routing=routing)) as client:
        for (method, path), need in NEEDS.items():
            answer = client.request(method, path_of(path))
            assert (answer.status_code == 403) is (need == "admin"), (method, path)
            assert answer.status_code not in (401, 500)
    with in_process(world.settings(routing=routing, open_admin=True)) as client:
        for method, path in ADMIN:
            assert client.request(method, path_of(path)).status_code in (404, 415), path


def test_the_document_says_the_scope_of_every_route(client: InProcess):
    paths = client.get("/openapi.json").json()["paths"]
    for (method, path), need in NEEDS.items():
        operation = paths.get(path.replace(":text", ""), {}).get(method.lower())
        if operation is not None:
            assert operation.get("x-scope") == need, (method, path)
