"""Work beside the predictions: a few threads of its own, and a short queue that refuses.

What is given up before its turn leaves the queue; what is at work holds its place until the thread
is done with it, so that what nobody waits for never piles up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.errors import NotReadyError, OverloadedError

__all__ = ["SideWork"]

P = ParamSpec("P")
T = TypeVar("T")


class SideWork:
    """Threads with a bounded queue.

    Args:
        name: of the threads.
        threads: pieces of work at once.
        limit: pieces that may wait or be at work.
        on_refused: told of every piece that was not let in.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        limit: int,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.limit, self.on_refused = limit, on_refused
        self.under_way, self.is_open = 0, True
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of some work.

        Raises:
            OverloadedError: too much waits.
            NotReadyError: the threads have ended.
            Exception: what the work raises.
        """
        result, _ = await self.timed(work, *args, **kwargs)
        return result

    async def timed(
        self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[T, dict[str, float]]:
        """The result of some work, and the seconds of its stages `queue` and `compute`.

        Raises:
            OverloadedError, NotReadyError, Exception: as `run`.
        """
        if not self.is_open:
            raise NotReadyError
        if self.under_way >= self.limit:
            self.on_refused()
            raise OverloadedError(self.under_way, self.limit, 1)
        loop, arrived = asyncio.get_running_loop(), time.perf_counter()

        def measured() -> tuple[T, dict[str, float]]:
            began = time.perf_counter()
            result = work(*args, **kwargs)
            seconds = time.perf_counter() - began
            return result, {"queue": began - arrived, "compute": seconds}

        def left(_: Future[tuple[T, dict[str, float]]]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._leave)

        self.under_way += 1
        future = self._threads.submit(measured)
        future.add_done_callback(left)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what is at work, and nothing else."""
        self.is_open = False
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        self.under_way -= 1
