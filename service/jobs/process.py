"""The process in which `gnn serve` runs jobs: `python -m service.jobs.process FINGERPRINT`.

It reads its settings from the environment, gives way to everything else on the machine, and ends
when it has been idle for a while, when it is told to, or when the server is gone: the server holds
the other end of its standard input.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from service.jobs.queue import JobQueue
from service.jobs.runner import Runner
from service.jobs.store import open_store
from service.settings import Settings
from service.telemetry import configure_logging

__all__ = ["open_queue", "run_until_idle", "stop_on_signals"]

NICENESS = 10
IDLE_S = 20.0


def open_queue(settings: Settings) -> JobQueue:
    """The queue that these settings name.

    Raises:
        InputError: the URL of the Redis cannot be used.
    """
    store = open_store(settings.jobs_directory, settings.redis_url)
    return JobQueue(store, settings.job_lease_s, settings.job_max_attempts)


def stop_on_signals() -> threading.Event:
    """Set by SIGTERM and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def run_until_idle(graph: str) -> None:
    """Run the jobs on one graph until there have been none for a while."""
    settings = Settings()  # type: ignore[call-arg]  # all of it is in the environment
    configure_logging(settings.log_level)
    os.nice(NICENESS)
    stop = stop_on_signals()
    threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    queue = open_queue(settings)
    try:
        Runner(queue, settings, graph).run(stop, IDLE_S)
    finally:
        queue.store.close()


def _wait_for_end(stop: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)
    stop.set()


if __name__ == "__main__":
    run_until_idle(sys.argv[1])
