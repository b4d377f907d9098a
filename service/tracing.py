"""Traces of requests and batches, sent by OTLP over HTTP; nothing is imported unless asked for.

    request ─┬─ queue
             ├─ sample, gather, compute ···link···▶ batch, one for all requests that shared it
    batch ───┴─ sample, gather, compute

A request goes on with the trace that its `traceparent` names (W3C Trace Context), or begins one.
Its spans are made when it is answered, from the times that were taken anyway. A thread of the
SDK sends them; while no collector answers they are dropped, and no request waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Scope

from gnn.errors import MissingPackageError
from service.microbatch import Computed

__all__ = ["Tracing", "open_tracing"]

REMEDY = "install it with `pip install 'gnn-service[tracing]'`, or serve without --otlp"
PATH = "/v1/traces"
TIMEOUT_S = 2.0
EVERY_MS = 1000
SERVICE = {"service.name": "gnn-service"}
STAGES = ("sample", "gather", "compute")
NS = 1e9


class Tracing:
    """Makes spans. Close it with `close`.

    Args:
        provider: of the SDK.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace, self._provider = trace, provider
        self._tracer = provider.get_tracer("gnn-service")
        self._propagator = TraceContextTextMapPropagator()
        self._epoch_ns = time.time_ns() - round(time.perf_counter() * NS)

    def batch(self, started: float, num_requests: int, computed: Computed) -> Any:
        """The span of a batch that has been computed; gives what a request links to.

        Args:
            started: `time.perf_counter` at its beginning.
            num_requests: that it answers.
            computed: what came out.
        """
        attributes = {
            "gnn.requests": num_requests,
            "gnn.nodes": len(computed.rows),
            "gnn.edges": computed.sampled_edges,
        }
        span = self._tracer.start_span(
            "batch", context=self._trace.set_span_in_context(self._trace.INVALID_SPAN),
            start_time=self._ns(started), attributes=attributes,
        )  # fmt: skip
        self._stages(span, computed.seconds, started, ())
        span.end(self._ns(time.perf_counter()))
        return span.get_span_context()

    def request(
        self,
        scope: Scope,
        started: float,
        status: int,
        seconds: Mapping[str, float],
        batches: Sequence[Any],
    ) -> None:
        """The spans of a request that has been answered."""
        ended = time.perf_counter()
        route = getattr(scope.get("route"), "path_format", "unmatched")
        span = self._tracer.start_span(
            f"{scope['method']} {route}",
            context=self._propagator.extract(_carried(scope)),
            kind=self._trace.SpanKind.SERVER,
            start_time=self._ns(started),
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
            },
        )
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        if seconds:
            waited = started + seconds.get("queue", 0.0)
            self._child(span, "queue", started, waited, ())
            links = [self._trace.Link(batch) for batch in batches]
            self._stages(span, seconds, waited, links)
        span.end(self._ns(ended))

    def close(self) -> None:
        """Send what is left, within a moment, and stop."""
        self._provider.shutdown()

    def _stages(
        self, parent: Any, seconds: Mapping[str, float], started: float, links: Sequence[Any]
    ) -> None:
        """A child for every stage, one after the other."""
        for stage in STAGES:
            if stage in seconds:
                ended = started + seconds[stage]
                self._child(parent, stage, started, ended, links)
                started = ended

    def _child(
        self, parent: Any, name: str, started: float, ended: float, links: Sequence[Any]
    ) -> None:
        context = self._trace.set_span_in_context(parent)
        span = self._tracer.start_span(
            name, context=context, start_time=self._ns(started), links=links
        )
        span.end(self._ns(ended))

    def _ns(self, moment: float) -> int:
        return self._epoch_ns + round(moment * NS)


def open_tracing(endpoint: str | None) -> Tracing | None:
    """Tracing to a collector, as in http://127.0.0.1:4318; None where there is none.

    Raises:
        MissingPackageError: the SDK of OpenTelemetry, or its exporter, is not installed.
    """
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingPackageError(
            "opentelemetry-exporter-otlp-proto-http", error, REMEDY
        ) from error
    # what it says of a collector that is away would fill the log
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + PATH, timeout=TIMEOUT_S)
    provider = TracerProvider(resource=Resource.create(SERVICE), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, schedule_delay_millis=EVERY_MS, export_timeout_millis=1e3 * TIMEOUT_S
        )
    )
    return Tracing(provider)


def _carried(scope: Scope) -> dict[str, str]:
    """The trace that a request came with."""
    wanted = (b"traceparent", b"tracestate")
    return {
        name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted
    }
