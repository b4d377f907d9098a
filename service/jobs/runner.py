"""Runs jobs, one at a time, until it is told to stop.

A thread keeps the lease of the job at work and learns from its row whether the job was canceled
or taken over; the work looks at that between tiles. Whatever ends the work, the row says why:
done, canceled, failed with a code; or it waits again, for this runner or another.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import structlog

from gnn.errors import BusyError
from sampling.errors import GnnError
from service.errors import INTERNAL, JobStoreError, NoSpaceError, Problem, problem_of
from service.jobs.folder import JobFolder
from service.jobs.job import Failure, Job, Progress, Result, State
from service.jobs.queue import JobQueue
from service.jobs.work import work_on
from service.predictor import Predictor, open_predictor
from service.settings import CORES, Settings

__all__ = ["Runner"]

POLL_S = 0.25
BEAT_S = 1.0
OUTAGE_S = 2.0
SETTLE_TRIES = 5
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
NO_MEMORY = Problem(507, "no_memory", "The job needs more memory than there is")

Stopped = Literal["canceled", "lost", "stopped"]

log = structlog.get_logger()


class Runner:
    """Takes jobs on one graph from a queue.

    Args:
        queue: where jobs come from.
        settings: directories and limits.
        graph: fingerprint of the graph whose jobs it takes.
        turned: called every few seconds, also while a job is at work, as long as it turns.
    """

    def __init__(
        self,
        queue: JobQueue,
        settings: Settings,
        graph: str,
        turned: Callable[[], None] = lambda: None,
    ) -> None:
        self.queue, self.graph, self.turned = queue, graph, turned
        self.settings = settings.model_copy(
            update={
                "compute_threads": settings.job_threads or CORES,
                "cache_bytes": 0,
                "table_outputs_bytes": 0,
            }
        )
        self._verifies = settings.verify_graph

    def run(self, stop: threading.Event, idle_s: float | None = None) -> int:
        """Run jobs; returns how many came to an end.

        Args:
            stop: when set, the job at work is given back after its tile.
            idle_s: end after so many seconds without a job; never when left out.
        """
        num_jobs, busy = 0, time.monotonic()
        while not stop.is_set():
            self.turned()
            ran = self._run_next(stop)
            if ran is not None:
                num_jobs, busy = num_jobs + ran, time.monotonic()
            elif idle_s is not None and time.monotonic() - busy >= idle_s:
                break
            if not ran:
                stop.wait(POLL_S)
        return num_jobs

    def _run_next(self, stop: threading.Event) -> bool | None:
        """Whether a job came to an end; None where there is no job."""
        try:
            claimed = self.queue.claim(self.graph)
        except JobStoreError as error:
            log.warning("jobs_unavailable", reason=str(error))
            stop.wait(OUTAGE_S)
            return None
        return None if claimed is None else self._run(*claimed, stop)

    def _run(self, job: Job, owner: str, stop: threading.Event) -> bool:
        folder = JobFolder(self.settings.jobs_directory, job.id)
        log.info("job_started", job=job.id, kind=job.spec.kind, attempt=job.attempts)
        with _Heart(self.queue, job.id, owner, self.turned) as heart:
            outcome = self._outcome(job, folder, heart, stop)
            ended = self._settle(job, owner, folder, outcome)
        log.info("job_left", job=job.id, outcome=_word(outcome))
        return ended

    def _outcome(
        self, job: Job, folder: JobFolder, heart: _Heart, stop: threading.Event
    ) -> Result | Failure | Stopped:
        work = work_on(job.spec, folder, self._open)
        try:
            return _drive(work, heart, stop)
        except BusyError:
            return "stopped"
        except Exception as error:
            log.warning("job_failed", job=job.id, exc_info=error)
            return _failure(error)
        finally:
            work.close()

    def _settle(
        self, job: Job, owner: str, folder: JobFolder, outcome: Result | Failure | Stopped
    ) -> bool:
        """Write down how it ended; what is no longer needed goes first, to make room for that."""
        if outcome == "lost":
            return False
        if outcome == "stopped":
            _try(lambda: self.queue.release(job.id, owner))
            return False
        if isinstance(outcome, Result):
            done = _try(lambda: self.queue.finish(job.id, owner, "done", outcome))
            if done is not None:
                folder.keep_result()
            return done is not None
        if not self._owns(job, owner):
            return False
        folder.remove()
        error = outcome if isinstance(outcome, Failure) else None
        state: State = "failed" if error else "canceled"
        done = _try(lambda: self.queue.finish(job.id, owner, state, error=error))
        return done is not None

    def _owns(self, job: Job, owner: str) -> bool:
        """Whether nobody took the job over; a store that has no room to say so does not."""
        try:
            return self.queue.beat(job.id, owner, None) is not None
        except JobStoreError:
            return True

    def _open(self) -> Predictor:
        settings = self.settings.model_copy(update={"verify_graph": self._verifies})
        predictor = open_predictor(settings.graph, settings.models, None, settings)
        self._verifies = False
        return predictor


@dataclass(slots=True)
class _State:
    progress: Progress | None = None
    stopped: Literal["canceled", "lost"] | None = None


class _Heart:
    """Beats for a job in a thread of its own; use as a context manager around the work."""

    def __init__(
        self, queue: JobQueue, job_id: str, owner: str, turned: Callable[[], None]
    ) -> None:
        self.queue, self.job_id, self.owner, self.turned = queue, job_id, owner, turned
        self.state = _State()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _beat_on(self) -> None:
        last = time.monotonic()
        while not self._end.wait(min(BEAT_S, self.queue.lease_s / 4)):
            self.turned()
            try:
                job = self.queue.beat(self.job_id, self.owner, self.state.progress)
            except JobStoreError as error:
                log.warning("jobs_unavailable", reason=str(error))
                if time.monotonic() - last > self.queue.lease_s:
                    self.state.stopped = "lost"
                continue
            last = time.monotonic()
            if job is None or job.cancels:
                self.state.stopped = "lost" if job is None else "canceled"


def _drive(
    work: Generator[Progress, None, Result], heart: _Heart, stop: threading.Event
) -> Result | Stopped:
    while True:
        if heart.state.stopped is not None:
            return heart.state.stopped
        if stop.is_set():
            return "stopped"
        try:
            heart.state.progress = next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def _failure(error: Exception) -> Failure:
    """What the user is told: as of a request, nothing of what is ours alone."""
    if isinstance(error, OSError) and error.errno in FULL:
        error = NoSpaceError()
    problem = problem_of(error) if isinstance(error, GnnError) else INTERNAL
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        problem = NO_MEMORY
    detail = str(error) if problem.public and problem is not NO_MEMORY else problem.title
    return Failure(code=problem.code, detail=detail)


def _try(settle: Callable[[], Job | None]) -> Job | None:
    """Write a row, several times where the store does not answer; its lease expires after that."""
    for attempt in range(SETTLE_TRIES):
        try:
            return settle()
        except JobStoreError as error:
            log.warning("jobs_unavailable", reason=str(error))
            time.sleep(0.2 * 2**attempt)
    return None


def _word(outcome: Result | Failure | Stopped) -> str:
    if isinstance(outcome, Result):
        return "done"
    return outcome.code if isinstance(outcome, Failure) else outcome
