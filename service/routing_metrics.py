"""Which share of the requests a canary answers, and whether all workers follow what was set."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.errors import problem_of

__all__ = ["RoutingMetrics"]


class RoutingMetrics:
    """Documented in `docs/rest.md`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "gnn_canary_requests",
            "Requests for names that have a canary.",
            ["model", "version", "arm", "outcome"],
            registry=registry,
        )
        self.revision = Gauge(
            "gnn_routing_revision",
            "Revision of the routes that are followed, the lowest of all workers.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.unusable = Gauge(
            "gnn_routing_unusable",
            "Workers that cannot use the routing file, and follow what it was before.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def canary(self, name: str, version: int, arm: str, error: Exception | None) -> None:
        """Count a request for a name with a canary."""
        outcome = "answered"
        if error is not None:
            outcome = "failed" if problem_of(error).status >= 500 else "refused"
        self.requests.labels(name, str(version), arm, outcome).inc()
