"""A peer in a process of its own, which takes its turns like any contender.

Huge pages and pools of threads are chosen by environment variables that are read when a process
starts. The child answers every line [work, threads, round] with the rate it measured itself, so
that the way there and back is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import TracebackType

from service.bench.problem import Problem
from service.bench.race import Contender, timed

__all__ = ["TUNING", "Remote"]

TUNING = {"THP_MEM_ALLOC_ENABLE": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class Remote:
    """DGL, tuned, in a child process; use it as a context manager.

    Args:
        problem: what to work on; handed over in files.
    """

    def __init__(self, problem: Problem, num_threads: int) -> None:
        self.num_threads = num_threads
        self._folder = tempfile.TemporaryDirectory(prefix="gnn-bench-")
        problem.save(Path(self._folder.name))
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "service.bench.remote", self._folder.name],
            env=os.environ | TUNING | {"OMP_NUM_THREADS": str(num_threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.terminate()
        self._child.communicate()
        self._folder.cleanup()

    def use_threads(self, num_threads: int) -> None:
        """Work with this many threads from now on."""
        self.num_threads = num_threads

    def contender(self, work: str) -> Contender:
        """The child at this work."""
        return lambda number: self._ask(work, number)

    def _ask(self, work: str, number: int) -> float:
        assert self._child.stdin and self._child.stdout, "both ends are pipes"
        print(json.dumps([work, self.num_threads, number]), file=self._child.stdin, flush=True)
        answer = self._child.stdout.readline()
        if not answer:
            raise RuntimeError(f"the tuned peer ended at {work}; --no-tuned leaves it out")
        return float(json.loads(answer))


def _answer(folder: str) -> None:
    from service.bench.dgl_peer import Dgl

    answers, sys.stdout = sys.stdout, sys.stderr  # what DGL prints is no answer
    problem = Problem.load(Path(folder))
    peer = Dgl(problem, tuned=True)
    peer.make_ready()
    for line in sys.stdin:
        work, num_threads, number = json.loads(line)
        peer.use_threads(num_threads)
        rate = timed(getattr(peer, work), partial(problem.units, work))
        print(json.dumps(rate(number)), file=answers, flush=True)


if __name__ == "__main__":
    _answer(sys.argv[1])
