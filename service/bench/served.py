"""Server processes of `gnn bench serve`, their memory, and the process that loads them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import orjson
import psutil

from service.bench.load import LoadJob, as_line
from service.bench.served_world import ServedWorld

__all__ = ["Loader", "Server", "empty_server", "our_server", "plain_server"]

STARTED = "serving on "
STOP_S = 30


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes:
        port: on 127.0.0.1.
        process: the first process of it.
        ready_s: seconds from its start to its line.
    """

    port: int
    process: subprocess.Popen[str]
    ready_s: float

    def cpu_s(self) -> float:
        """Processor time of all its processes so far, in seconds."""
        first = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (first, *first.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def own_bytes(self) -> int:
        """Memory of all its processes, shared pages shared out among those that map them (PSS)."""
        first = psutil.Process(self.process.pid)
        processes = [first, *first.children(recursive=True)]
        return sum(int(process.memory_full_info().pss) for process in processes)

    def private_bytes(self) -> int:
        """Memory of all its processes that nobody else maps (USS): what grows when it leaks."""
        first = psutil.Process(self.process.pid)
        processes = [first, *first.children(recursive=True)]
        return sum(int(process.memory_full_info().uss) for process in processes)


def our_server(world: ServedWorld, **settings: Any) -> Any:
    """`gnn serve` over the world; a context manager of a `Server`."""
    given = {"graph": world.graph, "models": world.models, "port": 0, "run_jobs": "false",
             "verify_graph": "false", "log_level": "warning", "max_queued_jobs": 0,
             **settings}  # fmt: skip
    environment = {f"GNN_{name}".upper(): str(value) for name, value in given.items()}
    command = "from service.server import run_server; from service.settings import Settings; "
    return _serving(["-c", command + "run_server(Settings())"], environment)


def plain_server(world: ServedWorld, tuned: bool = False) -> Any:
    """FastAPI and DGL over the world; a context manager of a `Server`."""
    [version] = sorted(world.model.iterdir())[-1:]
    fanouts = ",".join(map(str, world.fanouts))
    kind = "tuned" if tuned else "shipped"
    return _serving(["-m", "service.bench.plain_service", world.graph, version, fanouts, kind])


def empty_server(world: ServedWorld) -> Any:
    """The empty handler; a context manager of a `Server`."""
    return _serving(["-m", "service.bench.empty_service", world.num_classes])


@contextmanager
def _serving(command: list[Any], environment: dict[str, str] | None = None) -> Iterator[Server]:
    started = time.perf_counter()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GNN_")}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
        [sys.executable, *map(str, command)],
        env=kept | (environment or {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None, "it is a pipe"
        line = next((text for text in process.stdout if text.startswith(STARTED)), None)
        if line is None:
            raise RuntimeError(f"the server {command[1]} ended before it answered")
        yield Server(int(line.rsplit(":", 1)[1]), process, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class Loader:
    """The process that sends requests; use it as a context manager."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "service.bench.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.terminate()
        self._child.communicate()

    def send(self, job: LoadJob) -> list[dict[str, Any]]:
        """A report for every phase of the job.

        Raises:
            RuntimeError: the process ended.
        """
        self.start(job)
        return self.reports()

    def start(self, job: LoadJob) -> None:
        """Begin a job; `reports` waits for its end."""
        assert self._child.stdin is not None, "it is a pipe"
        self._child.stdin.write(as_line(job) + "\n")
        self._child.stdin.flush()

    def reports(self) -> list[dict[str, Any]]:
        """What came of the job that was started.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._child.stdout is not None, "it is a pipe"
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the process that sends requests ended; its reason is above")
        reports: list[dict[str, Any]] = orjson.loads(line)
        return reports
