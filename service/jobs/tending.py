"""What every server process does beside answering: notices published tables, forgets old jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from service.errors import JobStoreError
from service.jobs.door import JobDoor

__all__ = ["tending"]

LOOK_S = 0.5
SWEEP_S = 60.0

log = structlog.get_logger()


@asynccontextmanager
async def tending(door: JobDoor, verify: bool) -> AsyncIterator[None]:
    """Look after published tables and old jobs while the context lives.

    Args:
        door: the jobs.
        verify: read every byte of the tables that are there at the start.
    """
    await asyncio.to_thread(door.published.look, verify)
    task = asyncio.create_task(_tend(door))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        door.queue.store.close()


async def _tend(door: JobDoor) -> None:
    swept = 0.0
    while True:
        await _safely(door.published.look)
        if time.monotonic() - swept > SWEEP_S:
            await _safely(door.sweep)
            swept = time.monotonic()
        await asyncio.sleep(LOOK_S)


async def _safely(work: Callable[[], object]) -> None:
    """Nothing that goes wrong here may end the service, or the next look."""
    try:
        await asyncio.to_thread(work)
    except JobStoreError as error:
        log.warning("jobs_unavailable", reason=str(error))
    except Exception as error:
        log.error("jobs_not_tended", exc_info=error)
