"""Requests that arrive together are computed together: one task owns the queue.

Dynamic batching as in Clipper (Crankshaw et al., NSDI 2017), with two changes that graphs ask
for. A batch is filled by predicted cost (edges to be read), not by count, since one hub can cost
more than a thousand leaves. And a batch is shared out max-min fairly among the requests that
wait, so that a client with one node never stands behind another's ten thousand.

Nothing here knows HTTP, graphs or models: a key says which nodes may share a batch, and `compute`
turns (key, nodes) into rows.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineError, NotReadyError, OverloadedError

__all__ = ["Batch", "Computed", "MicroBatcher"]

FIRST_RATE = 1e7
"""Edges per second assumed until the first batches have been timed."""
BATCH_S = 0.01
"""How long a batch may keep the next request waiting, by the rate of those before it."""
LEAST_BATCH_COST = 50_000
"""What a batch may cost however slow they were."""
LONG_S = 0.02
"""What a batch may take that is computed between requests."""
AWAY_S = 0.25
"""How long small batches go to the thread as well, after one took longer."""


@dataclass(frozen=True, slots=True)
class Computed:
    """Rows, and what they took.

    Attributes:
        rows: (len(nodes), d) float32.
        seconds: stage → seconds.
        frontier: distinct nodes after every hop, from the seeds outwards.
        sampled_edges: edges read.
        outputs: what the head makes of the rows, (len(nodes), d_out); None where it was not run.
        hidden: layer → rows between layers that were found in the cache, and that were not.
        batches: what `on_batch` gave for each batch that took part.
    """

    rows: NDArray[np.float32]
    seconds: Mapping[str, float] = field(default_factory=dict)
    frontier: tuple[int, ...] = ()
    sampled_edges: int = 0
    outputs: NDArray[np.float32] | None = None
    hidden: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    batches: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of `compute` was: for the metrics."""

    num_requests: int
    num_nodes: int
    cost_edges: int
    computed: Computed
    started: float = 0.0


@dataclass(eq=False, slots=True)
class _Ticket:
    """One request in the queue; `place` nodes are under way or done, the rest costs `left`."""

    key: Hashable
    nodes: NDArray[np.int64]
    costs: NDArray[np.int64]
    arrived: float
    done: asyncio.Future[None]
    left: int
    place: int = 0
    rows: NDArray[np.float32] | None = None
    outputs: NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    batches: list[Any] = field(default_factory=list)

    def take(self, share: int) -> slice:
        """The next nodes whose cost fits `share`, at least one."""
        end = len(self.nodes)
        if self.left > share:
            ahead = np.cumsum(self.costs[self.place :])
            end = self.place + max(1, int(np.searchsorted(ahead, share, side="right")))
        part = slice(self.place, end)
        self.left -= int(self.costs[part].sum())
        self.place = end
        return part

    def fill(self, part: slice, computed: Computed, pick: NDArray[np.int64]) -> None:
        """Take the rows of a part of the nodes: `pick` says which of those computed."""
        self.rows = _filled(self.rows, len(self.nodes), part, computed.rows[pick])
        if computed.outputs is not None:
            self.outputs = _filled(self.outputs, len(self.nodes), part, computed.outputs[pick])
        for stage, seconds in computed.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        if part.stop == len(self.nodes) and not self.done.done():
            self.done.set_result(None)


Share = tuple[_Ticket, slice]


def _filled(
    rows: NDArray[np.float32] | None, count: int, part: slice, new: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The rows with those of a part set, (count, width)."""
    if len(new) == count:
        return new
    if rows is None:
        rows = np.empty((count, new.shape[1]), np.float32)
    rows[part] = new
    return rows


class MicroBatcher:
    """The queue in front of one compute thread. Use as an asynchronous context manager.

    Args:
        compute: (key, distinct nodes) → Computed; called in the compute thread, never twice at
            once.
        max_batch_cost: cost that a batch is filled up to.
        max_wait_s: a request that arrives while another batch runs waits this long for company.
        queue_limit: requests that may wait.
        queue_limit_cost: cost that may wait; a first request is let in whatever it costs.
        on_batch: told of every batch, on the event loop; what it gives goes to the requests.
        small_cost: a batch of at most this cost is computed on the event loop, between requests:
            that takes less than handing it to the thread and back, and what arrives meanwhile
            makes up the next batch. 0 hands every batch over.
    """

    def __init__(
        self,
        compute: Callable[[Any, NDArray[np.int64]], Computed],
        *,
        max_batch_cost: int = 500_000,
        max_wait_s: float = 0.002,
        queue_limit: int = 1000,
        queue_limit_cost: int = 100_000_000,
        on_batch: Callable[[Batch], Any] = lambda batch: None,
        small_cost: int = 0,
    ) -> None:
        self.compute, self.on_batch, self.small_cost = compute, on_batch, small_cost
        self._away_until = 0.0
        self.max_batch_cost, self.max_wait_s = max_batch_cost, max_wait_s
        self.queue_limit, self.queue_limit_cost = queue_limit, queue_limit_cost
        self._waiting: deque[_Ticket] = deque()
        self._waiting_cost = 0
        self._probes: deque[tuple[Hashable, NDArray[np.int64], asyncio.Future[None]]] = deque()
        self._rate = FIRST_RATE
        self._was_busy = False
        self._wake = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compute")

    async def __aenter__(self) -> Self:
        self._owner = asyncio.create_task(self._run(), name="microbatcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.gather(owner, return_exceptions=True)
        for ticket in self._waiting:
            if not ticket.done.done():
                ticket.done.set_exception(NotReadyError())
        for _, _, done in self._probes:
            if not done.done():
                done.set_exception(NotReadyError())
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    @property
    def is_open(self) -> bool:
        """Whether the queue is being served."""
        return self._owner is not None and not self._owner.done()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def batch_cost(self) -> int:
        """What the next batch is filled up to: a request that comes then waits for no more."""
        return min(self.max_batch_cost, max(LEAST_BATCH_COST, int(self._rate * BATCH_S)))

    @property
    def waiting_cost(self) -> int:
        """Cost that waits."""
        return self._waiting_cost

    async def submit(
        self,
        key: Hashable,
        nodes: NDArray[np.int64],
        costs: NDArray[np.int64],
        timeout_s: float,
    ) -> Computed:
        """Rows of these nodes, (len(nodes), d), computed alone or in company.

        Args:
            key: requests with equal keys may share a batch.
            nodes: (n,) int64, n at least 1.
            costs: predicted cost of every node, (n,) int64.
            timeout_s: seconds until the answer is of no use.

        Raises:
            OverloadedError: the queue is full.
            DeadlineError: the time has passed; what still waited is dropped.
            NotReadyError: the queue has been closed.
        """
        if not self.is_open:
            raise NotReadyError
        if timeout_s <= 0:
            raise DeadlineError(timeout_s * 1e3)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        ticket = _Ticket(key, nodes, costs, time.perf_counter(), done, int(costs.sum()))
        self._admit(ticket)
        timer = loop.call_later(timeout_s, _expire, done, timeout_s)
        try:
            await done
        finally:
            timer.cancel()
            if not done.cancel() and not done.cancelled():
                done.exception()  # looked at, also where the request was cancelled meanwhile
            self._forget(ticket)
        assert ticket.rows is not None, "a ticket is done when its rows are there"
        batches = tuple(ticket.batches)
        return Computed(ticket.rows, ticket.seconds, outputs=ticket.outputs, batches=batches)

    async def probe(self, key: Hashable, nodes: NDArray[np.int64]) -> None:
        """Have some nodes computed in the thread, before all that waits; no limit refuses it.

        Raises:
            NotReadyError: the queue has been closed.
            Exception: what `compute` raises.
        """
        if not self.is_open:
            raise NotReadyError
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._probes.append((key, nodes, done))
        self._wake.set()
        await done

    def _admit(self, ticket: _Ticket) -> None:
        full = len(self._waiting) >= self.queue_limit
        dear = self._waiting and self._waiting_cost + ticket.left > self.queue_limit_cost
        if full or dear:
            wait_s = math.ceil(self._waiting_cost / self._rate)
            raise OverloadedError(len(self._waiting), self.queue_limit, min(max(wait_s, 1), 60))
        self._waiting.append(ticket)
        self._waiting_cost += ticket.left
        self._wake.set()

    def _forget(self, ticket: _Ticket) -> None:
        if ticket.place < len(ticket.nodes) and ticket in self._waiting:
            self._waiting.remove(ticket)
            self._waiting_cost -= ticket.left

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            while self._probes:
                await self._probe(*self._probes.popleft())
            await self._linger()
            await self._compute(self._take())
            if not self._waiting and not self._probes:
                self._wake.clear()
            else:
                await asyncio.sleep(0)

    async def _probe(
        self, key: Hashable, nodes: NDArray[np.int64], done: asyncio.Future[None]
    ) -> None:
        loop, failed = asyncio.get_running_loop(), None
        try:
            await loop.run_in_executor(self._thread, self.compute, key, nodes)
        except asyncio.CancelledError:
            if not done.done():
                done.set_exception(NotReadyError())
            raise
        except Exception as error:
            failed = error
        if done.done():
            return
        if failed is None:
            done.set_result(None)
        else:
            done.set_exception(failed)

    async def _linger(self) -> None:
        """Wait for company, unless there is enough already or the service was idle."""
        waits_for_none = not self._was_busy or self._is_small(self._waiting_cost)
        if waits_for_none or self._waiting_cost >= self.batch_cost or not self._waiting:
            return
        left_s = self._waiting[0].arrived + self.max_wait_s - time.perf_counter()
        if left_s > 0:
            await asyncio.sleep(left_s)

    def _take(self) -> list[Share]:
        """The next batch: requests of one key, sharing its cost max-min fairly.

        The cheapest comes first, so that what it leaves over goes to the larger ones; the one
        that has waited longest is always in.
        """
        key = self._waiting[0].key if self._waiting else None
        sharing = [ticket for ticket in self._waiting if ticket.key == key]
        budget = most = self.batch_cost
        shares = list[Share]()
        for served, ticket in enumerate(sorted(sharing, key=lambda t: t.left)):
            if budget > 0 or ticket is sharing[0]:
                left = ticket.left
                part = ticket.take(max(budget, 0) // (len(sharing) - served))
                budget -= left - ticket.left
                shares.append((ticket, part))
        self._waiting_cost -= most - budget
        self._requeue(shares)
        return shares

    def _requeue(self, shares: list[Share]) -> None:
        """Those just served leave the queue, or go to its end with what is left of them."""
        served = {id(ticket) for ticket, _ in shares}
        self._waiting = deque(t for t in self._waiting if id(t) not in served)
        self._waiting.extend(t for t, _ in shares if t.place < len(t.nodes))

    async def _compute(self, shares: list[Share]) -> None:
        if not shares:
            return
        started = time.perf_counter()
        for ticket, _ in shares:
            ticket.seconds.setdefault("queue", started - ticket.arrived)
        nodes, inverse = np.unique(
            np.concatenate([t.nodes[part] for t, part in shares]), return_inverse=True
        )
        cost = sum(int(ticket.costs[part].sum()) for ticket, part in shares)
        try:
            computed = await self._computed(shares[0][0].key, nodes, cost)
        except asyncio.CancelledError:
            self._fail(shares, NotReadyError())
            raise
        except Exception as error:
            self._fail(shares, error)
            return
        self._was_busy = bool(self._waiting)
        self._answer(shares, computed, inverse)
        self._rate += 0.2 * (max(cost, 1) / max(time.perf_counter() - started, 1e-6) - self._rate)
        told = self.on_batch(Batch(len(shares), len(nodes), cost, computed, started))
        if told is not None:
            for ticket, _ in shares:
                ticket.batches.append(told)

    async def _computed(self, key: Any, nodes: NDArray[np.int64], cost: int) -> Computed:
        if not self._is_small(cost):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self.compute, key, nodes)
        started = time.perf_counter()
        try:
            return self.compute(key, nodes)
        finally:
            ended = time.perf_counter()
            if ended - started > LONG_S:
                self._away_until = ended + AWAY_S

    def _is_small(self, cost: int) -> bool:
        """Whether so much is computed between requests.

        Not right after that took long, as it does where rows must come from a disk.
        """
        return cost <= self.small_cost and time.perf_counter() >= self._away_until

    def _fail(self, shares: list[Share], error: Exception) -> None:
        for ticket, _ in shares:
            self._forget(ticket)
            if not ticket.done.done():
                ticket.done.set_exception(error)

    def _answer(self, shares: list[Share], computed: Computed, inverse: NDArray[np.int64]) -> None:
        place = 0
        for ticket, part in shares:
            count = len(ticket.nodes[part])
            ticket.fill(part, computed, inverse[place : place + count])
            place += count


def _expire(done: asyncio.Future[None], timeout_s: float) -> None:
    if not done.done():
        done.set_exception(DeadlineError(timeout_s * 1e3))
