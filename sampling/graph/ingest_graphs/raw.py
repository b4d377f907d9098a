"""Graphs on their way from files to a collection: plain columns, before any choice is made."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import InputError
from sampling.graph.memory import allowed_bytes
from sampling.graph.meta import LabelInfo
from sampling.graph.readers.source import Ids

__all__ = ["Columns", "RawGraphs", "Reading", "Targets", "check_fits", "joined", "label_columns"]

CHECKED_BYTES = 1 << 28
MAX_CODES = 1 << 24


@dataclass(frozen=True, slots=True)
class Columns:
    """Features of nodes or of edges.

    Attributes:
        rows: (n, d) float32.
        names: of the columns.
        cardinalities: number of codes of every column where all are categorical, or None.
    """

    rows: NDArray[np.float32]
    names: tuple[str, ...]
    cardinalities: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """What is to be predicted of every graph.

    Attributes:
        values: (num_graphs,) int64 codes or float32, or (num_graphs, k) float32.
        info: what they are.
        names: of the columns.
    """

    values: NDArray[Any]
    info: LabelInfo
    names: tuple[str, ...]


@dataclass(slots=True)
class RawGraphs:
    """All graphs of the input, nodes numbered through.

    Attributes:
        sizes: nodes of every graph, (num_graphs,).
        src: sources of the edges, (num_edges,).
        dst: their destinations.
        ids: ids of the graphs; None for 0 …
        node_features: numbers or codes of nodes.
        node_labels: categorical labels of nodes, (num_nodes, k) integers.
        edge_features: numbers or codes of edges.
        edge_labels: categorical labels of edges, (num_edges, k) integers.
        positions: (num_nodes, 3) float32.
        targets: what is to be predicted.
        splits: (num_graphs, num_splits) codes.
        folds: (num_graphs,) number of the test fold from 1, 0 for none.
        scaffolds: the scaffold of every molecule.
        skipped: how many were left out.
    """

    sizes: NDArray[np.int64]
    src: NDArray[np.int64]
    dst: NDArray[np.int64]
    ids: Ids | None = None
    node_features: Columns | None = None
    node_labels: NDArray[np.int64] | None = None
    edge_features: Columns | None = None
    edge_labels: NDArray[np.int64] | None = None
    positions: NDArray[np.float32] | None = None
    targets: Targets | None = None
    splits: NDArray[np.uint8] | None = None
    folds: NDArray[np.int64] | None = None
    scaffolds: list[str] = field(default_factory=list)
    skipped: int = 0

    @property
    def num_graphs(self) -> int:
        return len(self.sizes)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First node of every graph and, last, the number of nodes."""
        return np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])


Reading = Generator[int, None, RawGraphs]
"""A reader: yields how many graphs it has read and returns all of them."""


def check_fits(count: int, item_bytes: int, what: str) -> None:
    """Refuse arrays that memory cannot hold before they are made.

    Raises:
        InputError: there is not enough memory.
    """
    needed = count * item_bytes
    if needed > CHECKED_BYTES and needed > allowed_bytes() // 2:
        raise InputError(f"{count} {what} take {needed >> 20} MiB and {allowed_bytes() >> 20} MiB "
                         "are free; ingest fewer graphs at a time")  # fmt: skip


def joined(first: Columns | None, second: Columns | None) -> Columns | None:
    """Columns side by side; categorical only if all are."""
    if first is None or second is None:
        return first or second
    codes = None
    if first.cardinalities is not None and second.cardinalities is not None:
        codes = first.cardinalities + second.cardinalities
    return Columns(np.hstack([first.rows, second.rows]), first.names + second.names, codes)


def label_columns(labels: NDArray[np.int64] | None, mode: str) -> Columns | None:
    """Categorical labels as features: "one-hot", "codes", or nothing ("drop")."""
    if labels is None or mode == "drop":
        return None
    out: Columns | None = None
    for j, column in enumerate(labels.T):
        name = "label" if labels.shape[1] == 1 else f"label{j}"
        out = joined(out, _one_column(column, name, mode))
    return out


def _one_column(column: NDArray[np.int64], name: str, mode: str) -> Columns:
    values, codes = np.unique(column, return_inverse=True)
    if mode == "codes":
        return Columns(codes[:, None].astype(np.float32), (name,), (max(len(values), 1),))
    check_fits(len(codes) * len(values), 4, "one-hot entries")
    rows = np.zeros((len(codes), len(values)), np.float32)
    rows[np.arange(len(codes)), codes] = 1
    return Columns(rows, tuple(f"{name}={value}" for value in values.tolist()))
