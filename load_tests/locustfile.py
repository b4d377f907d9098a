"""Load on a running service: `locust -f load_tests/locustfile.py --headless -u 6 --host URL`.

One user per kind of request, each with a constant rate (`openloop`). At the end the run is judged
by thresholds; one that is not kept makes the exit code 1. Requests are kept in --records. A service
with API keys is asked with the key in LOAD_KEY, which no list of processes shows.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from followed import JobUser
from locust import events
from locust.env import Environment
from mix import KINDS, Served, Zipf
from openloop import OpenLoopUser
from verdict import Limits, Record, judge, summary, write_records


class Lookups(OpenLoopUser):
    """One node, popular ones often."""

    kind = "lookup"


class Batches(OpenLoopUser):
    """100 to 1,000 nodes with drawn neighbors."""

    kind = "batch"


class Links(OpenLoopUser):
    """Ten pairs."""

    kind = "link"


class Graphs(OpenLoopUser):
    """Four whole graphs in the request."""

    kind = "graph"


class Jobs(JobUser):
    """A batch job of 200 nodes, beside everything else."""


class Nonsense(OpenLoopUser):
    """What has to be refused."""

    kind = "bad"


@events.init_command_line_parser.add_listener
def _add_options(parser: ArgumentParser) -> None:
    add, limits = parser.add_argument, Limits()
    add("--rate", type=float, default=100.0, env_var="LOAD_RATE", help="requests per second")
    add("--seed", type=int, default=0, env_var="LOAD_SEED", help="which nodes are asked for when")
    add("--first-id", type=int, default=0, env_var="LOAD_FIRST_ID", help="smallest node id")
    add("--deadline-s", type=float, default=30.0, env_var="LOAD_DEADLINE_S",
        help="an answer later than this is none")  # fmt: skip
    add("--job-deadline-s", type=float, default=120.0, env_var="LOAD_JOB_DEADLINE_S",
        help="a result later than this is none")  # fmt: skip
    add("--max-p99-ms", type=float, default=limits.p99_ms, env_var="LOAD_MAX_P99_MS",
        help="of lookups and refusals")  # fmt: skip
    add("--max-heavy-p99-ms", type=float, default=limits.heavy_p99_ms,
        env_var="LOAD_MAX_HEAVY_P99_MS", help="of the other kinds")  # fmt: skip
    add("--max-error-share", type=float, default=limits.error_share,
        env_var="LOAD_MAX_ERROR_SHARE", help="of wrong and missing answers")  # fmt: skip
    add("--max-late-share", type=float, default=limits.late_share, env_var="LOAD_MAX_LATE_SHARE",
        help="of requests that the generator itself sent late")  # fmt: skip
    add("--records", default="", env_var="LOAD_RECORDS", help="CSV file for every request")


@events.test_start.add_listener
def _begin(environment: Environment, **_: Any) -> None:
    host = environment.host or ""
    environment.records = list[Record]()
    environment.key_headers = _key_headers()
    environment.served = _served(host, environment.parsed_options.first_id, environment.key_headers)
    environment.began = time.perf_counter() + 0.2
    for kind in KINDS:
        if not environment.served.answers(kind):
            print(f"the server has no model for {kind}: none is sent")


def _key_headers() -> dict[str, str]:
    key = os.environ.get("LOAD_KEY", "")
    return {"authorization": f"Bearer {key}"} if key else {}


def _served(host: str, first_id: int, headers: dict[str, str]) -> Served:
    def get(path: str) -> Any:
        request = urllib.request.Request(host + path, headers=headers)  # noqa: S310 - --host
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the same
            return json.load(response)

    try:
        graph, models = get("/v1/graph"), get("/v1/models")["models"]
        links = _last(m["name"] for m in models if m["task"] == "link-prediction")
        graphs = _last(m["name"] for m in models if m["task"].startswith("graph-"))
        width = get(f"/v1/models/{graphs}")["config"]["d_in"] if graphs else 0
    except urllib.error.HTTPError as error:
        remedy = "; set LOAD_KEY to a key of it" if error.code in (401, 403) else ""
        raise SystemExit(f"{error.url} answers {error.code}{remedy}") from None
    return Served(Zipf(first_id, graph["num_nodes"]), links, graphs, width)


def _last(names: Iterable[str]) -> str | None:
    return next(reversed(list(names)), None)


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    options, records = environment.parsed_options, getattr(environment, "records", [])
    if options.records:
        write_records(Path(options.records), records)
    limits = Limits(
        options.max_p99_ms, options.max_heavy_p99_ms, options.max_error_share,
        options.max_late_share,
    )  # fmt: skip
    failures = judge(records, limits)
    print(json.dumps({"summary": summary(records), "failures": failures}))
    environment.process_exit_code = 1 if failures else 0
