"""`gnn worker`: runs batch jobs that servers have taken, on this machine or another."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import Debug, Json, Threads
from service.console import note, show

__all__ = ["worker"]


def worker(
    redis: Annotated[
        str | None, typer.Option(help="Redis that keeps the jobs; or set GNN_REDIS_URL.")
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(help="Directory of the graph; or set GNN_GRAPH.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Directory of models; or set GNN_MODELS.")
    ] = None,
    jobs: Annotated[
        Path | None, typer.Option(help="Directory of jobs, the same as the server's.")
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when no job waits.")
    ] = False,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run batch jobs until SIGTERM or Ctrl-C, which give an unfinished one back.

    Every other setting is an environment variable that starts with GNN_: see docs/settings.md.
    """
    from sampling import GraphStore
    from service.commands.serve import read_settings
    from service.jobs.process import open_queue, stop_on_signals
    from service.jobs.runner import Runner
    from service.telemetry import configure_logging

    given = {
        "redis_url": redis, "graph": graph, "models": models, "jobs": jobs, "job_threads": threads,
    }  # fmt: skip
    settings = read_settings(given)
    meta = GraphStore.open(settings.graph, verify=settings.verify_graph).meta
    queue, started = open_queue(settings), time.time()
    queue.store.counts()  # before the first wait, whether it can be reached
    configure_logging(settings.log_level)
    note(f"waiting for jobs on graph {meta.name}, version {meta.version}")
    verified = settings.model_copy(update={"verify_graph": False})
    runner = Runner(queue, verified, meta.fingerprint, _touching(settings.worker_heartbeat))
    done = runner.run(stop_on_signals(), 0.0 if until_idle else None)
    queue.store.close()
    show({"jobs": done, "worked_s": round(time.time() - started, 1)}, json)


def _touching(path: Path | None) -> Callable[[], None]:
    if path is None:
        return lambda: None
    path.touch()

    def touch() -> None:
        with suppress(OSError):  # without it a probe ends this worker, with it the jobs go on
            path.touch()

    return touch
