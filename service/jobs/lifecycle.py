"""How a job may change: pure functions from a row to the next, or None where it stays as it is.

    queued ──claim──▶ running ──finish──▶ done | failed | canceled
       ▲                 │ │
       └────release──────┘ └─ lease expires: the next claim takes it up, `max_attempts` times

A store applies such a function in one transaction, so that of two who try at once one finds the
row changed. Only the owner of the lease can beat, release or finish; whoever lost it can do
nothing more to the row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.jobs.job import Clock, Failure, Job, Lease, Progress, Result, State

__all__ = ["Change", "Claim", "beat", "cancel", "discard", "finish", "is_claimable", "release"]

Change = Callable[[Job, Clock], Job | None]
"""(row, now) → the row to store, or None."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Take a job that waits, or that its runner left behind.

    A job that was canceled meanwhile, or that has been left behind too often, is closed instead.

    Args:
        owner: a name that no other claim has.
        lease_s: seconds until others may take it, unless the owner beats.
        max_attempts: runs that may be begun.
    """

    owner: str
    lease_s: float
    max_attempts: int

    def __call__(self, job: Job, now: Clock) -> Job | None:
        if not is_claimable(job, now):
            return None
        if job.cancels:
            return _closed(job, "canceled")
        if job.attempts >= self.max_attempts:
            detail = f"its runner was lost {job.attempts} times; see the log of the runner"
            return _closed(job, "failed", error=Failure(code="job_lost", detail=detail))
        return _with(
            job,
            state="running",
            lease=_lease(self.owner, now, self.lease_s),
            attempts=job.attempts + 1,
            started=job.started or time.time(),
            heartbeat=time.time(),
        )


def is_claimable(job: Job, now: Clock) -> bool:
    """Whether it waits, or runs under a lease that has expired."""
    if job.state == "running":
        return job.lease is None or job.lease.has_expired(now)
    return job.state == "queued"


def beat(owner: str, lease_s: float, progress: Progress | None) -> Change:
    """Extend the lease and say how far the work is."""

    def change(job: Job, now: Clock) -> Job | None:
        if not _is_owned(job, owner):
            return None
        return _with(
            job,
            lease=_lease(owner, now, lease_s),
            heartbeat=time.time(),
            progress=progress or job.progress,
        )

    return change


def release(owner: str) -> Change:
    """Give a job back unfinished; the attempt does not count."""

    def change(job: Job, now: Clock) -> Job | None:
        if not _is_owned(job, owner):
            return None
        return _with(job, state="queued", lease=None, attempts=job.attempts - 1)

    return change


def finish(
    owner: str, state: State, result: Result | None = None, error: Failure | None = None
) -> Change:
    """Close a job."""

    def change(job: Job, now: Clock) -> Job | None:
        if not _is_owned(job, owner):
            return None
        return _closed(job, state, result=result, error=error)

    return change


def cancel(job: Job, now: Clock) -> Job | None:
    """Close a job that nobody works on; ask the runner of any other to stop."""
    if is_claimable(job, now):
        return _closed(job, "canceled")
    if job.state == "running" and not job.cancels:
        return _with(job, cancels=True)
    return None


def discard(job: Job, now: Clock) -> Job | None:
    """Remember that the files of a closed job are gone."""
    return None if job.is_active or job.discarded else _with(job, discarded=True)


def _closed(job: Job, state: State, **changes: Any) -> Job:
    return _with(job, state=state, lease=None, finished=time.time(), **changes)


def _with(job: Job, **changes: Any) -> Job:
    return job.model_copy(update=changes)


def _lease(owner: str, now: Clock, lease_s: float) -> Lease:
    return Lease(owner=owner, epoch=now.epoch, until=now.seconds + lease_s)


def _is_owned(job: Job, owner: str) -> bool:
    return job.state == "running" and job.lease is not None and job.lease.owner == owner
