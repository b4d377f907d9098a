"""Ingest: files of edges, nodes and features become a graph directory, in bounded memory."""

from __future__ import annotations

from sampling.graph.ingest.config import IngestConfig, IngestReport
from sampling.graph.ingest.run import ingest
from sampling.graph.ingest.typed import TypedFile

__all__ = ["IngestConfig", "IngestReport", "TypedFile", "ingest"]
