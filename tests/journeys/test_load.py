"""The load test itself: it passes a server that keeps up, and fails one that does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from faults.worlds import FIRST_ID, every_model
from world import ROOT, running

from service.keys import new_key
from service.settings import Settings

ROOMY = {"max-p99-ms": 20_000, "max-heavy-p99-ms": 20_000, "max-late-share": 1}
KEY, LINE = new_key("load", ["read", "predict"])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    world = every_model(tmp_path_factory.mktemp("load"))
    return world.settings(
        jobs=world.graph.parent / "jobs", default_model="default", exact_edge_budget=300,
        api_keys=LINE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[httpx.Client]:
    with running(settings) as client:
        yield client


def locust(
    client: httpx.Client, records: Path, key: str, **limits: Any
) -> subprocess.CompletedProcess[str]:
    """A few seconds of load."""
    options = {"rate": 60, "first-id": FIRST_ID, "records": records, **ROOMY, **limits}
    words = [f"--{name}={value}" for name, value in options.items()]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOAD_")}
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", "load_tests/locustfile.py", "--headless",
         "--only-summary", "-u", "6", "-r", "6", "--run-time", "4s", "--stop-timeout", "90",
         "--host", str(client.base_url).rstrip("/"), *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment | {"LOAD_KEY": key},
    )  # fmt: skip


def load(client: httpx.Client, records: Path, **limits: Any) -> tuple[int, dict[str, Any]]:
    """The exit code and what the run says."""
    done = locust(client, records, KEY, **limits)
    [said] = [line for line in done.stdout.splitlines() if line.startswith('{"summary"')]
    return done.returncode, json.loads(said)


def test_a_server_that_keeps_up_passes_and_the_run_can_be_drawn(client, tmp_path: Path):
    code, said = load(client, tmp_path / "records.csv")
    assert (code, said["failures"]) == (0, []), said
    summary = said["summary"]
    assert summary.keys() >= {"lookup", "batch", "link", "graph", "job", "bad", "all"}
    assert summary["result"]["count"] == summary["job"]["count"] >= 1
    assert said["summary"]["all"]["errors"] == 0
    drawn = subprocess.run(
        [sys.executable, "load_tests/report.py", *(tmp_path / n for n in FILES)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"| all | {said['summary']['all']['count']} |" in drawn.stdout
    assert "<svg" in (tmp_path / "page.html").read_text()


FILES = ("records.csv", "latency.svg", "page.html")


def test_a_threshold_that_is_not_kept_fails_the_run(client, tmp_path: Path):
    code, said = load(client, tmp_path / "records.csv", **{"max-p99-ms": 0.001})
    assert code == 1
    assert any("p99 of lookup" in failure for failure in said["failures"])


def test_a_service_with_keys_is_asked_with_one_of_them(client, tmp_path: Path):
    done = locust(client, tmp_path / "records.csv", key="")
    assert done.returncode != 0
    assert "/v1/graph answers 401; set LOAD_KEY to a key of it" in done.stdout + done.stderr


def test_connections_that_the_server_closed_meanwhile_are_no_errors(settings, tmp_path: Path):
    with running(settings.model_copy(update={"header_timeout_s": 1})) as client:
        code, said = load(client, tmp_path / "records.csv", rate=1)
    assert (code, said["summary"]["all"]["errors"]) == (0, 0), said
    assert said["summary"]["lookup"]["count"] >= 3


def test_jobs_without_results_fail_the_run():
    sys.path.insert(0, str(ROOT / "load_tests"))
    from verdict import Limits, Record, judge

    refused = [Record("job", 0.0, 0.0, 0.001, 429, True)] * 3
    assert judge(refused, Limits()) == [
        "3 jobs were sent and no result came; does `gnn worker` run?"
    ]
    fetched = Record("result", 0.0, 0.0, 60.0, 200, True)
    assert judge([*refused, fetched], Limits()) == []


def test_a_server_that_stalls_is_late_for_all_that_was_due(tmp_path: Path):
    sys.path.insert(0, str(ROOT / "load_tests"))
    from verdict import Limits, Record, judge, read_records, summary, write_records

    # due every 10 ms; the answer to the first takes a second, and the rest waits behind it
    stalled = [Record("lookup", k / 100, 0.0, 1.0 - k / 100, 200, True) for k in range(100)]
    assert 400 < summary(stalled)["lookup"]["p50_ms"] < 600
    assert len(judge(stalled, Limits())) == 1
    wrong = [Record("lookup", 0.0, 0.0, 0.001, 0, False), *stalled[-1:] * 9]
    assert "10.00% of the answers" in judge(wrong, Limits())[0]
    late = [Record("lookup", 0.0, 1.0, 0.1, 200, True)]
    assert "says nothing" in judge(late, Limits())[0]
    assert judge([], Limits()) == ["no request was sent"]
    write_records(tmp_path / "r.csv", stalled)
    assert read_records(tmp_path / "r.csv") == stalled
