"""Jobs, each followed to its end: a job that was accepted is done in time and its result is whole.

A `result` is a record of its own, due when the job was accepted. Its time says how long the queue
is and has no threshold but the deadline.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import gevent
from mix import Ask
from openloop import OpenLoopUser

__all__ = ["JobUser"]

POLL_S = 0.25
OPEN = ("queued", "running")


class JobUser(OpenLoopUser):
    """Sends jobs and fetches what comes of them."""

    abstract = True
    kind = "job"

    def on_start(self) -> None:
        super().on_start()
        self.patience_s = self.environment.parsed_options.job_deadline_s

    def follow(self, status: int, body: bytes) -> None:
        """Wait for a job that was accepted, and fetch its result."""
        if status != 202:
            return
        accepted = time.perf_counter()
        status, size, error = self._fetched(json.loads(body), accepted + self.patience_s)
        self.keep("result", accepted, accepted, status, size, error)

    def _fetched(self, job: Any, deadline: float) -> tuple[int, int, Exception | None]:
        path = f"/v1/jobs/{job['id']}"
        while job["state"] in OPEN:
            if time.perf_counter() > deadline:
                return 0, 0, TimeoutError(f"job {job['id']} is still {job['state']}")
            gevent.sleep(POLL_S)
            status, body, error = self.attempt(_get(path, None))
            if error is not None:
                return status, 0, error
            job = json.loads(body)
        if job["state"] != "done":
            return 0, 0, ValueError(f"job {job['id']} is {job['state']}: {job['error']}")
        status, body, error = self.attempt(_get(f"{path}/result", job["result"]["sha256"]))
        return status, len(body), error


def _get(path: str, digest: str | None) -> Ask:
    def is_right(status: int, body: bytes) -> bool:
        return status == 200 and digest in (None, hashlib.sha256(body).hexdigest())

    return Ask("GET", path, b"", is_right, {})
