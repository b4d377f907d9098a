"""Asks a server every kind of question once: `python scripts/image_asks.py NODE [URL]`.

It imports nothing but what Python brings, so that it runs inside of an image as well. The first
answer that is wrong is said, and the exit code is 1.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

WAIT_S = 120


class Asker:
    """Sends requests to one address and compares statuses."""

    def __init__(self, url: str) -> None:
        self.url, self.asked = url, 0

    def ask(self, path: str, body: Any = None, status: int = 200) -> bytes:
        """The body of an answer that has to have this status."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
                found, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            found, content = error.code, error.read()
        self.asked += 1
        if found != status:
            raise ValueError(f"{path} answers {found} and not {status}: {content[:300]!r}")
        return bytes(content)

    def json(self, path: str, body: Any = None, status: int = 200) -> Any:
        """The same, parsed."""
        return json.loads(self.ask(path, body, status))


def ask_all(asker: Asker, node: int) -> None:
    """Everything that the console, clients, probes and Prometheus ask."""
    for path in ("/", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/v1/stats"):
        asker.ask(path)
    graph, models = asker.json("/v1/graph"), asker.json("/v1/models")["models"]
    expect("a graph with nodes", graph["num_nodes"] > 0)
    expect("a model", len(models) > 0)
    for mode in ("auto", "exact", "sampled"):
        found = asker.json("/v1/nodes/predict", {"nodes": [node], "mode": mode})["predictions"]
        expect(f"a prediction of mode {mode}", found[0]["node"] == node)
    embedded = asker.json("/v1/nodes/embed", {"nodes": [node]})["embeddings"]
    expect("an embedding", len(embedded[0]) > 0)
    asker.json(f"/v1/graph/nodes/{node}/neighborhood")
    asker.json("/v1/nodes/predict", {"nodes": "all"}, status=422)
    asker.json("/v1/nowhere", status=404)
    job = asker.json("/v1/jobs", {"kind": "predict", "nodes": [node]}, status=202)
    deadline = time.monotonic() + WAIT_S
    while job["state"] in ("queued", "running"):
        expect("a job that ends", time.monotonic() < deadline)
        time.sleep(0.2)
        job = asker.json(f"/v1/jobs/{job['id']}")
    expect(f"a job that is done, and not {job['state']}", job["state"] == "done")
    expect("a Parquet file", asker.ask(f"/v1/jobs/{job['id']}/result")[:4] == b"PAR1")


def expect(what: str, is_so: bool) -> None:
    if not is_so:
        raise ValueError(f"there is not {what}")


if __name__ == "__main__":
    asker = Asker(sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000")
    try:
        ask_all(asker, int(sys.argv[1]))
    except (ValueError, KeyError, OSError) as error:
        sys.exit(f"after {asker.asked} answers: {error!r}")
    print(f"{asker.asked} answers are right")
