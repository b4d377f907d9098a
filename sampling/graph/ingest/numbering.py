"""Which nodes there are, and their dense numbers: listed, declared, or named by edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sampling.errors import InputError, ParseError
from sampling.graph.edges import dense_nodes
from sampling.graph.idset import IdCollector
from sampling.graph.ingest.config import Clock, IngestConfig, Reports
from sampling.graph.ingest.inputs import Inputs, as_text
from sampling.graph.memory import MemoryBudget
from sampling.graph.nodes import Nodes, nodes_from_ids, nodes_from_range, read_nodes, strings_of
from sampling.graph.readers.ahead import read_ahead
from sampling.graph.readers.csv import integer_or_text
from sampling.graph.readers.source import Ids
from sampling.graph.readers.text import BadValueError

__all__ = ["id_kind_of", "number_nodes"]


def number_nodes(config: IngestConfig, inputs: Inputs, budget: MemoryBudget) -> Reports:
    """Nodes in dense order: listed, declared, or named by edges."""
    if not inputs.nodes:
        return (yield from _nodes_of_edges(config, inputs, budget))
    clock, nodes = Clock("nodes"), None
    for step in _read_nodes(config, inputs):
        if isinstance(step, Nodes):
            nodes = step
        else:
            yield clock.report(step)
    assert nodes is not None
    if config.on_dangling == "create":
        nodes = yield from _create_missing(config, inputs, nodes, budget)
    return nodes


def _read_nodes(config: IngestConfig, inputs: Inputs) -> Iterator[int | Nodes]:
    try:
        yield from read_nodes(inputs.nodes, inputs.chunk_rows)
    except BadValueError as error:
        _check_can_be_text(config, error)
        texts = [as_text(source) for source in inputs.nodes]
        for step in read_nodes(texts, inputs.chunk_rows):
            if isinstance(step, Nodes) and step.ids.is_string:
                _refuse_mixture(strings_of(step.ids), error)
            yield step


def _check_can_be_text(config: IngestConfig, error: BadValueError) -> None:
    integer_or_text(error)
    if config.id_type == "int":
        raise error


def _refuse_mixture(ids: pa.Array, error: BadValueError) -> None:
    """Refuse text among integers: it is a typing error far more often than a key.

    Raises:
        ParseError: some ids are integers and some are not.
    """
    if pc.any(pc.match_substring_regex(ids, r"^[+-]?[0-9]+$")).as_py():
        raise ParseError(
            error.path,
            f"column {error.column!r} holds {error.value[:80]!r} where other ids are integers; "
            "correct it, or pass --id-type string if ids are text",
            error.row,
        )


def _nodes_of_edges(config: IngestConfig, inputs: Inputs, budget: MemoryBudget) -> Reports:
    declared = [s.declared for s in inputs.with_ids]
    if all(d is not None for d in declared) and _cover(declared) is not None:
        span = _cover(declared)
        assert span is not None
        return nodes_from_range(span)
    ids = yield from _collect(config, inputs, budget)
    rows = inputs.feature_rows
    if rows is not None and not isinstance(ids, pa.Array) and _inside(ids, rows):
        return nodes_from_range(range(rows))
    if not len(ids):
        names = ", ".join(source.path.name for source in inputs.edges)
        raise InputError(f"{names} holds no edges, and there is no nodes file; give at least one "
                         "of them rows")  # fmt: skip
    return nodes_from_ids(ids)


def _cover(spans: Sequence[range | None]) -> range | None:
    """The one range that several ranges make together, if they do."""
    present = sorted((s for s in spans if s is not None), key=lambda s: s.start)
    if not present:
        return None
    start, stop = present[0].start, present[0].stop
    for span in present[1:]:
        if span.start > stop:
            return None
        stop = max(stop, span.stop)
    return range(start, stop)


def _inside(ids: Any, rows: int) -> bool:
    return not len(ids) or (int(ids[0]) >= 0 and int(ids[-1]) < rows)


def _collect(config: IngestConfig, inputs: Inputs, budget: MemoryBudget) -> Reports:
    """Sorted distinct ids of all edges: integers where all are, else strings."""
    kinds = {s.id_kind for s in inputs.with_ids}
    if {"int", "string"} <= kinds:
        raise InputError("some files have integer ids and some strings; all files must agree")
    try:
        kind = "string" if "string" in kinds else "int"
        return (yield from _collect_as(kind, config, inputs, budget))
    except BadValueError as error:
        if error.column not in _id_columns(inputs):
            raise
        _check_can_be_text(config, error)
        if kinds != {"text"}:
            raise
        bad = error
    ids = yield from _collect_as("string", config, inputs, budget)
    _refuse_mixture(ids, bad)
    return ids


def _id_columns(inputs: Inputs) -> set[str]:
    return {name for source in inputs.with_ids for name in source.id_columns}


def _collect_as(kind: str, config: IngestConfig, inputs: Inputs, budget: MemoryBudget) -> Reports:
    collector = IdCollector(budget.free(), num_threads=config.threads)
    clock, done = Clock("ids"), 0
    for source in inputs.with_ids:
        if source.declared is not None:
            collector.add_range(source.declared)
            continue
        with closing(read_ahead(source.read(kind, inputs.chunk_rows))) as chunks:
            for chunk in chunks:
                collector.add(chunk.src)
                collector.add(chunk.dst)
                done += len(chunk.src)
                yield clock.report(done, inputs.num_edges)
    if not inputs.links and all(source.declared is None for source in inputs.edges):
        inputs.num_edges = done
    return collector.sorted()


def _create_missing(
    config: IngestConfig, inputs: Inputs, nodes: Nodes, budget: MemoryBudget
) -> Reports:
    """The listed nodes, and behind them those that only edges name."""
    collector = IdCollector(budget.free(), num_threads=config.threads)
    kind, clock, done = id_kind_of(nodes), Clock("ids"), 0
    if len(nodes.node_types) > 1:
        raise InputError("nodes that only edges name have no type, and the list has "
                         f"{len(nodes.node_types)}; list them, or drop their edges")  # fmt: skip
    for source in inputs.with_ids:
        with closing(read_ahead(source.read(kind, inputs.chunk_rows))) as chunks:
            for chunk in chunks:
                for ids in (chunk.src, chunk.dst):
                    missing = dense_nodes(nodes.ids, ids, config.threads) < 0
                    if missing.any():
                        collector.add(_where(ids, missing))
                done += len(chunk.src)
                yield clock.report(done, inputs.num_edges)
    inputs.num_edges = None if inputs.links else done
    created = collector.sorted()
    return nodes.with_created(created) if len(created) else nodes


def _where(ids: Ids, mask: NDArray[np.bool_]) -> Ids:
    return ids.filter(pa.array(mask)) if isinstance(ids, pa.Array) else ids[mask]


def id_kind_of(nodes: Nodes) -> str:
    """ "int" or "string"."""
    return "string" if nodes.ids.is_string else "int"
