"""All files of an ingest, opened by the readers that know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sampling.errors import FeatureError, InputError, ParseError
from sampling.graph.ingest.config import IngestConfig
from sampling.graph.ingest.edge_rows import EdgeRows
from sampling.graph.ingest.typed import TypedFile, typed_edges, typed_nodes
from sampling.graph.memory import MemoryBudget
from sampling.graph.readers.features import open_features, open_splits
from sampling.graph.readers.formats import open_edges, open_nodes
from sampling.graph.readers.source import EdgeSource, FeatureSource, NodeSource, ReadOptions

__all__ = ["Inputs", "LinkInput", "as_text", "open_inputs"]

CHUNK_ROWS, MIN_CHUNK_ROWS = 1 << 20, 1 << 14
CHUNK_ROW_BYTES, CHUNK_COLUMN_BYTES = 2400, 576
"""A chunk takes a twelfth of these: of every row, and more for every column of edge features."""


@dataclass(frozen=True, slots=True)
class LinkInput:
    """A file of edges to predict, or of pairs that are none.

    Attributes:
        source: the file.
        split: 2 for val, 3 for test.
        label: 1 for edges, 0 for negatives.
    """

    source: EdgeSource
    split: int
    label: int


@dataclass(slots=True)
class Inputs:
    """All files, opened, and what their readers say of them."""

    edges: list[EdgeSource]
    nodes: list[NodeSource]
    features: FeatureSource | None
    splits: NDArray[np.uint8] | None
    chunk_rows: int
    labels: list[NodeSource] = field(default_factory=list)
    typed_features: dict[str, FeatureSource] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    num_edges: int | None = None
    links: tuple[LinkInput, ...] = ()
    positions: FeatureSource | None = None
    edge_rows: EdgeRows | None = None
    d_edge: int = 0

    @property
    def with_ids(self) -> list[EdgeSource]:
        """All files that name nodes by edges: those of messages, and those of edges to predict."""
        return [*self.edges, *(link.source for link in self.links if link.label)]

    @property
    def feature_rows(self) -> int | None:
        """Rows that nodes have in files: how many nodes there are where ids count from 0."""
        for source in (self.features, self.positions):
            if source is not None:
                return source.num_rows
        return None if self.splits is None else len(self.splits)


SourceT = TypeVar("SourceT", EdgeSource, NodeSource)


def as_text(source: SourceT) -> SourceT:
    """The source with its ids read as text, where its format leaves that open."""
    return replace(source, id_kind="string") if source.id_kind == "text" else source


def open_inputs(config: IngestConfig, budget: MemoryBudget) -> Inputs:
    options = ReadOptions(config.columns, budget.free() // 3, config.literals)
    with_header = replace(options, header=tuple(config.header))
    edges = _open_edges(config, replace(with_header, edge_features=_columns(config.edge_features)))
    located = replace(options, positions=_columns(config.positions))
    nodes = _open_nodes(config, config.nodes, located)
    nodes = nodes or [s.nodes for s in edges if s.nodes is not None]
    labels = _open_nodes(config, config.labels, options)
    links = _open_links(config, with_header)
    if config.id_type == "string":
        edges, nodes = [as_text(s) for s in edges], [as_text(s) for s in nodes]
        links = [replace(link, source=as_text(link.source)) for link in links]
    plain, typed = _open_features(config, options)
    edge_rows = _edge_rows(config.edge_features, edges)
    d_edge = len(_columns(config.edge_features)) if edge_rows is None else edge_rows.dim
    rows = [s.num_rows for s in edges]
    known = None if any(r is None for r in rows) else sum(r or 0 for r in rows)
    sources: list[EdgeSource | NodeSource] = [*edges, *nodes, *(link.source for link in links)]
    notes = tuple(
        f"{s.path.name}: ignored columns {', '.join(s.ignored)}" for s in sources if s.ignored
    )
    units = {s.time_unit for s in (*edges, *(link.source for link in links if link.label))}
    if len(units) > 1:
        raise InputError("some files of edges have whole times and some fractions or timestamps; "
                         "give all in one unit")  # fmt: skip
    return Inputs(
        edges,
        nodes,
        plain or (None if typed else _only([s.features for s in edges])),
        _only([s.splits for s in edges]) if config.splits is None
        else open_splits(Path(config.splits), options),
        _chunk_rows(budget.free(), d_edge),
        labels,
        typed,
        notes,
        known,
        tuple(links),
        _open_positions(config, options),
        edge_rows,
        d_edge,
    )  # fmt: skip


def _columns(given: Path | Sequence[str]) -> tuple[str, ...]:
    return () if isinstance(given, Path) else tuple(given)


def _chunk_rows(free: int, d_edge: int) -> int:
    row = CHUNK_ROW_BYTES + CHUNK_COLUMN_BYTES * d_edge
    fewest = MIN_CHUNK_ROWS * CHUNK_ROW_BYTES // row
    return int(np.clip(free // row, max(fewest, 1), CHUNK_ROWS))


def _edge_rows(given: Path | Sequence[str], edges: list[EdgeSource]) -> EdgeRows | None:
    return EdgeRows(given, edges) if isinstance(given, Path) else None


def _open_positions(config: IngestConfig, options: ReadOptions) -> FeatureSource | None:
    if not isinstance(config.positions, Path):
        return None
    source = open_features(config.positions, options)
    if source.dim != 3:
        raise FeatureError(f"{source.path.name} has {source.dim} columns; positions are x, y and "
                           "z (0 where there is none)")  # fmt: skip
    return source


def _open_edges(config: IngestConfig, options: ReadOptions) -> list[EdgeSource]:
    files = [TypedFile.of(given) for given in config.edges]
    formats = [config.format] * len(files) if isinstance(config.format, str) else config.format
    if len(formats) != len(files):
        raise InputError(f"{len(formats)} formats were given for {len(files)} files of edges")
    return [
        typed_edges(open_edges(file.path, options, name), file, prefix=config.id_prefix)
        for file, name in zip(files, formats, strict=True)
    ]


def _open_nodes(
    config: IngestConfig, given: Sequence[Path | TypedFile], options: ReadOptions
) -> list[NodeSource]:
    files = [TypedFile.of(item) for item in given]
    named = len(files) > 1 and all(file.type for file in files)
    sources = _open_some(files, options) if named else [open_nodes(f.path, options) for f in files]
    return [
        typed_nodes(source, file, prefix=config.id_prefix)
        for source, file in zip(sources, files, strict=True)
    ]


def _open_some(files: Sequence[TypedFile], options: ReadOptions) -> list[NodeSource]:
    """Lists of several types: a column that the user named is in one of them, not in all.

    Raises:
        ParseError: it is in none.
    """
    lenient = replace(options, optional=frozenset({"label", "split", "node_time"}))
    sources, missing = [], []
    for file in files:
        try:
            sources.append(open_nodes(file.path, options))
        except ParseError as error:
            sources.append(open_nodes(file.path, lenient))
            missing.append(error)
    if len(missing) == len(files):
        raise missing[0]
    return sources


def _open_features(
    config: IngestConfig, options: ReadOptions
) -> tuple[FeatureSource | None, dict[str, FeatureSource]]:
    """Features of all nodes from one file, or of node types from one file each."""
    given = config.features
    if given is None:
        return None, {}
    files = [TypedFile.of(f) for f in ([given] if isinstance(given, Path | str) else given)]
    names = [file.type for file in files]
    if names == [""]:
        return open_features(files[0].path, options), {}
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"{len(files)} files of features are given; give one for all nodes, or "
                         "one for each node type as TYPE=FILE")  # fmt: skip
    return None, {file.type: open_features(file.path, options) for file in files}


def _open_links(config: IngestConfig, options: ReadOptions) -> list[LinkInput]:
    given = (
        (config.val_edges, 2, 1),
        (config.test_edges, 3, 1),
        (config.val_negatives, 2, 0),
        (config.test_negatives, 3, 0),
    )
    format_ = config.format if isinstance(config.format, str) else "auto"
    return [
        LinkInput(open_edges(Path(path), options, format_), split, label)
        for paths, split, label in given
        for path in paths
    ]


def _only(found: list[Any]) -> Any:
    present = [item for item in found if item is not None]
    if len(present) > 1:
        raise InputError("several files bring features or splits; give them with --features and "
                         "--splits")  # fmt: skip
    return present[0] if present else None
