"""Runs the application: one process or several, until SIGTERM, which lets requests finish."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from socket import socket as Socket  # noqa: N812
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn import _subprocess
from uvicorn.supervisors import Multiprocess

from sampling.errors import InputError
from service.access import keys_of
from service.app import create_app
from service.jobs.supervisor import running_jobs
from service.predictor import Predictor, open_predictor
from service.settings import Settings
from service.sockets import unix_socket
from service.telemetry import SHARED_DIRECTORY, configure_logging

__all__ = ["run_server", "worker_app"]

START_FAILED = 3
START_TIMEOUT_S = 600.0
MEMORY = "/dev/shm"  # noqa: S108 - the folder in it is made for us alone

log = structlog.get_logger()


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then refuse new connections and finish what is under way.

    Prints one line with the URL once requests are answered.

    Raises:
        GnnError: the graph or a model cannot be opened.
        SystemExit: the server could not start for another reason.
    """
    configure_logging(settings.log_level)
    _check_access(settings)
    predictor = open_predictor(settings.graph, settings.models, settings.embeddings, settings)
    jobs = running_jobs(settings, predictor.data.meta.fingerprint)
    with _quiet_exit(), _listening(settings) as sockets, jobs:
        many = settings.workers > 1
        started = _run_many(settings, sockets) if many else _run_one(settings, predictor, sockets)
    if not started:
        raise SystemExit(START_FAILED)


@contextmanager
def _listening(settings: Settings) -> Iterator[list[Socket] | None]:
    """The Unix socket to listen on, or None where it is a port that uvicorn binds."""
    if settings.uds is None:
        yield None
        return
    with unix_socket(settings.uds) as socket:
        yield [socket]


def _check_access(settings: Settings) -> None:
    """Refuse to be open to a network by accident, and keys that cannot be used."""
    keys = keys_of(settings)
    if keys is None and not settings.is_local and not settings.allow_anonymous:
        raise InputError(
            f"host {settings.host} is open to the network and no API keys are set; make one with "
            "`gnn key NAME --file keys.txt` and give --api-keys-file keys.txt, or --allow-anonymous"
        )


def _run_one(settings: Settings, predictor: Predictor, sockets: list[Socket] | None) -> bool:
    server = _Server(_config(settings, create_app(settings, predictor)))
    server.run(sockets)
    return server.started


def _run_many(settings: Settings, sockets: list[Socket] | None) -> bool:
    """Workers read their settings from the environment, and trust the graph verified here."""
    config = _config(settings, "service.server:worker_app")
    given = settings.model_copy(update={"verify_graph": False}).environment()
    sockets = sockets or [config.bind_socket()]
    with _environment(given), _shared_metrics(), _forked():
        workers = _Workers(config, sockets)
        workers.run()
    return workers.started


def worker_app() -> FastAPI:
    """The application of a worker, which leaves as at SIGTERM when its main process is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent.sentinel,), daemon=True).start()
    return create_app()


def _leave_after(parent: int) -> None:
    wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets: list[Socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _announce(self.config.host, self.servers[0].sockets[0].getsockname())


class _Workers(Multiprocess):
    """Says where they listen once all of them do."""

    started = False

    def init_processes(self) -> None:
        super().init_processes()
        self._let_go()
        self.started = all(p.wait_until_ready(START_TIMEOUT_S) for p in self.processes)
        if self.started:
            _announce(self.config.host, self.sockets[0].getsockname())
        else:
            self.should_exit.set()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        self._let_go()

    def _let_go(self) -> None:
        """The workers alone hold their ends, so that a question to one ends when it dies."""
        for process in self.processes:
            process.child_conn.close()

    def terminate_all(self) -> None:
        """Without our own copy of the door, it is closed once all workers have closed theirs."""
        super().terminate_all()
        for socket in self.sockets:
            socket.close()


def _config(settings: Settings, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http="service.protocol:GuardedProtocol",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=max(1, round(settings.header_timeout_s)),
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
        timeout_worker_healthcheck=30,
    )


def _announce(host: str, address: Any) -> None:
    shown = f"[{host}]" if ":" in host else host
    where = f"unix:{address}" if isinstance(address, str) else f"http://{shown}:{address[1]}"
    print(f"serving on {where}", flush=True)


@contextmanager
def _quiet_exit() -> Iterator[None]:
    """A signal that ended the server has done its work: uvicorn would raise it once more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _forked() -> Iterator[None]:
    """Workers are forked from a process that has imported all they need and done nothing else.

    uvicorn starts each from nothing, which costs a worker seconds and 200 MB of its own.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        yield
        return
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["service.preloaded"])
    before, _subprocess.spawn = _subprocess.spawn, context
    try:
        yield
    finally:
        _subprocess.spawn = before


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """Files that workers map and write to: in memory, since a full disk would kill who does so."""
    memory = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None
    folder = tempfile.mkdtemp(prefix="gnn-metrics-", dir=memory)
    try:
        with _environment({SHARED_DIRECTORY: folder}):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
