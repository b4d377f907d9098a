"""The queue in front of the compute thread: merging, fairness, deadlines, refusal."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import microbatch
from service.errors import DeadlineError, NotReadyError, OverloadedError
from service.microbatch import Batch, Computed, MicroBatcher


class Twice:
    """Computes 2 × node; remembers its calls; waits at a gate when there is one."""

    def __init__(self, gate: threading.Event | None = None, seconds: float = 0.0) -> None:
        self.calls: list[tuple[Any, list[int]]] = []
        self.gate, self.seconds = gate, seconds

    def __call__(self, key: Any, nodes: np.ndarray) -> Computed:
        self.calls.append((key, nodes.tolist()))
        if self.gate is not None:
            self.gate.wait(10)
        time.sleep(self.seconds)
        return Computed((2 * nodes).astype(np.float32)[:, None], {"compute": self.seconds})


def ask(batcher: MicroBatcher, nodes: list[int], key: Any = "k", timeout_s: float = 10, cost=1):
    array = np.array(nodes, np.int64)
    return batcher.submit(key, array, np.full(len(array), cost, np.int64), timeout_s)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def while_busy(batcher: MicroBatcher, compute: Twice) -> asyncio.Task[Computed]:
    """Occupy the compute thread, which waits at its gate."""
    first = asyncio.create_task(ask(batcher, [0]))
    while not compute.calls:
        await asyncio.sleep(0.001)
    return first


def test_a_request_gets_its_rows_in_the_order_asked_repeats_included():
    async def test() -> None:
        async with MicroBatcher(Twice()) as batcher:
            computed = await ask(batcher, [5, 3, 5, 9])
            assert computed.rows[:, 0].tolist() == [10, 6, 10, 18]
            assert computed.seconds.keys() == {"queue", "compute"}

    run(test)


def test_requests_with_equal_keys_share_a_batch_and_others_do_not():
    async def test() -> None:
        gate = threading.Event()
        compute = Twice(gate)
        batches: list[Batch] = []
        async with MicroBatcher(compute, on_batch=batches.append) as batcher:
            first = await while_busy(batcher, compute)
            keys = ["a", "b", "a", "b", "a"]
            tasks = [asyncio.create_task(ask(batcher, [i, 7], k)) for i, k in enumerate(keys)]
            await asyncio.sleep(0.01)
            gate.set()
            done = await asyncio.gather(first, *tasks)
        assert [c.rows[0, 0] for c in done[1:]] == [0, 2, 4, 6, 8]
        assert compute.calls[1:] == [("a", [0, 2, 4, 7]), ("b", [1, 3, 7])]
        assert [batch.num_requests for batch in batches] == [1, 3, 2]

    run(test)


def test_an_idle_service_starts_at_once():
    async def test() -> None:
        async with MicroBatcher(Twice(), max_wait_s=5) as batcher:
            started = time.perf_counter()
            await ask(batcher, [1])
            await ask(batcher, [2])
            assert time.perf_counter() - started < 2

    run(test)


def test_one_node_does_not_stand_behind_ten_thousand():
    async def test() -> None:
        compute = Twice(seconds=0.005)
        async with MicroBatcher(compute, max_batch_cost=100) as batcher:
            large = asyncio.create_task(ask(batcher, list(range(10_000))))
            while len(compute.calls) < 3:
                await asyncio.sleep(0.001)
            calls = len(compute.calls)
            await ask(batcher, [123_456])
            assert len(compute.calls) - calls <= 3
            assert not large.done()
            computed = await large
        assert (computed.rows[:, 0] == 2 * np.arange(10_000)).all()
        assert max(len(nodes) for _, nodes in compute.calls) <= 101

    run(test)


class Steps(Twice):
    """Computes a batch whenever it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Semaphore(0)

    def __call__(self, key: Any, nodes: np.ndarray) -> Computed:
        self.calls.append((key, nodes.tolist()))
        assert self.may.acquire(timeout=10)
        return Computed(nodes.astype(np.float32)[:, None])

    async def step(self) -> None:
        """Finish the batch at work and wait for the next one to begin."""
        count = len(self.calls)
        self.may.release()
        while len(self.calls) == count:
            await asyncio.sleep(0.001)


def test_small_requests_are_in_the_next_batch_beside_a_large_one():
    async def test() -> None:
        compute = Steps()
        async with MicroBatcher(compute, max_batch_cost=100, max_wait_s=0) as batcher:
            large = asyncio.create_task(ask(batcher, list(range(1000))))
            while not compute.calls:
                await asyncio.sleep(0.001)
            small = [asyncio.create_task(ask(batcher, [10_000 + i])) for i in range(3)]
            await asyncio.sleep(0)
            await compute.step()
            assert compute.calls[1][1] == [*range(100, 197), 10_000, 10_001, 10_002]
            later = asyncio.create_task(ask(batcher, [20_000]))
            await asyncio.sleep(0)
            await compute.step()
            assert all(task.done() for task in small)
            assert compute.calls[2][1] == [*range(197, 296), 20_000]
            for _ in range(20):
                compute.may.release()
            assert (await later).rows.tolist() == [[20_000]]
            assert (await large).rows[:, 0].tolist() == list(range(1000))

    run(test)


def test_two_large_requests_share_every_batch_evenly():
    async def test() -> None:
        compute = Steps()
        async with MicroBatcher(compute, max_batch_cost=100, max_wait_s=0) as batcher:
            tasks = [asyncio.create_task(ask(batcher, [0]))]
            while not compute.calls:
                await asyncio.sleep(0.001)
            for start in (1000, 2000):
                nodes = list(range(start, start + 200))
                tasks.append(asyncio.create_task(ask(batcher, nodes)))
            await asyncio.sleep(0)
            for _ in range(4):
                await compute.step()
                nodes = np.array(compute.calls[-1][1])
                assert ((nodes < 2000).sum(), (nodes >= 2000).sum()) == (50, 50)
            compute.may.release()
            await asyncio.gather(*tasks)

    run(test)


def test_a_batch_takes_no_longer_than_the_next_request_may_wait():
    async def test() -> None:
        async with MicroBatcher(Twice()) as batcher:
            batcher._rate = 2e7
            assert batcher.batch_cost == 200_000
            batcher._rate = 1e9
            assert batcher.batch_cost == batcher.max_batch_cost
            batcher._rate = 1.0
            assert batcher.batch_cost == 50_000

    run(test)


def test_a_request_that_left_gives_its_share_to_the_others():
    async def test() -> None:
        compute = Steps()
        async with MicroBatcher(compute, max_batch_cost=100, max_wait_s=0) as batcher:
            first = asyncio.create_task(ask(batcher, [0]))
            while not compute.calls:
                await asyncio.sleep(0.001)
            gone = asyncio.create_task(ask(batcher, list(range(1000, 2000))))
            late = asyncio.create_task(ask(batcher, list(range(3000, 4000)), timeout_s=0.01))
            stays = asyncio.create_task(ask(batcher, list(range(5000, 5100))))
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(DeadlineError):
                await late
            assert (batcher.depth, batcher.waiting_cost) == (1, 100)
            await compute.step()
            assert compute.calls[1][1] == list(range(5000, 5100))
            compute.may.release()
            await asyncio.gather(first, stays)

    run(test)


@pytest.mark.parametrize("small_cost", [0, 10, 10_000])
def test_small_batches_on_the_loop_give_the_same(small_cost: int):
    async def test() -> None:
        compute = Twice()
        async with MicroBatcher(compute, small_cost=small_cost, max_batch_cost=40) as batcher:
            asked = [ask(batcher, list(range(i, 5 * i + 1)), f"k{i % 2}") for i in range(12)]
            for i, computed in enumerate(await asyncio.gather(*asked)):
                assert computed.rows[:, 0].tolist() == [2 * n for n in range(i, 5 * i + 1)]
            assert (batcher.depth, batcher.waiting_cost) == (0, 0)

    run(test)


def test_a_failure_on_the_loop_reaches_its_request_and_the_queue_goes_on():
    def compute(key: str, nodes: np.ndarray) -> Computed:
        if key == "bad":
            raise ArithmeticError("no")
        return Computed(nodes.astype(np.float32)[:, None])

    async def test() -> None:
        async with MicroBatcher(compute, small_cost=100) as batcher:
            asked = [ask(batcher, [1], key) for key in ("good", "bad", "good")]
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(d) for d in done] == [Computed, ArithmeticError, Computed]
            assert (await ask(batcher, [2], "good")).rows.tolist() == [[2]]

    run(test)


def test_after_a_slow_batch_on_the_loop_the_thread_takes_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(microbatch, "LONG_S", 0.0)
    monkeypatch.setattr(microbatch, "AWAY_S", 1000.0)

    async def test() -> None:
        threads: list[str] = []

        def compute(key: str, nodes: np.ndarray) -> Computed:
            threads.append(threading.current_thread().name)
            return Computed(nodes.astype(np.float32)[:, None])

        async with MicroBatcher(compute, small_cost=100) as batcher:
            for _ in range(3):
                await ask(batcher, [1])
        assert threads[0] == threading.current_thread().name
        assert all(name.startswith("compute") for name in threads[1:])

    run(test)


def test_requests_with_other_keys_take_turns():
    async def test() -> None:
        compute = Twice(seconds=0.002)
        async with MicroBatcher(compute, max_batch_cost=10) as batcher:
            large = [asyncio.create_task(ask(batcher, list(range(100)), key)) for key in "ab"]
            await asyncio.gather(*large)
        order = "".join(key for key, _ in compute.calls)
        assert order.startswith("abababab")

    run(test)


def test_a_node_that_costs_more_than_a_batch_still_runs():
    async def test() -> None:
        async with MicroBatcher(Twice(), max_batch_cost=10) as batcher:
            computed = await ask(batcher, [1, 2, 3], cost=1000)
            assert computed.rows[:, 0].tolist() == [2, 4, 6]

    run(test)


def test_a_full_queue_refuses_and_says_when_to_come_back():
    async def test() -> None:
        gate = threading.Event()
        compute = Twice(gate)
        async with MicroBatcher(compute, queue_limit=2) as batcher:
            first = await while_busy(batcher, compute)
            waiting = [asyncio.create_task(ask(batcher, [i])) for i in (1, 2)]
            await asyncio.sleep(0.01)
            with pytest.raises(OverloadedError) as refused:
                await ask(batcher, [3])
            assert refused.value.waiting == refused.value.limit == 2
            assert refused.value.retry_after_s >= 1
            gate.set()
            await asyncio.gather(first, *waiting)
            assert (await ask(batcher, [4])).rows[0, 0] == 8

    run(test)


def test_a_queue_that_would_cost_too_much_refuses_but_lets_a_first_request_in():
    async def test() -> None:
        gate = threading.Event()
        compute = Twice(gate)
        async with MicroBatcher(compute, queue_limit_cost=10) as batcher:
            first = await while_busy(batcher, compute)
            dear = asyncio.create_task(ask(batcher, [1], cost=50))
            await asyncio.sleep(0.01)
            with pytest.raises(OverloadedError):
                await ask(batcher, [2], cost=1)
            gate.set()
            await asyncio.gather(first, dear)

    run(test)


def test_a_deadline_ends_the_wait_and_what_still_waited_is_never_computed():
    async def test() -> None:
        gate = threading.Event()
        compute = Twice(gate)
        async with MicroBatcher(compute) as batcher:
            first = await while_busy(batcher, compute)
            with pytest.raises(DeadlineError):
                await ask(batcher, [77], timeout_s=0.05)
            assert batcher.depth == 0
            gate.set()
            await first
            await ask(batcher, [1])
        assert 77 not in [node for _, nodes in compute.calls for node in nodes]

    run(test)


def test_a_deadline_that_has_passed_is_refused_at_the_door():
    async def test() -> None:
        compute = Twice()
        async with MicroBatcher(compute) as batcher:
            with pytest.raises(DeadlineError):
                await ask(batcher, [1], timeout_s=0)
        assert compute.calls == []

    run(test)


def test_a_client_that_left_is_not_computed_for():
    async def test() -> None:
        gate = threading.Event()
        compute = Twice(gate)
        async with MicroBatcher(compute) as batcher:
            first = await while_busy(batcher, compute)
            gone = asyncio.create_task(ask(batcher, [77]))
            stays = asyncio.create_task(ask(batcher, [5]))
            await asyncio.sleep(0.01)
            gone.cancel()
            await asyncio.sleep(0.01)
            assert batcher.depth == 1
            gate.set()
            assert (await stays).rows[0, 0] == 10
            await first
        assert [nodes for _, nodes in compute.calls] == [[0], [5]]

    run(test)


def test_a_large_request_that_is_cancelled_stops_between_batches():
    async def test() -> None:
        compute = Twice(seconds=0.002)
        async with MicroBatcher(compute, max_batch_cost=10) as batcher:
            large = asyncio.create_task(ask(batcher, list(range(10_000))))
            while len(compute.calls) < 3:
                await asyncio.sleep(0.001)
            large.cancel()
            await asyncio.sleep(0.02)
            calls = len(compute.calls)
            await asyncio.sleep(0.02)
            assert len(compute.calls) == calls
            assert batcher.depth == 0
            assert batcher._waiting_cost == 0

    run(test)


def test_a_failure_reaches_its_own_requests_and_the_queue_goes_on():
    def compute(key: str, nodes: np.ndarray) -> Computed:
        if key == "bad":
            raise ArithmeticError("no")
        return Computed(nodes.astype(np.float32)[:, None])

    async def test() -> None:
        async with MicroBatcher(compute) as batcher:
            keys = ("good", "bad", "good", "bad")
            asked = [ask(batcher, [1], key) for key in keys]
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(d) for d in done] == [Computed, ArithmeticError] * 2
            assert batcher._waiting_cost == 0

    run(test)


def test_closing_refuses_what_waits_and_what_comes_after():
    async def test() -> None:
        gate = threading.Event()
        compute = Twice(gate)
        async with MicroBatcher(compute) as batcher:
            first = await while_busy(batcher, compute)
            waiting = asyncio.create_task(ask(batcher, [1]))
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.05, gate.set)
        done = await asyncio.gather(first, waiting, return_exceptions=True)
        assert all(isinstance(d, NotReadyError) for d in done)
        with pytest.raises(NotReadyError):
            await ask(batcher, [1])

    run(test)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 50), min_size=1, max_size=30)),
        max_size=12,
    ),
    st.integers(1, 40),
)
def test_every_request_gets_exactly_its_rows_in_any_company(requests, max_batch_cost):
    async def test() -> None:
        async with MicroBatcher(Twice(), max_batch_cost=max_batch_cost) as batcher:
            asked = [ask(batcher, nodes, key) for key, nodes in requests]
            for (_, nodes), computed in zip(requests, await asyncio.gather(*asked), strict=True):
                assert computed.rows[:, 0].tolist() == [2 * node for node in nodes]
            assert (batcher.depth, batcher._waiting_cost) == (0, 0)

    run(test)
