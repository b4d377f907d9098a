"""What changes without a restart: the models directory and the routing file are looked at.

A version that `gnn train` has published is loaded and computes a test prediction in a thread; only
then it answers. Requests under way keep the model that they began with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from service.rollout import Rollout

__all__ = ["watching"]

LOOK_S = 0.25
"""Between two looks at the routing file: how much later other workers follow."""

log = structlog.get_logger()


@asynccontextmanager
async def watching(rollout: Rollout, every_s: float) -> AsyncIterator[None]:
    """Follow the routing file, and the models directory unless `every_s` is 0."""
    task = asyncio.create_task(_watch(rollout, every_s))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(rollout: Rollout, every_s: float) -> None:
    looked = time.monotonic()
    while True:
        await asyncio.sleep(min(LOOK_S, every_s or LOOK_S))
        try:
            await asyncio.to_thread(rollout.look)
            if every_s and time.monotonic() - looked >= every_s:
                await asyncio.to_thread(rollout.refresh)
                looked = time.monotonic()
        except Exception as error:
            # a directory that is away for a moment, say: what is open goes on answering
            log.error("models_not_read", exc_info=error)
