"""What happened so far, in numbers that only grow: two readings make a rate and a latency.

The same counts as `/metrics`, of all workers, in the shape that a page can subtract: requests,
and how many of them, and of the batches, took how long in each stage.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from prometheus_client.metrics_core import Metric

from service.cache import CacheStats
from service.telemetry import Telemetry

__all__ = ["stats_of"]


def stats_of(telemetry: Telemetry, cache: CacheStats, queue_depth: int) -> dict[str, Any]:
    """The answer of `GET /v1/stats`."""
    metrics = {metric.name: metric for metric in telemetry.collected().collect()}
    requests = _values(metrics, "gnn_requests", "_total")
    bounds, routes = _histograms(metrics.get("gnn_request_seconds"), "route")
    _, stages = _histograms(metrics.get("gnn_stage_seconds"), "stage")
    return {
        "time_s": time.time(),
        "bounds_s": bounds,
        "requests": [labels | {"count": int(value)} for labels, value in requests],
        "routes": routes,
        "stages": stages,
        "answers": {
            labels["source"]: int(value)
            for labels, value in _values(metrics, "gnn_answers", "_total")
        },
        "sampled_edges": sum(int(v) for _, v in _values(metrics, "gnn_sampled_edges", "_total")),
        "queue_depth": queue_depth,
        "cache": {"entries": cache.entries, "size_bytes": cache.size_bytes},
    }


def _values(
    metrics: dict[str, Metric], name: str, suffix: str
) -> list[tuple[dict[str, str], float]]:
    samples = metrics[name].samples if name in metrics else []
    return [(s.labels, s.value) for s in samples if s.name == f"{name}{suffix}"]


def _histograms(metric: Metric | None, label: str) -> tuple[list[float], list[dict[str, Any]]]:
    """Upper bounds without the last, infinite one, and per label how many fell below each."""
    below: dict[str, dict[float, int]] = defaultdict(dict)
    sums: dict[str, float] = {}
    for sample in metric.samples if metric else ():
        name = sample.labels[label]
        if sample.name.endswith("_bucket"):
            below[name][float(sample.labels["le"])] = int(sample.value)
        elif sample.name.endswith("_sum"):
            sums[name] = sample.value
    bounds = sorted({bound for counts in below.values() for bound in counts})
    listed = []
    for name, counts in sorted(below.items()):
        rising = [counts.get(bound, 0) for bound in bounds]
        within = [b - a for a, b in zip([0, *rising], rising, strict=False)]
        listed.append(
            {label: name, "count": rising[-1], "sum_s": sums.get(name, 0.0), "buckets": within}
        )
    return bounds[:-1], listed
