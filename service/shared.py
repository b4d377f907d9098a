"""Computed embeddings shared by all workers and hosts: a cache in Redis.

It may lose, delay or damage anything and no answer changes: a row that does not prove itself
(`service.rowformat`) is missing, and every call is over after `timeout_s`, whatever Redis does.
After a failure a circuit breaker lets no request wait again until Redis answers a probe.

    key    PREFIX:e1:MODEL_DIGEST:GRAPH_FINGERPRINT:MODE:SEED:NODE

The digest covers weights, architecture and fanouts, the fingerprint all arrays of the graph, ids
included: no entry outlives what it was computed from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from gnn.errors import MissingPackageError
from sampling.errors import InputError
from service.breaker import CircuitBreaker
from service.cache import Row
from service.rowformat import pack, unpack

__all__ = ["OUTCOMES", "RedisCache"]

VERSION = "e1"
MAX_CONNECTIONS = 16
MAX_PENDING = 64
MOST_ROWS = 20_000
"""Rows of one request that are looked up or stored; the rest counts as missing."""

REMEDY = "install it with `pip install 'redis[hiredis]'`, or serve without --redis"
OUTCOMES = ("hit", "miss", "rejected", "error", "skipped", "stored", "refused")

log = structlog.get_logger()


class RedisCache:
    """The cache of a deployment. Use inside a running event loop; close it with `aclose`.

    Args:
        url: redis://, rediss:// or unix:// address.
        prefix: first part of every key; one per deployment that shares the Redis.
        ttl_s: seconds after which an entry expires.
        timeout_s: seconds after which a call is given up.
        retry_s: seconds between two probes of a Redis that failed.
        count: told (outcome, rows): hit, miss; rejected: not what was stored; error: a call
            failed; skipped: not asked for, since Redis failed or is busy; stored; refused: Redis
            was full.

    Raises:
        InputError: the address is not one of a Redis.
        MissingPackageError: the package redis is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "gnn",
        ttl_s: int = 86_400,
        timeout_s: float = 0.25,
        retry_s: float = 2.0,
        count: Callable[[str, int], None] = lambda outcome, rows: None,
    ) -> None:
        self.prefix, self.ttl_s, self.timeout_s, self.count = prefix, ttl_s, timeout_s, count
        self._client = _client(url, timeout_s)
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._pending: set[asyncio.Task[None]] = set()
        self._is_full = False
        slow_s = 0.4 * timeout_s
        self._breaker = CircuitBreaker(self._answers, retry_s, slow_s, on_change=_changed)

    @property
    def state(self) -> Literal["ok", "degraded"]:
        """Whether rows are found and kept."""
        return "degraded" if self._breaker.is_open or self._is_full else "ok"

    async def look(self) -> None:
        """Find out whether Redis answers, before the first request has to."""
        if not await self._answers():
            self._breaker.failed()

    async def get_many(self, space: str, nodes: Sequence[int]) -> list[Row | None]:
        """The row of every node, (d,) float32 and read-only, or None; one round trip."""
        asked, found = nodes[:MOST_ROWS], list[Row | None]()
        keys = self._keys(space, asked)
        async with self._call(len(asked)) as may_ask:
            if may_ask:
                entries = await self._client.mget(keys)
                found = self._rows(keys, entries)
        return found + [None] * (len(nodes) - len(found))

    async def put_many(self, space: str, nodes: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Keep every row of (len(nodes), d) for `ttl_s` seconds; one round trip."""
        keys = self._keys(space, nodes[:MOST_ROWS])
        async with self._call(len(keys)) as may_ask:
            if may_ask:
                pipeline = self._client.pipeline(transaction=False)
                for key, row in zip(keys, rows, strict=False):
                    pipeline.set(key, pack(key, row), ex=self.ttl_s)
                replies = await pipeline.execute(raise_on_error=False)
                refused = sum(isinstance(reply, Exception) for reply in replies)
                self._is_full = refused > 0
                self.count("refused", refused)
                self.count("stored", len(keys) - refused)

    def keep(self, space: str, nodes: Sequence[int], rows: NDArray[np.float32]) -> None:
        """`put_many` in the background; dropped where much is waiting already."""
        if len(self._pending) >= MAX_PENDING or self._breaker.is_open:
            self.count("skipped", len(nodes))
            return
        self._later(self.put_many(space, nodes, rows))

    async def settle(self) -> None:
        """Wait until what `keep` was given is stored or lost."""
        while self._pending:
            await asyncio.gather(*self._pending, return_exceptions=True)

    async def aclose(self) -> None:
        """Store what is under way, within `timeout_s`, and leave."""
        self._breaker.close()
        if self._pending:
            await asyncio.wait(self._pending, timeout=self.timeout_s)
        for task in list(self._pending):
            task.cancel()
        await self._client.aclose()

    @asynccontextmanager
    async def _call(self, num_rows: int) -> AsyncIterator[bool]:
        """One call under the clock: says whether to make it, swallows and counts its failure."""
        from redis.exceptions import RedisError

        if not num_rows or self._breaker.is_open or self._slots.locked():
            self.count("skipped", num_rows)
            yield False
            return
        started = time.monotonic()
        try:
            async with self._slots, asyncio.timeout(self.timeout_s):
                yield True
        except (RedisError, OSError, TimeoutError, UnicodeError, ValueError) as error:
            self.count("error", num_rows)
            log.debug("redis_call_failed", reason=type(error).__name__)
            self._breaker.failed()
        else:
            self._breaker.took(time.monotonic() - started)

    async def _answers(self) -> bool:
        """Whether Redis answers a probe in time; connections from before are closed."""
        from redis.exceptions import RedisError

        started = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._client.connection_pool.disconnect(inuse_connections=False)
                await self._client.execute_command("PING")
        except (RedisError, OSError, TimeoutError, ValueError):
            return False
        return time.monotonic() - started <= self._breaker.slow_s

    def _keys(self, space: str, nodes: Sequence[int]) -> list[bytes]:
        head = f"{self.prefix}:{VERSION}:{space}:"
        return [f"{head}{node}".encode() for node in nodes]

    def _rows(self, keys: list[bytes], entries: list[Any]) -> list[Row | None]:
        """What the entries hold, None where one is missing or is not what was stored."""
        rows = [
            unpack(key, entry) if isinstance(entry, bytes) else None
            for key, entry in zip(keys, entries, strict=True)
        ]
        hits, misses = sum(row is not None for row in rows), entries.count(None)
        self.count("hit", hits)
        self.count("miss", misses)
        self.count("rejected", len(keys) - hits - misses)
        return rows

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)


def _client(url: str, timeout_s: float) -> Any:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise MissingPackageError("redis", error, REMEDY) from error
    try:
        return Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=MAX_CONNECTIONS + 1,
            client_name="gnn-service",
        )
    except ValueError:
        raise InputError(
            "the Redis address is not one; write redis://HOST:6379/0, rediss://… or unix://PATH"
        ) from None


def _changed(is_open: bool) -> None:
    log.warning("redis_lost" if is_open else "redis_back")
