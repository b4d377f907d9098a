"""What the door and the runners do with jobs: the lifecycle applied to a store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from service.errors import JobNotFoundError
from service.jobs import lifecycle
from service.jobs.job import ACTIVE, Failure, Job, Progress, Result, State, is_job_id
from service.jobs.store import JobStore

__all__ = ["JobQueue"]

EVERY = 1_000_000
"""More rows than a store holds."""


class JobQueue:
    """Jobs of any graph, first in first out.

    Args:
        store: where the rows are.
        lease_s: seconds without a sign of life after which a runner counts as dead.
        max_attempts: runs that may be begun of one job.
    """

    def __init__(self, store: JobStore, lease_s: float = 30.0, max_attempts: int = 3) -> None:
        self.store, self.lease_s, self.max_attempts = store, lease_s, max_attempts

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            JobNotFoundError: there is none of this id.
        """
        job = self.store.get(job_id) if is_job_id(job_id) else None
        if job is None:
            raise JobNotFoundError(job_id)
        return job

    def has_work(self, graph: str) -> bool:
        """Whether a job on this graph waits for a runner."""
        return next(self._claimable(graph), None) is not None

    def claim(self, graph: str) -> tuple[Job, str] | None:
        """The next job on this graph, and the name under which it is owned; or None."""
        owner = uuid.uuid4().hex
        claim = lifecycle.Claim(owner, self.lease_s, self.max_attempts)
        for job in self._claimable(graph):
            taken = self.store.update(job.id, claim)
            if taken is not None and taken.state == "running":
                return taken, owner
            if taken is not None:
                self._count(taken)
        return None

    def beat(self, job_id: str, owner: str, progress: Progress | None) -> Job | None:
        """Keep a job; None where it is no longer the owner's."""
        return self.store.update(job_id, lifecycle.beat(owner, self.lease_s, progress))

    def release(self, job_id: str, owner: str) -> Job | None:
        """Give a job back unfinished."""
        return self.store.update(job_id, lifecycle.release(owner))

    def finish(
        self,
        job_id: str,
        owner: str,
        state: State,
        result: Result | None = None,
        error: Failure | None = None,
    ) -> Job | None:
        """Close a job; None where it is no longer the owner's."""
        job = self.store.update(job_id, lifecycle.finish(owner, state, result, error))
        if job is not None:
            self._count(job)
        return job

    def cancel(self, job_id: str) -> Job:
        """Close a job that waits, and have the runner stop one that runs.

        Raises:
            JobNotFoundError: there is none of this id.
        """
        before = self.get(job_id)
        after = self.store.update(job_id, lifecycle.cancel)
        if after is not None and not after.is_active:
            self._count(after)
        return after or self.store.get(job_id) or before

    def _claimable(self, graph: str) -> Iterator[Job]:
        active = self.store.listed(ACTIVE, EVERY)
        now = self.store.now() if active else None
        for job in active:
            if now and job.spec.graph == graph and lifecycle.is_claimable(job, now):
                yield job

    def _count(self, job: Job) -> None:
        """Counters that go on when rows are forgotten."""
        seconds = (job.finished or 0.0) - (job.started or job.finished or 0.0)
        key = f"{job.spec.kind}.{job.state}"
        rows = job.result.rows if job.result else 0
        self.store.add({f"jobs.{key}": 1, f"seconds.{key}": seconds, f"rows.{job.spec.kind}": rows})
