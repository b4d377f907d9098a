"""What is forgotten: results that are old or too many, rows of old jobs, folders of none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from service.jobs import lifecycle
from service.jobs.folder import JobFolder
from service.jobs.job import Job, State, is_job_id
from service.jobs.published import remove_unlinked, unlink_gone
from service.jobs.queue import JobQueue
from service.settings import Settings

__all__ = ["discard", "has_expired", "sweep"]

CLOSED: tuple[State, ...] = ("done", "failed", "canceled")
MAX_ROWS = 10_000
ORPHAN_S = 3600.0
"""Seconds that a folder may be without a row: its job is just being sent."""


def has_expired(job: Job, settings: Settings) -> bool:
    """Whether the result of a job is to be kept no longer, or is gone."""
    age = time.time() - (job.finished or time.time())
    return job.discarded or age > settings.job_ttl_hours * 3600


def discard(queue: JobQueue, settings: Settings, job: Job) -> Job:
    """Remove the files of a closed job; its row stays and says so."""
    after = queue.store.update(job.id, lifecycle.discard)
    JobFolder(settings.jobs_directory, job.id).remove()
    return after or job


def sweep(queue: JobQueue, settings: Settings) -> None:
    """Forget what has expired. Several processes may do it at once.

    Raises:
        JobStoreError: the rows cannot be reached.
    """
    size = 0
    for place, job in enumerate(queue.store.listed(CLOSED, 2 * MAX_ROWS, newest_first=True)):
        size += job.result.size_bytes if job.result and not job.discarded else 0
        forgotten = time.time() - (job.finished or 0.0) > 2 * settings.job_ttl_hours * 3600
        if not job.discarded and (
            size > settings.job_results_bytes or has_expired(job, settings) or forgotten
        ):
            discard(queue, settings, job)
        if forgotten or place >= MAX_ROWS:
            JobFolder(settings.jobs_directory, job.id).remove()
            queue.store.remove(job.id)
    for path in _orphans(settings.jobs_directory, queue):
        JobFolder(path.parent, path.name).remove()
    unlink_gone(settings.jobs_directory / "published", settings.models)
    remove_unlinked(settings.jobs_directory / "published")


def _orphans(root: Path, queue: JobQueue) -> Iterator[Path]:
    for path in list(root.iterdir()) if root.is_dir() else ():
        old = is_job_id(path.name) and time.time() - path.stat().st_mtime > ORPHAN_S
        if old and queue.store.get(path.name) is None:
            yield path
