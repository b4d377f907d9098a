"""Chunks of edges between ids become the adjacency between dense nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import InputError, ParseError
from sampling.graph.edge_features import packed_rows
from sampling.graph.edges import Edges, EdgeSink, EdgeTypes, dense_nodes, mirror
from sampling.graph.ingest.config import Clock, IngestConfig, Reports
from sampling.graph.ingest.inputs import Inputs
from sampling.graph.ingest.numbering import id_kind_of
from sampling.graph.ingest.typed import constant
from sampling.graph.linksets import HeldOut, LinkSet
from sampling.graph.memory import MemoryBudget
from sampling.graph.meta import ArrayInfo
from sampling.graph.nodes import Nodes
from sampling.graph.readers.ahead import read_ahead
from sampling.graph.readers.source import EdgeChunk, EdgeSource

__all__ = ["EDGE_BYTES", "NODE_BYTES", "Adjacency", "write_edges"]

NODE_BYTES, EDGE_BYTES = 24, 8
CHUNK_EDGE_BYTES, CHUNK_COLUMN_BYTES = 200, 48


@dataclass(slots=True)
class _Dangling:
    """Edges whose nodes are in no list."""

    count: int = 0
    first: str = ""

    def note(self, source: EdgeSource, chunk: EdgeChunk, src: Any, dst: Any) -> None:
        bad = np.flatnonzero((src < 0) | (dst < 0))
        if not self.count:
            row = int(bad[0])
            ids = chunk.src if src[row] < 0 else chunk.dst
            key = ids[row].as_py() if isinstance(ids, pa.Array) else int(ids[row])
            self.first = f"{source.path}, row {chunk.first_row + row}: node id {key!r}"
        self.count += len(bad)

    def error(self) -> InputError:
        edges = "1 edge names" if self.count == 1 else f"{self.count} edges name"
        return InputError(f"{self.first} is not listed ({edges} nodes that are not); add them to "
                          "the nodes file, or choose --on-dangling drop or create")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adjacency:
    """What was written of the edges."""

    arrays: dict[str, ArrayInfo]
    num_edges: int
    edge_types: tuple[str, ...]
    facts: dict[str, Any]
    links: LinkSet | None = None


def write_edges(
    config: IngestConfig, inputs: Inputs, nodes: Nodes, budget: MemoryBudget, temporary: Path
) -> Reports:
    """Write indptr, indices and what goes with edges; returns their `Adjacency`."""
    n = nodes.ids.num_nodes
    chunk = inputs.chunk_rows * (CHUNK_EDGE_BYTES + CHUNK_COLUMN_BYTES * inputs.d_edge)
    left = budget.reserve(n * NODE_BYTES + chunk, f"arrays over {n} nodes")
    types, held_out = EdgeTypes(), HeldOut(left // 4)
    left -= left // 4 if _may_hold_out(inputs) else 0
    with EdgeSink(temporary, n, left, types, config.threads) as sink:
        facts = yield from _fill(config, inputs, nodes, sink, held_out)
        clock = Clock("build")
        mirrored = bool(facts["mirrored"])
        drop = config.duplicates == "drop" or (config.duplicates == "auto" and mirrored)
        for done in sink.finish(drop_duplicates=drop):
            yield clock.report(done)
        facts["duplicate_edges_dropped"] = sink.num_duplicates
        links = held_out.finish(types.final(), drop_duplicates=drop)
        return Adjacency(sink.arrays, sink.num_edges, types.names, facts, links)


def _may_hold_out(inputs: Inputs) -> bool:
    return bool(inputs.links) or any(source.has_split for source in inputs.edges)


def _fill(
    config: IngestConfig, inputs: Inputs, nodes: Nodes, sink: EdgeSink, held_out: HeldOut
) -> Reports:
    """Put all edges into the sink; says what became of them."""
    clock, dangling, read, mirrored = Clock("edges"), _Dangling(), 0, False
    present: set[tuple[bool, bool, bool]] = set()
    for source in inputs.edges:
        with closing(read_ahead(source.read(id_kind_of(nodes), inputs.chunk_rows))) as chunks:
            for chunk in _with_rows(chunks, inputs):
                present.add((chunk.type is None, chunk.time is None, chunk.weight is None))
                _check_columns(present, source)
                edges, split = _translate(config, source, chunk, nodes, sink.types, dangling)
                if edges is not None and split is not None and (split > 1).any():
                    _hold_out(held_out, edges.take(split > 1), split[split > 1], 1)
                    edges = edges.take(split < 2)
                both = config.undirected or chunk.mirrored
                mirrored |= both
                if edges is not None:
                    _keep(config, sink, edges, source, both)
                read += len(chunk.src)
                del edges, chunk
                yield clock.report(read, inputs.num_edges)
    for link in inputs.links:
        with closing(read_ahead(link.source.read(id_kind_of(nodes), inputs.chunk_rows))) as chunks:
            for chunk in chunks:
                edges, split = _translate(config, link.source, chunk, nodes, sink.types, dangling)
                if edges is not None and split is not None:
                    edges = edges.take(split == link.split)
                if edges is not None:
                    _hold_out(held_out, edges, link.split, link.label)
                read += len(chunk.src)
                yield clock.report(read, None)
    if dangling.count and config.on_dangling == "error":
        raise dangling.error()
    sink.types.check_inverses()
    return {
        "edges_read": read,
        "mirrored": mirrored,
        "dangling_edges_dropped": dangling.count,
    }


def _with_rows(chunks: Iterable[EdgeChunk], inputs: Inputs) -> Iterator[EdgeChunk]:
    """The chunks, with features that a file beside them holds."""
    if inputs.edge_rows is None:
        yield from chunks
        return
    for chunk in chunks:
        yield inputs.edge_rows.attach(chunk)
    inputs.edge_rows.check_all_read()


def _inverse(edges: Edges, types: EdgeTypes, source: EdgeSource, mirrored: bool) -> Edges:
    """The same edges backwards, each of the inverse of its type; self-loops too."""
    if mirrored:
        raise InputError(f"the edges of {source.path.name} run both ways already; leave "
                         "--reverse-edges out")  # fmt: skip
    assert edges.type is not None, "reversed edges are typed"
    return edges._replace(src=edges.dst, dst=edges.src, type=types.invert(edges.type))


def _check_columns(present: set[tuple[bool, bool, bool]], source: EdgeSource) -> None:
    if len(present) > 1:
        raise ParseError(source.path, "has other columns of type, time and weight than the files "
                         "of edges before it; give all of them the same")  # fmt: skip


def _translate(
    config: IngestConfig,
    source: EdgeSource,
    chunk: EdgeChunk,
    nodes: Nodes,
    types: EdgeTypes,
    dangling: _Dangling,
) -> tuple[Edges | None, NDArray[np.uint8] | None]:
    """A chunk between dense nodes, with its splits; None once an edge must not be."""
    src = dense_nodes(nodes.ids, chunk.src, config.threads)
    dst = dense_nodes(nodes.ids, chunk.dst, config.threads)
    names = chunk.type
    if names is None and config.reverse_edges:
        names = constant("edge", len(src))
    type_ = None if names is None else types.encode(names)
    features = None if chunk.features is None else packed_rows(chunk.features)
    edges, split = Edges(src, dst, type_, chunk.time, chunk.weight, features), chunk.split
    if src.min(initial=0) < 0 or dst.min(initial=0) < 0:
        dangling.note(source, chunk, src, dst)
        inside = (src >= 0) & (dst >= 0)
        edges, split = edges.take(inside), None if split is None else split[inside]
    refused = dangling.count and config.on_dangling == "error"
    return (None, None) if refused else (edges, split)


def _keep(
    config: IngestConfig, sink: EdgeSink, edges: Edges, source: EdgeSource, both: bool
) -> None:
    """Put messages into the sink, with those that run back where there are such."""
    sink.add(edges)
    if both:
        sink.add(mirror(edges))
    if config.reverse_edges:
        sink.add(_inverse(edges, sink.types, source, both))


def _hold_out(held_out: HeldOut, edges: Edges, split: Any, label: int) -> None:
    held_out.add(edges.src, edges.dst, split, label, edges.type, edges.time)
