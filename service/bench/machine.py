"""What the numbers were measured on, and what its memory allows.

Random reads and long reads are bound by two constants of a machine: the time of a cache line
among independent random ones, and the rate of a stream. Each work below has a lower bound in
them; a result says which fraction of it was reached. Lines that a cache still holds make a
fraction larger, rows of several neighboring lines too: the processor fetches those in pairs.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from sampling import Block, Graph, kernels
from service.bench.race import race, timed

__all__ = ["LINE_BYTES", "Limits", "lines_drawn", "machine", "measure_limits"]

PACKAGES = ("numpy", "torch", "dgl", "scipy", "torch_geometric", "torch_sparse")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
LINE_BYTES = 64
MOST_BYTES = 1 << 30
READS_PER_LINE = 2
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Two constants of the memory, with a number of threads together.

    Attributes:
        lines_per_s: independent reads of random cache lines.
        bytes_per_s: one long read.
    """

    lines_per_s: float
    bytes_per_s: float

    def seconds(self, lines: float, streamed_bytes: float = 0) -> float:
        """The least time for so many random lines and so many bytes in order."""
        return lines / self.lines_per_s + streamed_bytes / self.bytes_per_s


@cache
def measure_limits(size_bytes: int, num_threads: int) -> Limits:
    """The limits for an array of this size in huge pages, at most 1 GiB of it."""
    words = np.ones(max(min(size_bytes, MOST_BYTES) // 8, 8), np.uint64)
    reads = max(len(words) // 8 * READS_PER_LINE, 1)
    lines = timed(
        lambda number: kernels.sum_random_lines(words, reads, num_threads), lambda _: reads
    )
    stream = timed(lambda number: kernels.sum_stream(words, num_threads), lambda _: words.nbytes)
    rates = race({"lines": lines, "stream": stream}, ROUNDS, warmup=1)
    return Limits(rates["lines"], rates["stream"])


def lines_drawn(graph: Graph, blocks: Sequence[Block]) -> float:
    """Cache lines that a sample must read: one per node for its offsets, and of its neighbors'.

    k picks among m lines touch m (1 - (1 - 1/m)^k) of them.
    """
    total, bytes_each = 0.0, graph.indices.itemsize
    for block in blocks:
        degrees = block.dst_degrees().numpy()
        m = np.maximum(-(-degrees * bytes_each // LINE_BYTES), 1)
        picks: NDArray[Any] = block.in_degrees().numpy()
        total += len(degrees) + float((m * (1 - (1 - 1 / m) ** picks)).sum())
    return total


def machine(limits: dict[int, Limits] | None = None) -> dict[str, Any]:
    """What the numbers were measured on; `limits` by number of threads."""
    measured = {
        "random_line_ns": {str(n): 1e9 / each.lines_per_s for n, each in (limits or {}).items()},
        "stream_gb_per_s": {str(n): each.bytes_per_s / 1e9 for n, each in (limits or {}).items()},
    }
    return {
        "cpu": _cpu_model(),
        "cores": kernels.default_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "huge_pages": THP.read_text().strip() if THP.exists() else "none",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        **(measured if limits else {}),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
