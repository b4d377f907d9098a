"""Keeps one process at hand that runs jobs: started when a job waits, started again when it dies.

There is one per server, whatever the number of its workers. While no job waits there is none, and
a server without jobs pays a look at the queue twice a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

import service
from service.errors import JobStoreError
from service.jobs.process import open_queue
from service.jobs.queue import JobQueue
from service.settings import Settings

__all__ = ["running_jobs"]

LOOK_S = 0.5
STOP_S = 10.0
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 30.0
PACKAGE = Path(service.__file__).parent.parent

log = structlog.get_logger()


@contextmanager
def running_jobs(settings: Settings, graph: str) -> Iterator[None]:
    """Run the jobs on a graph, in another process, while the context lives.

    Does nothing where the settings leave jobs to `gnn worker`.

    Args:
        settings: of the server.
        graph: fingerprint of the graph that is served.

    Raises:
        InputError: the URL of the Redis cannot be used.
    """
    queue = open_queue(settings)
    if not settings.run_jobs or settings.redis_url is not None:
        queue.store.close()
        yield
        return
    supervisor = _Supervisor(queue, settings, graph)
    thread = threading.Thread(target=supervisor.tend, name="jobs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        supervisor.stop.set()
        thread.join()


class _Supervisor:
    def __init__(self, queue: JobQueue, settings: Settings, graph: str) -> None:
        self.queue, self.graph = queue, graph
        # the server has verified the graph
        given = settings.model_copy(update={"verify_graph": False})
        self.environment = _cleared(dict(os.environ)) | given.environment()
        self.stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._pause_s = FIRST_PAUSE_S

    def tend(self) -> None:
        """Look after the process until told to stop; then give its job back and end it."""
        while not self.stop.wait(LOOK_S):
            if self._is_alive() or not self._has_work():
                continue
            try:
                self._start()
            except OSError as error:
                log.error("job_runner_not_started", reason=str(error))
                self.stop.wait(LAST_PAUSE_S)
        self._end()
        self.queue.store.close()

    def _is_alive(self) -> bool:
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return True
        self._close()
        if code == 0:
            self._pause_s = FIRST_PAUSE_S
        else:
            log.warning("job_runner_died", code=code, again_in_s=self._pause_s)
            self.stop.wait(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)
        return False

    def _has_work(self) -> bool:
        try:
            return self.queue.has_work(self.graph)
        except JobStoreError as error:
            log.warning("jobs_unavailable", reason=str(error))
            self.stop.wait(FIRST_PAUSE_S)
            return False

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "service.jobs.process", self.graph],
            env=self.environment,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        log.info("job_runner_started", pid=self._process.pid)

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        ends = time.monotonic() + STOP_S
        while self._process.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None


def _cleared(environment: dict[str, str]) -> dict[str, str]:
    """Without settings of the server, and with the package where this process found it."""
    kept = {k: v for k, v in environment.items() if not k.startswith("GNN_") or k == "GNN_ISA"}
    path = os.pathsep.join(filter(None, (str(PACKAGE), kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path}
