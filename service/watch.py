"""New models without a restart: the models directory is looked at every few seconds.

A version that `gnn train` has published is loaded and computes a test prediction in a thread; only
then it answers. Requests under way keep the model that they began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from service.predictor import Predictor
from service.registry import ServedModel

__all__ = ["watching"]

log = structlog.get_logger()


@asynccontextmanager
async def watching(
    predictor: Predictor, every_s: float, on_change: Callable[[ServedModel], None]
) -> AsyncIterator[None]:
    """Follow the models directory; never, where `every_s` is 0."""
    task = asyncio.create_task(_watch(predictor, every_s, on_change)) if every_s else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _watch(
    predictor: Predictor, every_s: float, on_change: Callable[[ServedModel], None]
) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            for model in await asyncio.to_thread(predictor.registry.refresh, predictor.test):
                on_change(model)
        except Exception as error:
            # a directory that is away for a moment, say: what is open goes on answering
            log.error("models_not_read", exc_info=error)
