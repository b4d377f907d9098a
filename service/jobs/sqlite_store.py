"""Rows of jobs in one SQLite file, for processes of one machine.

Write-ahead logging lets everyone read while one writes; a row that is committed survives the loss
of power. Every change is one `BEGIN IMMEDIATE` transaction, so of two claims one comes second.
Leases are counted in seconds since the machine started, which no clock setting moves, and the
boot's id is their epoch: after a restart of the machine every lease has expired.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.errors import JobStoreError, TooManyJobsError
from service.jobs.job import Clock, Job, State
from service.jobs.lifecycle import Change

__all__ = ["SqliteStore"]

BUSY_S = 10.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, "
    "id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, row TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number)",
    "CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, amount REAL NOT NULL)",
)


class SqliteStore:
    """See `JobStore`.

    Args:
        path: the file; made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def now(self) -> Clock:
        return Clock(epoch=_boot_id(), seconds=time.clock_gettime(SINCE_BOOT))

    def insert(self, job: Job, max_queued: int) -> None:
        with self._writing() as connection:
            [waiting] = connection.execute(
                "SELECT count(*) FROM jobs WHERE state = 'queued'"
            ).fetchone()
            if waiting >= max_queued:
                raise TooManyJobsError(waiting, max_queued)
            connection.execute(
                "INSERT INTO jobs (id, state, row) VALUES (?, ?, ?)",
                (job.id, job.state, job.model_dump_json()),
            )

    def get(self, job_id: str) -> Job | None:
        rows = self._read("SELECT row FROM jobs WHERE id = ?", (job_id,))
        return self._job(rows[0][0]) if rows else None

    def listed(
        self, states: Sequence[State], limit: int, *, newest_first: bool = False
    ) -> list[Job]:
        marks = ", ".join("?" for _ in states)
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT row FROM jobs WHERE state IN ({marks}) ORDER BY number {order} LIMIT ?"  # noqa: S608 - marks and a fixed word
        return [self._job(row) for [row] in self._read(query, (*states, limit))]

    def update(self, job_id: str, change: Change) -> Job | None:
        if not self.path.exists():
            return None
        with self._writing() as connection:
            found = connection.execute("SELECT row FROM jobs WHERE id = ?", (job_id,)).fetchone()
            changed = change(self._job(found[0]), self.now()) if found else None
            if changed is not None:
                connection.execute(
                    "UPDATE jobs SET state = ?, row = ? WHERE id = ?",
                    (changed.state, changed.model_dump_json(), job_id),
                )
            return changed

    def remove(self, job_id: str) -> None:
        if self.path.exists():
            with self._writing() as connection:
                connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def counts(self) -> dict[State, int]:
        return dict(self._read("SELECT state, count(*) FROM jobs GROUP BY state"))

    def add(self, amounts: Mapping[str, float]) -> None:
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO totals VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount",
                list(amounts.items()),
            )

    def totals(self) -> dict[str, float]:
        return dict(self._read("SELECT name, amount FROM totals"))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        if not self.path.exists():
            return []
        with self._using() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; its errors are those of the store."""
        try:
            with self._lock:
                if not self.path.exists():  # removed under us: what is open has no name any more
                    self.close()
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            raise JobStoreError(str(self.path), str(error)) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            for statement in SCHEMA:
                connection.execute(statement)
        except (sqlite3.Error, UnicodeDecodeError):  # a damaged name is part of the message
            connection.close()
            raise
        return connection

    def _job(self, row: str) -> Job:
        try:
            return Job.model_validate_json(row)
        except ValidationError as error:
            what = f"holds a row that is no job ({error.errors()[0]['msg']})"
            raise JobStoreError(str(self.path), what) from None


@cache
def _boot_id() -> str:
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
