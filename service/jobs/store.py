"""Where rows of jobs are kept: a file on this machine, or a Redis that several share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from service.jobs.job import Clock, Job, State
from service.jobs.lifecycle import Change

__all__ = ["JobStore", "open_store"]


class JobStore(Protocol):
    """Rows of jobs, each changed in one step. Safe to use from several threads and processes.

    Every method raises `JobStoreError` where the store cannot be reached or is damaged.
    """

    def now(self) -> Clock:
        """The clock that leases are counted by, the same for everyone who shares the store."""

    def insert(self, job: Job, max_queued: int) -> None:
        """Add a row, unless `max_queued` jobs wait already.

        Raises:
            TooManyJobsError: they do.
        """

    def get(self, job_id: str) -> Job | None:
        """The row, or None."""

    def listed(
        self, states: Sequence[State], limit: int, *, newest_first: bool = False
    ) -> list[Job]:
        """At most `limit` rows in these states, in the order they were inserted, or the reverse."""

    def update(self, job_id: str, change: Change) -> Job | None:
        """Store what `change` makes of a row; None where there is no row or it makes nothing."""

    def remove(self, job_id: str) -> None:
        """Forget a row."""

    def counts(self) -> dict[State, int]:
        """How many rows are in each state."""

    def add(self, amounts: Mapping[str, float]) -> None:
        """Add to counters that outlive rows."""

    def totals(self) -> dict[str, float]:
        """Those counters."""

    def close(self) -> None:
        """Let go of files and connections."""


def open_store(directory: Path, redis_url: str | None) -> JobStore:
    """The store of a jobs directory; nothing is written until the first row.

    Raises:
        InputError: the URL is not one of a Redis.
        MissingPackageError: it is, and the package for it is missing.
    """
    if redis_url is None:
        from service.jobs.sqlite_store import SqliteStore

        return SqliteStore(directory / "jobs.sqlite")
    from service.jobs.redis_store import RedisStore

    return RedisStore(redis_url)
