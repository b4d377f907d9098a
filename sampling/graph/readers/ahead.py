"""Reading ahead: the next chunk is decoded in a thread while this one is worked on."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

__all__ = ["read_ahead"]

Item = TypeVar("Item")
POLL_S = 0.1


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items, each prepared while the caller works on the one before."""
    ready: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(item: Item | None, error: BaseException | None, done: bool) -> bool:
        while not stop.is_set() and threading.main_thread().is_alive():
            with contextlib.suppress(queue.Full):
                ready.put((item, error, done), timeout=POLL_S)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item, None, False):
                    break
            put(None, None, True)
        except BaseException as error:
            put(None, error, True)
        finally:
            if hasattr(items, "close"):
                items.close()

    # Not a daemon: one that is inside a kernel when the interpreter ends would abort the process.
    thread = threading.Thread(target=work)
    try:
        thread.start()
        while True:
            item, error, done = ready.get()
            if error is not None:
                raise error
            if done:
                return
            yield item  # type: ignore[misc]
            del item
    finally:
        stop.set()
        if thread.is_alive():  # an interrupt may come before it runs
            thread.join()
