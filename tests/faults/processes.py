"""`gnn serve` and `gnn worker` as processes that can be killed, and looked into from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from faults.client import NoAnswerError, StrictClient
from faults.worlds import World
from world import ROOT

__all__ = ["Service", "plain_environment", "service", "wait_for", "worker"]

START_S = 120.0


def wait_for(holds: Callable[[], Any], seconds: float = START_S, every_s: float = 0.05) -> Any:
    """What `holds` returns, once it is true of something."""
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(every_s)
    return found


class Service:
    """One `gnn serve`, in a session of its own.

    Args:
        world: what it serves.
        log: file for what it says.
        command: in front of it, as in `faketime …`.
        environment: more variables.
        module: what is run in place of the command line.
        settings: by their names.
    """

    def __init__(
        self,
        world: World,
        log: Path,
        *,
        command: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        module: str = "service.cli",
        **settings: Any,
    ) -> None:
        self.world, self.log, self.command, self.module = world, log, list(command), module
        self.environment, self.settings = environment or {}, settings
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, and wait until it says where it listens."""
        settings = self.world.settings(**{"port": self.port, "log_level": "info", **self.settings})
        out = self.log.with_suffix(".out")
        with self.log.open("ab") as log, out.open("wb") as said:
            self.process = subprocess.Popen(
                [*self.command, sys.executable, "-m", self.module, "serve"],
                env=plain_environment() | settings.environment() | self.environment,
                stdout=said, stderr=log, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        line = wait_for(lambda: self._has_ended() or out.read_text().startswith("serving on "))
        assert line and not self._has_ended(), self.log.read_text()[-2000:]
        self.port = int(out.read_text().split()[-1].rsplit(":", 1)[1])

    def workers(self) -> list[psutil.Process]:
        """The processes that answer: children of the fork server."""
        own = psutil.Process(self.pid).children()
        servers = [p for p in own if "multiprocessing.forkserver" in _words(p)]
        return [worker for server in servers for worker in server.children()]

    def family(self) -> list[psutil.Process]:
        """Every process of it, the first included."""
        return [psutil.Process(self.pid), *_family(self.pid)]

    def kill(self) -> None:
        """kill -9 of everything at once."""
        if self.process is not None:
            others = _family(self.process.pid)
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            for process in others:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()
            psutil.wait_procs(others, timeout=10)

    def terminate(self, timeout_s: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def get(self, path: str) -> Any:
        """What a fresh connection gets."""
        client = StrictClient(self.port)
        try:
            return client.get(path)
        finally:
            client.close()

    def post(self, path: str, **body: Any) -> Any:
        """What a fresh connection gets."""
        client = StrictClient(self.port)
        try:
            return client.post(path, json.dumps(body).encode())
        finally:
            client.close()

    def put(self, path: str, **body: Any) -> Any:
        """What a fresh connection gets."""
        client, content = StrictClient(self.port), json.dumps(body).encode()
        head = f"PUT {path} HTTP/1.1\r\nhost: faults\r\ncontent-type: application/json\r\n"
        try:
            return client.send(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        finally:
            client.close()

    def delete(self, path: str) -> Any:
        """What a fresh connection gets."""
        client = StrictClient(self.port)
        try:
            return client.send(f"DELETE {path} HTTP/1.1\r\nhost: faults\r\n\r\n".encode())
        finally:
            client.close()

    def is_ready(self) -> bool:
        try:
            return self.get("/health/ready").status == 200
        except NoAnswerError:
            return False

    def redis_is(self, wanted: str) -> bool:
        """Whether several fresh connections in a row, so every worker, say so of Redis."""
        answers = [self.get("/health/ready").json()["checks"]["redis"] for _ in range(10)]
        return set(answers) == {wanted}

    def said(self, event: str) -> int:
        """How often the log has this event."""
        return self.log.read_text().count(f'"event":"{event}"')

    def _has_ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None


def plain_environment() -> dict[str, str]:
    """Without settings, with this project and its tests to import, and one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GNN_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), kept.get("PYTHONPATH", "")])
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def service(world: World, folder: Path, **given: Any) -> Iterator[Service]:
    """A running service of two workers; killed at the end, if it lives."""
    made = Service(world, folder / "service.log", **{"workers": 2, **given})
    try:
        made.start()
        yield made
    finally:
        made.kill()


@contextmanager
def worker(
    world: World,
    *options: str,
    log: Path,
    command: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    module: str = "service.cli",
    **settings: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """A `gnn worker`; killed at the end."""
    given = world.settings(log_level="info", verify_graph=False, **settings).environment()
    with log.open("ab") as said:
        process = subprocess.Popen(
            [*command, sys.executable, "-m", module, "worker", *options],
            env=plain_environment() | given | (environment or {}),
            stdout=said, stderr=said, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        for mine in (process, *_family(process.pid)):
            mine.kill()
        process.wait()
