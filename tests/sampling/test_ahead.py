import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from sampling.graph.readers.ahead import read_ahead

ENDS_IN_A_KERNEL = """
from sampling import kernels
from sampling.graph.readers.ahead import read_ahead

def numbers():
    yield 0
    yield kernels.normals(0, 30_000_000, 1, 2)

left_open = read_ahead(numbers())
next(left_open)
"""


class ReadError(Exception):
    pass


def failing(count: int) -> Iterator[int]:
    yield from range(count)
    raise ReadError


def test_items_come_in_order():
    assert list(read_ahead(iter(range(1000)))) == list(range(1000))


def test_an_error_comes_after_the_items_before_it():
    items = read_ahead(failing(2))
    assert (next(items), next(items)) == (0, 1)
    with pytest.raises(ReadError):
        next(items)


def test_an_interrupt_while_the_thread_starts_leaves_none_behind(monkeypatch: pytest.MonkeyPatch):
    start, before = threading.Thread.start, threading.active_count()

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(read_ahead(iter(range(1000))))
    assert threading.active_count() == before


def test_a_process_may_end_while_a_chunk_is_read():
    command = [sys.executable, "-c", ENDS_IN_A_KERNEL]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
