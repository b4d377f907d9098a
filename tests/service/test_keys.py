"""API keys: what a keys file may hold, and what each key opens."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inprocess import InProcess, in_process
from world import World

from sampling.errors import InputError
from service import keys as keys_module
from service.access import needs
from service.app import create_app
from service.commands.key import add_line
from service.keys import KeyRing, new_key

SECRETS = {scope: f"secret-of-{scope}" for scope in ("read", "predict", "admin")}


def line(name: str, scopes: str, secret: str) -> str:
    return f"{name}:{scopes}:{hashlib.sha256(secret.encode()).hexdigest()}"


LINES = "\n".join(line(scope, scope, secret) for scope, secret in SECRETS.items())


def test_a_new_key_is_found_by_what_the_client_sends_alone():
    secret, text = new_key("me", ["read", "predict"])
    ring = KeyRing.parse(f"# mine\n\n{text}\n", "here")
    assert ring.find(secret).name == "me"
    assert ring.find(secret).allows("predict")
    assert not ring.find(secret).allows("admin")
    assert secret not in text
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), text.rpartition(":")[2]):
        assert ring.find(wrong) is None
    assert len({new_key("me", ["read"])[0] for _ in range(50)}) == 50


@given(st.text(max_size=80))
def test_no_other_text_is_a_key(text: str):
    assert KeyRing.parse(LINES, "here").find(text) is None or text in SECRETS.values()


def test_a_name_may_have_two_keys_and_no_more():
    two = [line("a", "read", "1"), line("a", "admin", "2")]
    ring = KeyRing.parse("\n".join(two), "here")
    assert ring.find("1").scopes == {"read"}
    assert ring.find("2").allows("predict")
    with pytest.raises(InputError, match="3 keys for 'a'"):
        KeyRing.parse("\n".join([*two, line("a", "read", "3")]), "here")
    with pytest.raises(InputError, match="twice"):
        KeyRing.parse("\n".join([*two, line("b", "read", "1")]), "here")


@pytest.mark.parametrize(
    "text",
    ["", "# none", "a", "a:read", "a:read:", ":read:" + "0" * 64, "a:read:" + "g" * 64,
     "a:read:" + "0" * 63, "a:read:" + "A" * 64, "a:read:x:" + "0" * 64, "a b:read:" + "0" * 64,
     "a::" + "0" * 64, "a:write:" + "0" * 64, "a:read,:" + "0" * 64, "../a:read:" + "0" * 64],
)  # fmt: skip
def test_what_is_no_keys_file_is_refused(text: str):
    with pytest.raises(InputError, match="here"):
        KeyRing.parse(text, "here")


def test_a_refusal_does_not_repeat_what_may_be_a_secret():
    with pytest.raises(InputError) as refusal:
        KeyRing.parse("me:read:my-secret-in-plain-text", "here")
    assert "my-secret" not in str(refusal.value)


def test_a_key_is_added_to_a_file_that_stays_valid_and_private(tmp_path: Path):
    path = tmp_path / "keys.txt"
    for name in ("a", "b", "a"):
        add_line(path, new_key(name, ["read"])[1])
    before = path.read_text()
    assert len(before.splitlines()) == 3
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="3 keys"):
        add_line(path, new_key("a", ["read"])[1])
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_secrets_are_compared_by_compare_digest_and_by_nothing_else():
    tree = ast.parse(Path(keys_module.__file__).read_text())
    [find] = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "find"]
    assert "hmac.compare_digest(" in ast.unparse(find)
    [loop] = [n for n in ast.walk(find) if isinstance(n, ast.For)]
    leaves = [n for n in ast.walk(loop) if isinstance(n, ast.Return | ast.Break | ast.Compare)]
    assert leaves == [], "all keys are looked at, whichever fits"


# --- routes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[InProcess]:
    with in_process(world.settings(api_keys=LINES, embeddings=world.embeddings)) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def refused(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    if "error" not in response.json():  # as /v2 says it
        assert response.json()["code"] == code
        assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic " + SECRETS["admin"]},
        {"authorization": SECRETS["admin"]},
        {"authorization": "Bearer " + SECRETS["admin"] + "\u00e9"},
        {"authorization": "Bearer " + "x" * 100_000},
        {"x-api-key": ""},
        {"x-api-key": SECRETS["admin"].upper()},
        {"x-api-key": SECRETS["admin"], "authorization": "Bearer wrong"},
        [("x-api-key", SECRETS["admin"]), ("x-api-key", "wrong")],
        {"cookie": f"x-api-key={SECRETS['admin']}"},
    ],
)
def test_what_is_no_key_opens_nothing(client: InProcess, headers):
    encoded = [
        (k, v.encode("latin-1"))
        for k, v in (headers.items() if isinstance(headers, dict) else headers)
    ]
    refused(client.get("/v1/graph", headers=encoded), 401, "unauthorized")


def test_a_key_in_the_address_opens_nothing(client: InProcess):
    refused(client.get(f"/v1/graph?x-api-key={SECRETS['admin']}"), 401, "unauthorized")


@pytest.mark.parametrize("headers", [bearer("secret-of-read"), {"x-api-key": "secret-of-read"},
                                     {"authorization": "bearer  secret-of-read "}])  # fmt: skip
def test_both_headers_carry_a_key(client: InProcess, headers: dict[str, str]):
    assert client.get("/v1/graph", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["//v1/graph", "/v1/graph/", "/V1/graph", "/health/../v1/graph",
                                  "/health/live/../../v1/graph", "/%76%31/graph"])  # fmt: skip
def test_no_spelling_of_a_path_goes_round_the_check(client: InProcess, path: str):
    assert client.get(path).status_code in (401, 404)


def test_strangers_learn_that_it_is_ready_and_no_more(client: InProcess):
    assert client.get("/health/ready").json() == {"status": "ready", "checks": {}}
    known = client.get("/health/ready", headers=bearer("secret-of-read")).json()
    assert known["checks"]["table"] == "fresh"


def test_the_document_says_what_needs_a_key(client: InProcess):
    paths = client.get("/openapi.json").json()["paths"]
    assert paths["/v1/nodes/predict"]["post"]["x-scope"] == "predict"
    assert {"401", "403"} <= paths["/v1/graph"]["get"]["responses"].keys()
    assert "security" not in paths["/health/live"]["get"]


def test_metrics_are_open_where_the_setting_says_so(world: World):
    with in_process(world.settings(api_keys=LINES.replace("\n", ";"), open_metrics=True)) as client:
        assert client.get("/metrics").status_code == 200
        refused(client.get("/v1/graph"), 401, "unauthorized")


def test_without_keys_no_route_is_touched(world: World):
    guarded = [r for r in create_app(world.settings()).routes if type(r.app).__name__ == "_Guard"]
    assert guarded == []


def test_a_mark_stays_with_its_endpoint():
    assert needs("admin")(lambda: 1).scope == "admin"


# --- browsers ---------------------------------------------------------------------------------


def test_pages_of_other_origins_may_call_only_where_they_are_named(world: World):
    ask = {"origin": "https://a.example", "access-control-request-method": "POST",
           "access-control-request-headers": "x-api-key"}  # fmt: skip
    with in_process(world.settings(cors_origins="https://a.example")) as client:
        asked = client.request("OPTIONS", "/v1/nodes/predict", headers=ask)
        assert asked.headers["access-control-allow-origin"] == "https://a.example"
        other = client.get("/v1/graph", headers={"origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers
    with in_process(world.settings()) as client:
        assert client.request("OPTIONS", "/v1/nodes/predict", headers=ask).status_code == 405


@pytest.mark.parametrize("origins", ["a.example", "https://a/b", "https://a, https://b", "*,*"])
def test_origins_that_are_none_are_refused(world: World, origins: str):
    with pytest.raises(ValueError, match="cors_origins"):
        type(world.settings())(graph="g", models="m", cors_origins=origins)
