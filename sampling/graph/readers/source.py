"""What every reader gives: edges and nodes in bounded chunks, with ids as they stand in the file.

A reader is a function `open_…(path, options)` that looks at the head of a file and returns an
`EdgeSource`; the file is then read as often as needed through its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.graph.sparse_features import SparseTable

__all__ = ["EdgeChunk", "EdgeSource", "FeatureSource", "Ids", "NodeChunk", "NodeSource",
           "ReadOptions"]  # fmt: skip

Ids: TypeAlias = NDArray[Any] | pa.Array
"""Integers (int32 or int64), or Arrow strings (large_string)."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read.

    Attributes:
        columns: role ("src", "dst", "type", "time", "weight", "id", "node_type", "node_time",
            "label", "split", "edge_split") → name in the file, where it differs.
        limit_bytes: the most that one array held whole may take.
        header: names of the columns of text files that have no line with them; empty where they do.
        optional: roles whose column may be missing even where the user named it.
        literals: "drop" or "keep" as nodes, where a format has them (N-Triples).
        edge_features: columns of tables of edges that are features of the edges.
        positions: columns of tables of nodes that are their places in space.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    limit_bytes: int = 1 << 62
    literals: str = "drop"
    header: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    edge_features: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()

    def name(self, role: str) -> str:
        """The column that plays a role; "node_type", "edge_split" … default to "type", "split"."""
        return self.columns.get(role, role.removeprefix("node_").removeprefix("edge_"))


@dataclass(frozen=True, slots=True)
class EdgeChunk:
    """Some edges.

    Attributes:
        src: id of the source of every edge.
        dst: id of the destination of every edge.
        first_row: number of the first edge in its file, from 1, for messages.
        type: Arrow strings, or None.
        time: int64, or None.
        weight: float32, or None.
        mirrored: the format says that these edges run both ways.
        split: uint8 codes: 2 and 3 are edges to predict, in val and test; or None.
        features: (num_edges, d_edge) float32, finite, or None.
    """

    src: Ids
    dst: Ids
    first_row: int = 1
    type: pa.Array | None = None
    time: NDArray[np.int64] | None = None
    weight: NDArray[np.float32] | None = None
    mirrored: bool = False
    split: NDArray[np.uint8] | None = None
    features: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class NodeChunk:
    """Some nodes; the attributes are Arrow arrays or None, positions (num_nodes, 3) float32."""

    ids: Ids
    first_row: int = 1
    type: pa.Array | None = None
    label: pa.Array | None = None
    split: pa.Array | None = None
    time: NDArray[np.int64] | None = None
    position: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class NodeSource:
    """A list of nodes.

    Attributes:
        path: the file.
        read: `read(kind, rows)` yields chunks of at most `rows` nodes with ids of `kind`.
        id_kind: "int", "string", or "text" (a text file: either).
        ignored: columns that nobody asked for.
        type: the node type that the user names for the whole file, or empty. Other files may
            then have columns that this one lacks.
    """

    path: Path
    read: Callable[[str, int], Iterator[NodeChunk]]
    id_kind: str = "int"
    ignored: tuple[str, ...] = ()
    type: str = ""


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """A matrix of features, dense or sparse.

    `read(order, rows)` yields dense chunks of at most `rows` rows, in file order or in `order`.
    Where the file is sparse, `read_sparse(order)` gives all rows as they are, and `num_values`
    is how many entries it has.
    """

    path: Path
    num_rows: int
    dim: int
    read: Callable[[NDArray[np.int64] | None, int], Iterator[NDArray[Any]]]
    read_sparse: Callable[[NDArray[np.int64] | None], SparseTable] | None = None
    num_values: int = 0


@dataclass(frozen=True, slots=True)
class EdgeSource:
    """A file of edges, and all that it says beside them.

    Attributes:
        path: the file.
        read: `read(kind, rows)` yields chunks of at most `rows` edges with ids of `kind`.
        id_kind: "int", "string", or "text" (a text file, where ids are what all of them are).
        declared: the integer ids that the format says exist, or None.
        num_rows: edges in the file, where known before reading.
        time_unit: "microseconds" where times were scaled, else None.
        ignored: columns that nobody asked for.
        id_columns: names of the columns that hold ids, as messages use them.
        nodes: the nodes that the same file lists, or None.
        features: their features, or None.
        splits: (num_nodes, num_splits) uint8, or None.
        has_split: chunks say which edges are to be predicted.
    """

    path: Path
    read: Callable[[str, int], Iterator[EdgeChunk]]
    id_kind: str = "int"
    declared: range | None = None
    num_rows: int | None = None
    time_unit: str | None = None
    ignored: tuple[str, ...] = ()
    id_columns: tuple[str, ...] = ("src", "dst")
    nodes: NodeSource | None = None
    features: FeatureSource | None = None
    splits: NDArray[np.uint8] | None = None
    has_split: bool = False
