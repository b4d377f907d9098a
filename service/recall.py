"""The second tier on a query's way: what memory does not have, the shared cache may.

plan: table, memory ─▶ recall: Redis ─▶ compute the rest ─▶ keep: memory, Redis
"""

from __future__ import annotations

import asyncio

import numpy as np

from service.cache import Row
from service.microbatch import Computed
from service.plan import CACHE, Plan, Work
from service.predictor import Predictor
from service.shared import RedisCache

__all__ = ["keep", "recall"]


async def recall(plan: Plan, predictor: Predictor, shared: RedisCache) -> None:
    """Fill in what the shared cache has; `plan.work` is what is left to compute."""
    works = [work for work in plan.work if work.key.is_cacheable]
    found = await asyncio.gather(
        *(shared.get_many(predictor.space(w.key), w.nodes.tolist()) for w in works)
    )
    for work, rows in zip(works, found, strict=True):
        _settle(plan, predictor, work, rows)


def keep(work: Work, computed: Computed, predictor: Predictor, shared: RedisCache) -> None:
    """Give the shared cache what was computed; nobody waits for it."""
    if work.key.is_cacheable:
        shared.keep(predictor.space(work.key), work.nodes.tolist(), computed.rows)


def _settle(plan: Plan, predictor: Predictor, work: Work, rows: list[Row | None]) -> None:
    """Put the rows that were found; the model's digest is in their key, its width is checked."""
    width = work.key.model.saved.model.d_embedding
    hit = np.array([row is not None and len(row) == width for row in rows], np.bool_)
    if not hit.any():
        return
    here = np.flatnonzero(hit)
    known = np.stack([row for i in here.tolist() if (row := rows[i]) is not None])
    predictor.keep(work.key, work.nodes[here], known)
    filled = hit[work.pick]
    plan.put(work.places[filled], known[(np.cumsum(hit) - 1)[work.pick[filled]]], CACHE)
    plan.work.remove(work)
    if not hit.all():
        plan.work.append(work.only(~hit))
