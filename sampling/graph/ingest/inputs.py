"""All files of an ingest, opened by the readers that know them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sampling.errors import InputError
from sampling.graph.ingest.config import IngestConfig
from sampling.graph.memory import MemoryBudget
from sampling.graph.readers.features import open_features, open_splits
from sampling.graph.readers.formats import open_edges, open_nodes
from sampling.graph.readers.source import EdgeSource, FeatureSource, NodeSource, ReadOptions

__all__ = ["Inputs", "as_text", "open_inputs"]

CHUNK_ROWS = 1 << 20
CHUNK_ROW_BYTES = 2400


@dataclass(slots=True)
class Inputs:
    """All files, opened, and what their readers say of them."""

    edges: list[EdgeSource]
    nodes: list[NodeSource]
    features: FeatureSource | None
    splits: NDArray[np.uint8] | None
    chunk_rows: int
    notes: tuple[str, ...] = ()
    num_edges: int | None = None

    @property
    def feature_rows(self) -> int | None:
        """Rows of features or splits: how many nodes there are where ids count from 0."""
        if self.features is not None:
            return self.features.num_rows
        return None if self.splits is None else len(self.splits)


SourceT = TypeVar("SourceT", EdgeSource, NodeSource)


def as_text(source: SourceT) -> SourceT:
    """The source with its ids read as text, where its format leaves that open."""
    return replace(source, id_kind="string") if source.id_kind == "text" else source


def open_inputs(config: IngestConfig, budget: MemoryBudget) -> Inputs:
    options = ReadOptions(config.columns, budget.free() // 3)
    paths = [Path(path) for path in config.edges]
    formats = [config.format] * len(paths) if isinstance(config.format, str) else config.format
    if len(formats) != len(paths):
        raise InputError(f"{len(formats)} formats were given for {len(paths)} files of edges")
    edges = [open_edges(p, options, f) for p, f in zip(paths, formats, strict=True)]
    nodes = [open_nodes(Path(path), options) for path in config.nodes]
    nodes = nodes or [s.nodes for s in edges if s.nodes is not None]
    if config.id_type == "string":
        edges, nodes = [as_text(s) for s in edges], [as_text(s) for s in nodes]
    rows = [s.num_rows for s in edges]
    known = None if any(r is None for r in rows) else sum(r or 0 for r in rows)
    sources: list[EdgeSource | NodeSource] = [*edges, *nodes]
    notes = tuple(
        f"{s.path.name}: ignored columns {', '.join(s.ignored)}" for s in sources if s.ignored
    )
    units = {s.time_unit for s in edges}
    if len(units) > 1:
        raise InputError("some files of edges have whole times and some fractions or timestamps; "
                         "give all in one unit")  # fmt: skip
    return Inputs(
        edges,
        nodes,
        _only([s.features for s in edges]) if config.features is None
        else open_features(Path(config.features), options),
        _only([s.splits for s in edges]) if config.splits is None
        else open_splits(Path(config.splits), options),
        int(np.clip(budget.free() // CHUNK_ROW_BYTES, 1 << 14, CHUNK_ROWS)),
        notes,
        known,
    )  # fmt: skip


def _only(found: list[Any]) -> Any:
    present = [item for item in found if item is not None]
    if len(present) > 1:
        raise InputError("several files bring features or splits; give them with --features and "
                         "--splits")  # fmt: skip
    return present[0] if present else None
