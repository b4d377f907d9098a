"""Rows of jobs in a Redis, for processes of several machines that share the jobs directory.

A row is one string; one sorted set per state lists its ids in the order they were inserted. A
change watches its keys and writes in one `MULTI`, and starts over where someone was faster. Leases
are counted by the clock of the Redis, which is one for all. Keep the append-only file on
(`appendonly yes`): jobs are then as durable as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gnn.errors import MissingPackageError
from sampling.errors import InputError
from service.errors import JobStoreError, TooManyJobsError
from service.jobs.job import STATES, Clock, Job, State
from service.jobs.lifecycle import Change

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

__all__ = ["RedisStore"]

TIMEOUT_S = 2.0
SOME = 100
"""Rows fetched at once while listing."""


class RedisStore:
    """See `JobStore`.

    Args:
        url: as in `redis://host:6379/0`.
        prefix: what all keys begin with.
    """

    def __init__(self, url: str, prefix: str = "gnn:jobs") -> None:
        self._redis, self._prefix = _connect(url), prefix

    def now(self) -> Clock:
        with self._using() as redis:
            seconds, micros = redis.time()
        return Clock(epoch="redis", seconds=seconds + micros / 1e6)

    def insert(self, job: Job, max_queued: int) -> None:
        def write(pipe: Pipeline) -> None:
            waiting = int(pipe.zcard(self._of_state("queued")))
            if waiting >= max_queued:
                raise TooManyJobsError(waiting, max_queued)
            number = int(pipe.incr(self._key("number")))
            pipe.multi()
            pipe.set(self._row(job.id), job.model_dump_json())
            pipe.zadd(self._of_state(job.state), {job.id: number})

        with self._using() as redis:
            redis.transaction(write, self._of_state("queued"))

    def get(self, job_id: str) -> Job | None:
        with self._using() as redis:
            return self._job(redis.get(self._row(job_id)))

    def listed(
        self, states: Sequence[State], limit: int, *, newest_first: bool = False
    ) -> list[Job]:
        with self._using() as redis:
            found: list[tuple[bytes, float]] = []
            for state in states:
                key = self._of_state(state)
                found += redis.zrange(key, 0, limit - 1, desc=newest_first, withscores=True)
            found.sort(key=lambda entry: entry[1], reverse=newest_first)
            names = [self._row(name.decode()) for name, _ in found[:limit]]
            pieces = [names[i : i + SOME] for i in range(0, len(names), SOME)]
            rows = [self._job(text) for piece in pieces for text in redis.mget(piece)]
        return [job for job in rows if job is not None and job.state in states]

    def update(self, job_id: str, change: Change) -> Job | None:
        def write(pipe: Pipeline) -> Job | None:
            before = self._job(pipe.get(self._row(job_id)))
            after = None if before is None else change(before, now)
            if before is None or after is None:
                pipe.multi()
                return None
            number = pipe.zscore(self._of_state(before.state), job_id)
            pipe.multi()
            pipe.set(self._row(job_id), after.model_dump_json())
            pipe.zrem(self._of_state(before.state), job_id)
            pipe.zadd(self._of_state(after.state), {job_id: number or 0.0})
            return after

        now = self.now()
        with self._using() as redis:
            changed: Job | None = redis.transaction(
                write, self._row(job_id), value_from_callable=True
            )
        return changed

    def remove(self, job_id: str) -> None:
        with self._using() as redis, redis.pipeline() as pipe:
            pipe.delete(self._row(job_id))
            for state in STATES:
                pipe.zrem(self._of_state(state), job_id)
            pipe.execute()

    def counts(self) -> dict[State, int]:
        with self._using() as redis, redis.pipeline() as pipe:
            for state in STATES:
                pipe.zcard(self._of_state(state))
            sizes = pipe.execute()
        return {state: size for state, size in zip(STATES, sizes, strict=True) if size}

    def add(self, amounts: Mapping[str, float]) -> None:
        with self._using() as redis, redis.pipeline() as pipe:
            for name, amount in amounts.items():
                pipe.hincrbyfloat(self._key("totals"), name, amount)
            pipe.execute()

    def totals(self) -> dict[str, float]:
        with self._using() as redis:
            found: dict[bytes, bytes] = redis.hgetall(self._key("totals"))
        return {name.decode(): float(amount) for name, amount in found.items()}

    def close(self) -> None:
        self._redis.close()

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _row(self, job_id: str) -> str:
        return self._key(f"row:{job_id}")

    def _of_state(self, state: State) -> str:
        return self._key(f"state:{state}")

    @contextmanager
    def _using(self) -> Iterator[Any]:
        """The connection; its errors are those of the store."""
        from redis.exceptions import RedisError

        try:
            yield self._redis
        except (RedisError, OSError) as error:
            raise JobStoreError("Redis", str(error)) from error

    def _job(self, text: Any) -> Job | None:
        if text is None:
            return None
        try:
            return Job.model_validate_json(text)
        except ValidationError as error:
            what = f"holds a row that is no job ({error.errors()[0]['msg']})"
            raise JobStoreError("Redis", what) from None


def _connect(url: str) -> Redis:
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise MissingPackageError("redis", error, "install gnn-service[redis]") from None
    try:
        return Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError as error:
        raise InputError(f"the Redis URL cannot be used: {error}") from None
