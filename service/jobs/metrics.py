"""Jobs as Prometheus sees them: read from the store at every scrape, so that any worker's answer is
that of all, and counts go on when rows are forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gnn.embeddings import MANIFEST
from service.errors import JobStoreError
from service.jobs.door import JobDoor
from service.jobs.job import STATES
from service.registry import ModelRegistry

__all__ = ["render_jobs"]

KINDS = ("embed", "predict")
ENDS = ("done", "failed", "canceled")

log = structlog.get_logger()


def render_jobs(door: JobDoor) -> bytes:
    """The Prometheus text about jobs and tables; without jobs where the store is out of reach."""
    registry = CollectorRegistry()
    registry.register(_Fixed(_tables(door.predictor.registry)))
    try:
        registry.register(_Fixed(_jobs(door)))
    except JobStoreError as error:
        log.warning("jobs_unavailable", reason=str(error))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def _jobs(door: JobDoor) -> Iterator[Metric]:
    counts, totals = door.queue.store.counts(), door.queue.store.totals()
    states = GaugeMetricFamily("gnn_jobs", "Jobs that are kept, by state.", labels=["state"])
    for state in STATES:
        states.add_metric([state], counts.get(state, 0))
    yield states
    yield _seconds(totals)
    rows = CounterMetricFamily("gnn_job_rows", "Rows of finished jobs.", labels=["kind"])
    for kind in KINDS:
        rows.add_metric([kind], totals.get(f"rows.{kind}", 0.0))
    yield rows


def _seconds(totals: Mapping[str, float]) -> Metric:
    seconds = SummaryMetricFamily(
        "gnn_job_seconds", "Seconds from the first claim of a job to its end.",
        labels=["kind", "state"],
    )  # fmt: skip
    for kind in KINDS:
        for end in ENDS:
            count = totals.get(f"jobs.{kind}.{end}", 0.0)
            seconds.add_metric([kind, end], int(count), totals.get(f"seconds.{kind}.{end}", 0.0))
    return seconds


def _tables(registry: ModelRegistry) -> Iterator[Metric]:
    labels = ["model", "version", "table"]
    age = GaugeMetricFamily(
        "gnn_table_age_seconds", "Seconds since the embedding table served was made.", labels=labels
    )
    for name in registry.names:
        model = registry.opened(name)
        if model is not None and model.table is not None:
            path = model.table.path
            made = (path / MANIFEST).stat().st_mtime if (path / MANIFEST).exists() else time.time()
            age.add_metric([name, str(model.version), path.name], max(0.0, time.time() - made))
    yield age
