"""Work prepared by threads ahead of who takes it, in an order that threads cannot change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prepared_ahead"]

PartT = TypeVar("PartT")
BatchT = TypeVar("BatchT")


def prepared_ahead(
    parts: Iterable[PartT], prepare: Callable[[PartT], BatchT], num_workers: int, prefetch: int
) -> Iterator[BatchT]:
    """`prepare` of every part, in the order of the parts.

    Args:
        parts: what to prepare.
        prepare: safe to call from several threads.
        num_workers: preparing threads; 0 prepares in the caller.
        prefetch: results ready or under way at once, at least 1.

    Example:
        >>> list(prepared_ahead(range(4), lambda n: n * n, num_workers=2, prefetch=3))
        [0, 1, 4, 9]
    """
    if num_workers == 0:
        yield from map(prepare, parts)
        return
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="loader")
    try:
        ready: deque[Future[BatchT]] = deque()
        for part in parts:
            ready.append(pool.submit(prepare, part))
            if len(ready) >= prefetch:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
