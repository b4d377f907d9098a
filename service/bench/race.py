"""Contenders that take turns at the same work, so that a slow minute of the machine hits all.

A rate is the median over rounds of units done per second; the first rounds warm caches, thread
pools and allocators and are not counted.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from sampling import kernels

__all__ = ["Contender", "machine", "race", "row"]

Contender = Callable[[int], int]
"""Does the work of one round and returns how many units that was."""

PACKAGES = ("numpy", "torch", "dgl", "scipy")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def race(contenders: Mapping[str, Contender], rounds: int, warmup: int) -> dict[str, float]:
    """Median units per second of every contender, by name."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warmup + rounds):
        for name, work in contenders.items():
            started = time.perf_counter()
            units = work(number)
            seconds = time.perf_counter() - started
            if number >= warmup:
                rates[name].append(units / seconds)
    return {name: statistics.median(values) for name, values in rates.items()}


def row(work: str, unit: str, rates: Mapping[str, float]) -> dict[str, Any]:
    """One row of a result, from the rates of "ours" and of peers; above 1, ours is faster."""
    ours = rates["ours"]
    peers = {
        name: {"value": rate, "ratio": ours / rate}
        for name, rate in rates.items()
        if name != "ours"
    }
    return {"work": work, "unit": unit, "ours": ours, "peers": peers}


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": kernels.default_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "huge_pages": THP.read_text().strip() if THP.exists() else "none",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
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
