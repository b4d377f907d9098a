"""Contenders that take turns at the same work, so that a slow minute of the machine hits all.

A rate is the median over rounds of units done per second; the first rounds warm caches, thread
pools and allocators and are not counted. Before every turn there is a short rest, in which the
threads that the last contender left spinning fall asleep. A turn takes long enough for caches and
sleeping cores to be as they are in steady work.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Contender", "race", "row", "threads_in_words", "timed"]

Contender = Callable[[int], float]
"""Does the work of one round and returns units per second; `timed` makes one."""

REST_S = 0.02


def timed(work: Callable[[int], Any], units: Callable[[Any], int]) -> Contender:
    """A contender from work on a round's number and the count of units in what it returned."""

    def rate(number: int) -> float:
        started = time.perf_counter()
        result = work(number)
        return units(result) / max(time.perf_counter() - started, 1e-9)

    return rate


def race(contenders: Mapping[str, Contender], rounds: int, warmup: int) -> dict[str, float]:
    """Median units per second of every contender, by name."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warmup + rounds):
        for name, rate in contenders.items():
            time.sleep(REST_S)
            found = rate(number)
            if number >= warmup:
                rates[name].append(found)
    return {name: statistics.median(values) for name, values in rates.items()}


def row(
    work: str, unit: str, rates: Mapping[str, float], limit: float | None = None, **more: Any
) -> dict[str, Any]:
    """One row of a result, from the rates of "ours" and of peers; above 1, ours is better.

    Args:
        work: what was done, in words.
        unit: of the rates.
        rates: by name.
        limit: the rate that the memory of this machine allows by its measured limits.
        more: further entries of the row.
    """
    ours = rates["ours"]
    peers = {
        name: {"value": rate, "ratio": ours / rate}
        for name, rate in rates.items()
        if name != "ours"
    }
    bound = {} if limit is None else {"limit": {"value": limit, "fraction": ours / limit}}
    return {"work": work, "unit": unit, "ours": ours, "peers": peers, **bound, **more}


def threads_in_words(num_threads: int) -> str:
    """As in "1 thread" and "2 threads"."""
    return f"{num_threads} thread{'s' if num_threads > 1 else ''}"
