"""Traces reach a collector, hang together, and cost nothing while there is none."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from inprocess import in_process
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from world import World

from service.tracing import open_tracing

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CARRIED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP as a collector does, and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        super().__init__(("127.0.0.1", 0), Receiver)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        assert self.path == "/v1/traces"
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert names["service.name"] == "gnn-service"
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def by_name(spans: list[Any], name: str) -> list[Any]:
    return [span for span in spans if span.name == name]


def test_a_request_goes_on_with_its_trace_and_links_to_its_batch(world: World):
    with collecting() as collector:
        settings = world.settings(otlp_endpoint=collector.url)
        with in_process(settings) as service:
            body = {"nodes": [105, 106], "mode": "sampled"}
            answer = service.post("/v1/nodes/predict", json=body, headers=CARRIED)
            assert answer.status_code == 200
            assert service.post("/v1/nodes/predict", json=body).status_code == 200
            assert service.get("/v1/graph").status_code == 200
            assert service.post("/v1/nodes/predict", json={"nodes": [1]}).status_code == 422
    spans = collector.spans
    first, second, refused = by_name(spans, "POST /v1/nodes/predict")
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert second.trace_id != first.trace_id
    assert not second.parent_span_id
    attributes = {a.key: a.value for a in refused.attributes}
    assert attributes["http.response.status_code"].int_value == 422
    [batch] = by_name(spans, "batch")
    counts = {a.key: a.value.int_value for a in batch.attributes}
    assert (counts["gnn.requests"], counts["gnn.nodes"]) == (1, 2)
    assert counts["gnn.edges"] > 0
    children = [span for span in spans if span.parent_span_id == first.span_id]
    assert [span.name for span in children] == ["queue", "sample", "gather", "compute"]
    for child in children:
        assert child.trace_id == first.trace_id
        linked = [link.span_id for link in child.links]
        assert linked == ([] if child.name == "queue" else [batch.span_id])
        assert first.start_time_unix_nano <= child.start_time_unix_nano
        assert child.end_time_unix_nano <= first.end_time_unix_nano
    assert [span.name for span in spans if span.parent_span_id == batch.span_id] == [
        "sample", "gather", "compute"]  # fmt: skip
    assert abs(first.start_time_unix_nano / 1e9 - time.time()) < 600
    assert by_name(spans, "GET /v1/graph")


@pytest.mark.parametrize("given", ["", "garbage", f"00-{'0' * 32}-{PARENT}-01", "x" * 5000])
def test_a_trace_that_is_none_begins_a_new_one(world: World, given: str):
    with collecting() as collector:
        settings = world.settings(otlp_endpoint=collector.url)
        with in_process(settings) as service:
            headers = {"traceparent": given}
            body = {"nodes": [105]}
            assert service.post("/v1/nodes/predict", json=body, headers=headers).status_code == 200
    [span] = by_name(collector.spans, "POST /v1/nodes/predict")
    assert not span.parent_span_id
    assert any(span.trace_id)


def test_a_trace_that_is_not_sampled_is_not_sent(world: World):
    with collecting() as collector:
        settings = world.settings(otlp_endpoint=collector.url)
        with in_process(settings) as service:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
            body = {"nodes": [105]}
            assert service.post("/v1/nodes/predict", json=body, headers=headers).status_code == 200
    assert not by_name(collector.spans, "POST /v1/nodes/predict")


def test_a_collector_that_is_away_costs_no_answer(world: World):
    with collecting() as collector:
        gone = collector.url
    with in_process(world.settings(otlp_endpoint=gone, cache_bytes=0)) as service:
        for _ in range(50):
            assert service.post("/v1/nodes/predict", json={"nodes": [105]}).status_code == 200


def test_nothing_of_it_is_imported_where_no_traces_are_wanted():
    assert open_tracing(None) is None
    check = ("import service.app, sys; print([m for m in sys.modules "
             "if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])")  # fmt: skip
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
