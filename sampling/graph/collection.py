"""Many small graphs as one: a block-diagonal graph, and where each of them begins.

Graph-level tasks (a molecule and its solubility, a protein and its class) have one target per
graph. All graphs lie side by side in one `Dataset`; what belongs to a graph as a whole has one
row per graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling.errors import DamagedError, InputError
from sampling.graph.collections.batch import GraphBatch, Ranges, cut_block
from sampling.graph.collections.meta import CollectionMeta
from sampling.graph.collections.store import (
    Arrays,
    check_rows,
    collection_meta,
    map_collection,
    verify_files,
    write_collection,
)
from sampling.graph.csc import Graph
from sampling.graph.features import FeatureTable
from sampling.graph.ids import NodeIds
from sampling.graph.manifest import COLLECTION_MANIFEST
from sampling.graph.meta import LabelInfo
from sampling.graph.sparse_features import SparseTable
from sampling.graph.store import SPLIT_CODES, Dataset

__all__ = ["GraphCollection"]


@dataclass(frozen=True, slots=True)
class GraphCollection:
    """Graphs 0 … num_graphs - 1 with all that is known of them.

    Attributes:
        nodes: all graphs side by side; its nodes `offsets[g] … offsets[g + 1]` are graph g.
        offsets: first node of every graph and, last, the number of nodes, (num_graphs + 1,).
        ids: the user's id of every graph.
        labels: (num_graphs,) int64 class codes, -1 for none; or float32 targets, NaN for none;
            (num_graphs, k) float32 for k targets; None without labels.
        label_info: what the labels are, or None.
        splits: (num_graphs, num_splits) uint8 of `SPLIT_CODES`, or None.
        meta: the manifest.
    """

    nodes: Dataset
    offsets: NDArray[np.int64]
    ids: NodeIds
    labels: NDArray[Any] | None
    label_info: LabelInfo | None
    splits: NDArray[np.uint8] | None
    meta: CollectionMeta

    @property
    def num_graphs(self) -> int:
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return self.num_graphs

    def sizes(self) -> NDArray[np.int64]:
        """Nodes of every graph, (num_graphs,)."""
        return np.diff(self.offsets)

    def in_part(self, part: str, index: int = 0) -> NDArray[np.int64]:
        """Graphs of split `index` in "train", "val" or "test", ascending.

        Raises:
            InputError: the collection has no splits, or no such split.
        """
        if self.splits is None:
            raise InputError(f"collection {self.meta.name!r} has no splits; ingest a column of "
                             "splits or folds, or draw them when ingesting")  # fmt: skip
        if not 0 <= index < self.splits.shape[1]:
            raise InputError(f"there is no split {index}; collection {self.meta.name!r} has "
                             f"splits 0 … {self.splits.shape[1] - 1}")  # fmt: skip
        return np.flatnonzero(self.splits[:, index] == SPLIT_CODES[part])

    def batch(self, graphs: ArrayLike | Tensor) -> GraphBatch:
        """These graphs side by side, in the order given; a graph may come more than once.

        Raises:
            InputError: an index is outside 0 … num_graphs - 1.

        Cost: one copy of the nodes and edges of these graphs.
        """
        chosen = self.checked(graphs)
        nodes = Ranges(self.offsets[chosen], self.offsets[chosen + 1])
        indptr = self.nodes.graph.indptr
        edges = Ranges(indptr[self.offsets[chosen]], indptr[self.offsets[chosen + 1]])
        places = self.nodes.positions
        return GraphBatch(
            block=cut_block(self.nodes.graph, nodes, edges),
            x=self._features(nodes),
            positions=None if places is None else torch.from_numpy(nodes.take(places)),
            graph_indptr=torch.from_numpy(nodes.indptr),
            graphs=torch.from_numpy(chosen),
            y=None if self.labels is None else torch.from_numpy(self.labels[chosen]),
        )

    def _features(self, nodes: Ranges) -> Tensor | None:
        table = self.nodes.features
        if table is None:
            return None
        if table.storage == "float32":
            return torch.from_numpy(nodes.take(table.array))
        return replace(table, array=nodes.take(table.array)).rows(0, int(nodes.indptr[-1]))

    def checked(self, graphs: ArrayLike | Tensor) -> NDArray[np.int64]:
        """Indices of graphs as an array of their own.

        Raises:
            InputError: one is outside 0 … num_graphs - 1.
        """
        raw = graphs.numpy(force=True) if isinstance(graphs, Tensor) else np.asarray(graphs)
        if raw.ndim != 1 or (raw.size and raw.dtype.kind not in "iu"):
            raise InputError(f"graphs are {raw.dtype} {raw.shape}; give a list of indices")
        chosen = np.array(raw, np.int64)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= self.num_graphs):
            bad = chosen.min() if chosen.min() < 0 else chosen.max()
            raise InputError(f"there is no graph {bad}; they run from 0 to {self.num_graphs - 1}")
        return chosen

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> GraphCollection:
        """Map a collection directory.

        Args:
            path: the directory.
            verify: read every byte once and compare checksums and invariants. Leave it out only
                where this process or its parent has just verified the same directory.

        Raises:
            DamagedError: names the file and what is wrong with it.
            FutureFormatError: written by a newer version.
        """
        path = Path(path)
        if verify:
            for _ in cls.verify(path):
                pass
        meta, nodes, arrays = map_collection(path)
        return cls(
            nodes,
            arrays["offsets"],
            NodeIds.from_arrays(meta.ids, arrays),
            arrays.get("labels"),
            meta.labels,
            arrays.get("splits"),
            meta,
        )

    @staticmethod
    def verify(path: str | Path) -> Iterator[tuple[str, int]]:
        """Check every checksum and invariant; yields (file name, bytes) as each one passes.

        Raises:
            DamagedError: names the file and what is wrong with it.
        """
        path = Path(path)
        yield from verify_files(path)
        check_rows(path, *map_collection(path))
        yield COLLECTION_MANIFEST, (path / COLLECTION_MANIFEST).stat().st_size

    @staticmethod
    def read_meta(path: str | Path) -> CollectionMeta:
        """The manifest alone.

        Raises:
            DamagedError: it is missing or not a manifest.
            FutureFormatError: written by a newer version.
        """
        return collection_meta(Path(path))

    def write(self, path: str | Path, *, overwrite: bool = False) -> CollectionMeta:
        """Write the collection; returns its manifest, finished.

        Raises:
            ExistsError: the directory is there and `overwrite` is not given.
        """
        named = {"offsets": self.offsets, "labels": self.labels, "splits": self.splits}
        arrays: Arrays = {name: a for name, a in named.items() if a is not None}
        arrays |= self.ids.arrays()
        return write_collection(Path(path), self.meta, self.nodes, arrays, overwrite=overwrite)

    @classmethod
    def in_memory(
        cls,
        nodes: Dataset,
        offsets: ArrayLike,
        *,
        labels: NDArray[Any] | None = None,
        classes: list[int] | list[str] | None = None,
        target_names: Sequence[str] = (),
        splits: NDArray[np.uint8] | None = None,
        ids: NodeIds | None = None,
        node_feature_names: Sequence[str] | None = None,
        edge_feature_names: Sequence[str] | None = None,
        node_cardinalities: Sequence[int] | None = None,
        edge_cardinalities: Sequence[int] | None = None,
        provenance: dict[str, Any] | None = None,
        name: str = "graphs",
    ) -> GraphCollection:
        """A collection that was never on disk. Integer labels are class codes.

        Args:
            nodes: all graphs side by side; no edge leads from one graph into another.
            offsets: first node of every graph and, last, the number of nodes.
            labels: as the attribute.
            classes: names of the class codes; 0 … the largest code when left out.
            target_names: one for each column of real labels.
            splits: (num_graphs,) or (num_graphs, num_splits) of `SPLIT_CODES`.
            ids: ids of the graphs; 0 … when left out.
            node_feature_names: of the columns of node features.
            edge_feature_names: of the columns of edge features.
            node_cardinalities: number of codes of every column, where all are categorical.
            edge_cardinalities: the same of edge features.
            provenance: where the graphs came from.
            name: of the collection.

        Raises:
            InputError: the arrays do not describe such a collection.
        """
        starts = np.ascontiguousarray(offsets, dtype=np.int64)
        if starts.ndim != 1 or not len(starts):
            raise InputError(f"offsets have shape {starts.shape}; give num_graphs + 1 of them")
        labels = _checked_labels(labels, len(starts) - 1)
        if splits is not None and splits.ndim == 1:
            splits = splits[:, None]
        ids = ids or NodeIds.range(len(starts) - 1)
        rows = nodes.graph.edge_features
        info = _label_info(labels, classes)
        meta = CollectionMeta(
            name=name,
            num_graphs=len(starts) - 1,
            num_nodes=nodes.graph.num_nodes,
            num_edges=nodes.graph.num_edges,
            feature_dim=0 if nodes.features is None else nodes.features.dim,
            edge_dim=0 if rows is None else rows.shape[1],
            has_positions=nodes.positions is not None,
            node_feature_names=_tuple(node_feature_names),
            edge_feature_names=_tuple(edge_feature_names),
            node_cardinalities=_tuple(node_cardinalities),
            edge_cardinalities=_tuple(edge_cardinalities),
            labels=info,
            target_names=_target_names(labels, target_names),
            num_splits=0 if splits is None else splits.shape[1],
            ids=ids.header(),
            provenance=provenance or {},
        )
        made = cls(nodes, starts, ids, labels, info, splits, meta)
        _check(made)
        return made

    @classmethod
    def from_graphs(cls, parts: Sequence[Dataset], **about: Any) -> GraphCollection:
        """Separate graphs side by side; `about` as in `in_memory`.

        Args:
            parts: one data set per graph; all or none with features, and so on.
            about: labels, splits and the rest, one row per graph.

        Raises:
            InputError: some graphs have features, weights or positions and some do not.

        Example:
            >>> pair = Dataset.in_memory(Graph.from_edges([0, 1], [1, 0]))
            >>> GraphCollection.from_graphs([pair, pair]).batch([1]).num_nodes
            2
        """
        sizes = [part.graph.num_nodes for part in parts]
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        return cls.in_memory(_side_by_side(parts, offsets), offsets, **about)


def _side_by_side(parts: Sequence[Dataset], offsets: NDArray[np.int64]) -> Dataset:
    def joined(arrays: list[Any], what: str) -> Any:
        there = [array for array in arrays if array is not None]
        if there and len(there) < len(arrays):
            raise InputError(f"some graphs have {what} and some have none; give all or none")
        return np.concatenate(there) if there else None

    graphs = [part.graph for part in parts]
    starts = offsets[:-1].tolist()
    src = [g.indices.astype(np.int64) + s for g, s in zip(graphs, starts, strict=True)]
    dst = [np.repeat(np.arange(g.num_nodes), g.in_degrees()) + s
           for g, s in zip(graphs, starts, strict=True)]  # fmt: skip
    none = [np.empty(0, np.int64)]
    graph = Graph.from_edges(
        np.concatenate(src or none),
        np.concatenate(dst or none),
        num_nodes=int(offsets[-1]),
        edge_type=joined([g.edge_type for g in graphs], "edge types"),
        edge_weight=joined([g.edge_weight for g in graphs], "edge weights"),
        edge_time=joined([g.edge_time for g in graphs], "edge times"),
        edge_features=joined([g.edge_features for g in graphs], "edge features"),
    )
    if any(isinstance(part.features, SparseTable) for part in parts):
        raise InputError("some graphs have sparse features; a collection holds dense ones")
    tables = [p.features and p.features.rows(0, p.features.num_rows).numpy() for p in parts]
    rows = joined(tables, "features")
    places = joined([part.positions for part in parts], "positions")
    features = None if rows is None else FeatureTable.from_rows(rows)
    return Dataset.in_memory(graph, features=features, positions=places)


def _checked_labels(labels: NDArray[Any] | None, num_graphs: int) -> NDArray[Any] | None:
    if labels is None:
        return None
    kind = np.float32 if labels.dtype.kind == "f" else np.int64
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    fits = labels.ndim == 1 or (labels.ndim == 2 and kind is np.float32 and labels.shape[1])
    if len(labels) != num_graphs or not fits or labels.dtype.kind not in "iuf":
        raise InputError(f"labels are {labels.dtype} {labels.shape}; give one class or float, or "
                         f"k floats, for each of the {num_graphs} graphs")  # fmt: skip
    return np.ascontiguousarray(labels, dtype=kind)


def _label_info(
    labels: NDArray[Any] | None, classes: list[int] | list[str] | None
) -> LabelInfo | None:
    if labels is None:
        return None
    if labels.dtype.kind == "f":
        return LabelInfo(kind="real")
    names = classes if classes is not None else list(range(int(labels.max(initial=-1)) + 1))
    return LabelInfo(kind="class", classes=names)


def _target_names(labels: NDArray[Any] | None, names: Sequence[str]) -> tuple[str, ...]:
    if labels is None:
        return ()
    count = 1 if labels.ndim == 1 else labels.shape[1]
    if names and len(names) != count:
        raise InputError(f"there are {len(names)} target names for {count} targets")
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise InputError(f"two targets are named {twice[0]!r}; give each its own name")
    if names or count == 1:
        return tuple(names)
    return tuple(str(i) for i in range(count))


def _tuple(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _check(made: GraphCollection) -> None:
    """The invariants of a directory, for arrays of a caller."""
    named = {"offsets": made.offsets, "labels": made.labels, "splits": made.splits}
    arrays = {name: a for name, a in named.items() if a is not None} | made.ids.arrays()
    if made.splits is not None and len(made.splits) != made.num_graphs:
        raise InputError(f"splits have {len(made.splits)} rows for {made.num_graphs} graphs")
    for kind, width in (("node", made.meta.feature_dim), ("edge", made.meta.edge_dim)):
        for about in (f"{kind}_feature_names", f"{kind}_cardinalities"):
            listed = getattr(made.meta, about)
            if listed is not None and len(listed) != width:
                raise InputError(f"{about} has {len(listed)} entries for {width} columns")
    try:
        check_rows(Path(made.meta.name), made.meta, made.nodes, arrays)
    except DamagedError as error:
        raise InputError(f"the collection's {error.array} {error.what}") from None
