"""From files to a collection of many small graphs."""

from sampling.graph.ingest_graphs.config import GraphsReport, IngestGraphsConfig
from sampling.graph.ingest_graphs.run import ingest_graphs

__all__ = ["GraphsReport", "IngestGraphsConfig", "ingest_graphs"]
