"""Keys that follow their file while requests come, and wrong keys that are too many."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import InProcess, in_process
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from world import World

from sampling.errors import InputError
from service import live_keys
from service.live_keys import KeyMetrics, LiveKeys, WrongKeys, network_of


def line(name: str, secret: str, scopes: str = "read") -> str:
    return f"{name}:{scopes}:{hashlib.sha256(secret.encode()).hexdigest()}"


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def value(client: InProcess, metric: str) -> float:
    text = client.get("/metrics").text
    [found] = [row for row in text.splitlines() if row.startswith(metric)]
    return float(found.split()[-1])


# --- the file ---------------------------------------------------------------------------------


@pytest.fixture
def followed(tmp_path: Path) -> tuple[Path, LiveKeys, KeyMetrics]:
    path = tmp_path / "keys.txt"
    path.write_text(line("a", "one"))
    return path, LiveKeys.open(path), KeyMetrics(CollectorRegistry())


def test_a_changed_file_is_taken_up_as_a_whole(followed):
    path, keys, metrics = followed
    stat = path.stat()
    path.write_text(line("a", "two"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as long, and as old, as before
    keys.look(metrics)
    assert keys.find("one") is None
    assert keys.find("two").name == "a"


BROKEN = ["", "# none", line("a", "x")[:-1], "a:read", f"{line('a', '1')}\n{line('b', '1')}", "é"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_cannot_be_used_changes_nothing_and_is_said_once(followed, text):
    path, keys, metrics = followed
    path.write_bytes(text.encode("latin-1"))
    with capture_logs() as logged:
        for _ in range(3):
            keys.look(metrics)
    assert keys.find("one").name == "a"
    assert metrics.unusable._value.get() == 1
    assert [line["event"] for line in logged] == ["keys_unusable"]
    path.write_text(line("a", "two"))
    keys.look(metrics)
    assert keys.find("two").name == "a"
    assert metrics.unusable._value.get() == 0


def test_a_file_that_is_gone_a_folder_or_too_large_changes_nothing(followed):
    path, keys, metrics = followed
    path.unlink()
    keys.look(metrics)
    path.mkdir()
    keys.look(metrics)
    path.rmdir()
    path.write_bytes(b"#" * (1 << 20) + b"\n" + line("a", "two").encode())
    keys.look(metrics)
    assert keys.find("one").name == "a"
    assert keys.find("two") is None
    with pytest.raises(InputError, match="larger"):
        LiveKeys.open(path)


def test_a_server_follows_the_file_within_a_moment(world: World, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(live_keys, "LOOK_S", 0.01)
    path = tmp_path / "keys.txt"
    path.write_text(line("a", "one"))
    with in_process(world.settings(api_keys_file=path, open_metrics=True)) as client:
        assert client.get("/v1/graph", headers=bearer("one")).status_code == 200
        path.write_text("damaged")
        wait_for(client, lambda: value(client, "gnn_keys_unusable") == 1)
        assert client.get("/v1/graph", headers=bearer("one")).status_code == 200
        path.with_suffix(".new").write_text(line("a", "two"))
        path.with_suffix(".new").rename(path)
        wait_for(client, lambda: client.get("/v1/graph", headers=bearer("two")).status_code == 200)
        assert client.get("/v1/graph", headers=bearer("one")).status_code == 401
        assert value(client, "gnn_keys_unusable") == 0
        assert value(client, "gnn_keys_reloads_total") == 1


def wait_for(client: InProcess, holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        client.run(asyncio.sleep(0.01))


# --- wrong keys -------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 200), st.sampled_from("ab")), max_size=60),
)
def test_no_address_sends_more_wrong_keys_than_the_bucket_holds_and_gains(per_minute, steps):
    now = 0.0
    wrong = WrongKeys(per_minute, clock=lambda: now)
    passed: dict[str, list[float]] = {"a": [], "b": []}
    for pause, who in steps:
        now += pause
        wait = wrong.wait_s(f"192.0.2.{ord(who)}")
        assert 0 <= wait <= 61
        if not wait:
            passed[who].append(now)
    for times in passed.values():
        for i, start in enumerate(times):
            for j in range(i, len(times)):
                assert j - i + 1 <= per_minute * (1 + (times[j] - start) / 60) + 1e-6


def test_waiting_as_long_as_was_said_is_enough():
    now = 0.0
    wrong = WrongKeys(3, clock=lambda: now)
    assert [wrong.wait_s("a") for _ in range(4)] == [0, 0, 0, 20]
    now += 20
    assert [wrong.wait_s("a") for _ in range(2)] == [0, 20]
    assert not any(WrongKeys(0).wait_s("a") for _ in range(1000))


def test_memory_is_bounded_whatever_addresses_come():
    wrong = WrongKeys(1, most_addresses=100)
    for number in range(10_000):
        wrong.wait_s(f"10.0.{number // 256}.{number % 256}")
    assert len(wrong) == 100


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "no address", True),
    ],
)
def test_one_network_of_64_bits_is_one_client(one: str, other: str, same: bool):
    assert (network_of(one) == network_of(other)) is same


def test_wrong_keys_are_429_after_the_limit_and_right_ones_pass(world: World):
    settings = world.settings(
        api_keys=line("a", "right"), wrong_keys_per_minute=5, open_metrics=True
    )
    with in_process(settings) as client:
        for path in ("/v1/graph", "/v2", "/v1/graph", "/nope", "/v1/jobs", "/v1/models"):
            client.get(path, headers=bearer("wrong"))
        refused = client.get("/v1/graph", headers=bearer("wrong"))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_wrong_keys")
        assert 1 <= int(refused.headers["retry-after"]) <= 12
        assert client.get("/v2", headers=bearer("wrong")).status_code == 429
        for _ in range(3):
            assert client.get("/v1/graph", headers=bearer("right")).status_code == 200
            assert client.get("/v1/graph").status_code == 401, "no key is no wrong key"
            assert client.get("/health/ready", headers=bearer("wrong")).status_code == 200
        assert client.get("/v1/graph", headers=bearer("wrong")).status_code == 429
        counted = [row for row in client.get("/metrics").text.splitlines() if "wrong_keys" in row]
        assert 'gnn_wrong_keys_total{status="401"} 5.0' in counted
        assert "right" not in json.dumps(refused.json())
