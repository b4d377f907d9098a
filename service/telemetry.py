"""What the service says of itself: Prometheus metrics and JSON log lines.

One registry per application. With several workers every process writes its values to a shared
directory (`PROMETHEUS_MULTIPROC_DIR`, which the server sets) and a scrape of any one of them
adds them up.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from service.cache import CacheStats
from service.microbatch import Batch
from service.plan import SOURCES
from service.shared import OUTCOMES

__all__ = ["STAGES", "Seen", "Telemetry", "configure_logging"]

STAGES = ("queue", "sample", "gather", "compute")
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COUNTS = tuple(4**k for k in range(12))


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at when the metrics are asked for.

    Attributes:
        cache: embeddings in memory.
        hidden_bytes: bytes for rows between layers.
        queue_depth: requests that wait.
        queue_cost_edges: edges that they will read.
        tables: model → whether it answers from a fresh table.
    """

    cache: CacheStats
    hidden_bytes: int = 0
    queue_depth: int = 0
    queue_cost_edges: int = 0
    tables: Mapping[str, bool] = field(default_factory=dict)


class Telemetry:
    """The metrics of one application, documented in `docs/rest.md`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "gnn_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._models: dict[str, tuple[str, str, str]] = {}
        self._of_route: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.request_seconds = Histogram(
            "gnn_request_seconds",
            "Seconds from the headers to the answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "gnn_stage_seconds",
            "Seconds per batch in each stage.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_requests = _counts(registry, "gnn_batch_requests", "Requests per batch.")
        self.batch_nodes = _counts(registry, "gnn_batch_nodes", "Distinct nodes per batch.")
        self.batch_cost = _counts(registry, "gnn_batch_cost_edges", "Predicted edges per batch.")
        self.frontier = Histogram(
            "gnn_frontier_nodes",
            "Nodes read after each hop, from the seeds (0) outwards.",
            ["hop"],
            buckets=COUNTS,
            registry=registry,
        )
        self.sampled_edges = Counter(
            "gnn_sampled_edges", "Edges read to compute.", registry=registry
        )
        self.answers = Counter(
            "gnn_answers", "Nodes answered for, by source.", ["source"], registry=registry
        )
        self._of_source = {source: self.answers.labels(source) for source in SOURCES}
        self.cache_hits = Counter("gnn_cache_hits", "Nodes found in the cache.", registry=registry)
        self.cache_misses = Counter(
            "gnn_cache_misses", "Nodes looked up in the cache in vain.", registry=registry
        )
        self.tier_rows = Counter(
            "gnn_tier_rows",
            "Rows looked up in a cache, by layer.",
            ["tier", "layer", "outcome"],
            registry=registry,
        )
        self.without_table = Counter(
            "gnn_without_table",
            "Nodes of mode auto that no fresh table answered.",
            registry=registry,
        )
        self.refused = Counter(
            "gnn_refused",
            "Requests refused since there was no room.",
            ["where"],
            registry=registry,
        )
        self.has_table = Gauge(
            "gnn_table_fresh",
            "Whether a model answers from a fresh table.",
            ["model"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.queue_cost = _gauge(registry, "gnn_queue_cost_edges", "Edges that wait to be read.")
        self.hidden_bytes = _gauge(
            registry, "gnn_hidden_cache_bytes", "Bytes of slots for rows between layers."
        )
        self.cache_bytes = _gauge(registry, "gnn_cache_bytes", "Bytes in the cache.")
        self.cache_entries = _gauge(registry, "gnn_cache_entries", "Embeddings in the cache.")
        self.cache_evictions = _gauge(
            registry, "gnn_cache_evictions", "Embeddings evicted from the cache since the start."
        )
        self.redis_rows = Counter(
            "gnn_redis_rows", "Embeddings by what Redis did.", ["outcome"], registry=registry
        )
        self._of_outcome = {outcome: self.redis_rows.labels(outcome) for outcome in OUTCOMES}
        self.redis_degraded = _gauge(
            registry, "gnn_redis_degraded", "Processes whose Redis is lost or full."
        )
        self.queue_depth = _gauge(registry, "gnn_queue_depth", "Requests that wait.")
        self.loop_lag = Gauge(
            "gnn_event_loop_lag_seconds",
            "The longest of the last minute that the event loop took to turn.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.graph_info = _gauge(
            registry, "gnn_graph_info", "The graph served.", ["name", "version", "fingerprint"]
        )
        self.model_info = _gauge(
            registry, "gnn_model_info", "Models served.", ["name", "version", "digest"]
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, method, status)
        if key not in self._of_route:
            counter = self.requests.labels(route, method, str(status))
            self._of_route[key] = (counter, self.request_seconds.labels(route))
        counter, histogram = self._of_route[key]
        counter.inc()
        histogram.observe(seconds)

    def batch(self, batch: Batch) -> None:
        """Count one computed batch."""
        self.batch_requests.observe(batch.num_requests)
        self.batch_nodes.observe(batch.num_nodes)
        self.batch_cost.observe(batch.cost_edges)
        self.sampled_edges.inc(batch.computed.sampled_edges)
        for layer, outcomes in batch.computed.hidden.items():
            self.looked_up("hidden", str(layer), *outcomes)
        for hop, nodes in enumerate(batch.computed.frontier):
            self.frontier.labels(str(hop)).observe(nodes)
        self.worked(batch.computed.seconds)

    def worked(self, stages: Mapping[str, float]) -> None:
        """Count the seconds of each stage."""
        for stage, seconds in stages.items():
            self.stage_seconds.labels(stage).observe(seconds)

    def queued(self, seconds: float) -> None:
        """Count how long one request waited."""
        self.stage_seconds.labels("queue").observe(seconds)

    def looked_up(self, tier: str, layer: str, hits: int, misses: int) -> None:
        """Count rows of a layer that a cache had, and had not."""
        for outcome, count in (("hit", hits), ("miss", misses)):
            if count:
                self.tier_rows.labels(tier, layer, outcome).inc(count)

    def untabled(self, count: int) -> None:
        """Count nodes that a fresh table would have answered."""
        if count:
            self.without_table.inc(count)

    def sources(self, counts: Iterable[tuple[str, int]]) -> None:
        """Count answered nodes by what answered."""
        for source, count in counts:
            if count:
                self._of_source[source].inc(count)
                if source == "cache":
                    self.cache_hits.inc(count)
                elif source == "computed":
                    self.cache_misses.inc(count)

    def model(self, name: str, version: int, digest: str) -> None:
        """Say which version of a model answers."""
        before = self._models.get(name)
        if before is not None:
            self.model_info.labels(*before).set(0)
        self._models[name] = (name, str(version), digest)
        self.model_info.labels(*self._models[name]).set(1)

    def redis(self, outcome: str, rows: int) -> None:
        """Count what Redis did with some rows."""
        if rows:
            self._of_outcome[outcome].inc(rows)
            if outcome in ("hit", "miss"):
                self.tier_rows.labels("redis", "last", outcome).inc(rows)

    def render(self, seen: Seen) -> bytes:
        """The Prometheus text of this process, or of all workers."""
        cache = seen.cache
        self.cache_bytes.set(cache.size_bytes)
        self.cache_entries.set(cache.entries)
        self.cache_evictions.set(cache.evictions)
        self.queue_depth.set(seen.queue_depth)
        self.queue_cost.set(seen.queue_cost_edges)
        self.hidden_bytes.set(seen.hidden_bytes)
        for model, is_fresh in seen.tables.items():
            self.has_table.labels(model).set(is_fresh)
        return generate_latest(self.collected())

    def collected(self) -> CollectorRegistry:
        """The metrics of this process, or of all workers."""
        if SHARED_DIRECTORY not in os.environ:
            return self.registry
        shared = CollectorRegistry()
        multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return shared


def configure_logging(level: str) -> None:
    """One JSON object per line on stderr, from this project and from the server under it."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # looked up anew, so that a stream that was replaced and closed is not written to
        logger_factory=lambda *_: _Lines(sys.stderr),
        cache_logger_on_first_use=False,
    )
    lines = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_dumps),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING))


class _Lines(structlog.WriteLogger):
    """Writes lines; one that the disk has no room for is lost, and not the request it is about."""

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg


def _dumps(event: object, **_: object) -> str:
    """One line of ASCII, whatever is in the event: what clients send cannot move a cursor."""
    return json.dumps(event, default=repr, separators=(",", ":"))


def _counts(registry: CollectorRegistry, name: str, help_text: str) -> Histogram:
    return Histogram(name, help_text, buckets=COUNTS, registry=registry)


def _gauge(
    registry: CollectorRegistry, name: str, help_text: str, labels: Iterable[str] = ()
) -> Gauge:
    return Gauge(name, help_text, labels, registry=registry, multiprocess_mode="livesum")
