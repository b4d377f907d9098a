"""How much memory this process may use: what the machine, its control groups and the user allow."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import psutil

from sampling.errors import InputError

__all__ = ["MINIMUM_BYTES", "MemoryBudget", "allowed_bytes", "release"]

MINIMUM_BYTES = 512 << 20
SHARE = 0.6
SLACK = 0.85
WORKING_BYTES = 32 << 20
UNLIMITED = 1 << 60
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """A bound on the resident bytes of the process, and what was resident at the start.

    Attributes:
        limit_bytes: the bound.
        start_bytes: resident when the work began: the interpreter and its libraries.
    """

    limit_bytes: int
    start_bytes: int

    @classmethod
    def of(cls, limit_bytes: int | None) -> MemoryBudget:
        """The user's bound, or a share of what is available now.

        Raises:
            InputError: the bound is below what an ingest needs.
        """
        if limit_bytes is not None and limit_bytes < MINIMUM_BYTES:
            raise InputError(
                f"a memory bound of {limit_bytes >> 20} MiB is too small; "
                f"give at least {MINIMUM_BYTES >> 20} MiB"
            )
        start = int(psutil.Process().memory_info().rss)
        limit = limit_bytes or max(start + int(SHARE * allowed_bytes()), MINIMUM_BYTES)
        return cls(limit, start)

    def free(self) -> int:
        """Bytes that more arrays may take now, with some slack for what nobody counts."""
        release()
        resident = int(psutil.Process().memory_info().rss)
        return max(int((self.limit_bytes - resident) * SLACK), 0)

    def reserve(self, num_bytes: int, what: str) -> int:
        """Bytes that are left beside arrays that must be held whole.

        Raises:
            InputError: they cannot be held; says how much is missing.
        """
        left = self.free() - num_bytes
        if left < WORKING_BYTES:
            needed = self.limit_bytes + int((WORKING_BYTES - left) / SLACK)
            raise InputError(
                f"{what} do not fit the memory bound of {self.limit_bytes >> 20} MiB; "
                f"raise it to at least {(needed >> 20) + 1} MiB"
            )
        return left


def allowed_bytes() -> int:
    """Bytes that this process can still take: free on the machine and in its control group."""
    free = int(psutil.virtual_memory().available)
    v2 = _left(CGROUP / "memory.max", CGROUP / "memory.current")
    v1 = _left(CGROUP / "memory/memory.limit_in_bytes", CGROUP / "memory/memory.usage_in_bytes")
    return min(free, v2, v1)


def release() -> None:
    """Give freed memory back to the system where the C library can (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _left(limit: Path, used: Path) -> int:
    try:
        return max(int(limit.read_text()) - int(used.read_text()), 0)
    except (OSError, ValueError):
        return UNLIMITED
