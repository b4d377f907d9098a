"""Graph directories: opened by many processes at once, written once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import DamagedError, InputError
from sampling.graph.arrays import (
    open_array,
    publish,
    verify_array,
    write_array,
    write_json,
)
from sampling.graph.csc import Graph, NodeType
from sampling.graph.features import STORAGE_TYPES, FeatureTable
from sampling.graph.ids import NodeIds
from sampling.graph.linksets import LinkSet
from sampling.graph.manifest import is_collection, read_manifest, version_there, was_replaced
from sampling.graph.meta import FORMAT_VERSION, UNLABELED, ArrayInfo, GraphMeta, LabelInfo
from sampling.graph.sparse_features import SPARSE, SparseTable

__all__ = ["SPLIT_CODES", "Dataset", "GraphStore", "write_manifest"]

MANIFEST = "graph.json"
SPLIT_CODES = {"none": 0, "train": 1, "val": 2, "test": 3}
OPEN_ATTEMPTS = 100
UNCOUNTED = frozenset({"name", "version", "provenance", "fingerprint"})
OPTIONAL = frozenset({"feature_widths"})
"""Fields that a fingerprint counts where they are set: graphs without them keep theirs."""

REALS = {"edge_weight", "edge_features", "positions"}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A graph with all that is known of its nodes.

    Attributes:
        graph: adjacency.
        ids: node ids.
        meta: the manifest.
        features: one row per node, or None.
        labels: (num_nodes,) int64 class codes with -1 for none, or float32 targets with NaN
            for none, or (num_nodes, classes) uint8 where a node has several: 1 for its labels, 0
            for the others, 255 in the whole row of a node without labels; None without labels.
        splits: (num_nodes, num_splits) uint8 of `SPLIT_CODES`, or None.
        node_time: (num_nodes,) int64, or None.
        positions: places of the nodes in space, (num_nodes, 3) float32, or None.
        links: edges to predict that are no messages, or None.
    """

    graph: Graph
    ids: NodeIds
    meta: GraphMeta
    features: FeatureTable | None = None
    labels: NDArray[Any] | None = None
    splits: NDArray[np.uint8] | None = None
    node_time: NDArray[np.int64] | None = None
    positions: NDArray[np.float32] | None = None
    links: LinkSet | None = None

    def nodes_in(self, part: str, index: int = 0) -> NDArray[np.int64]:
        """Dense nodes of split `index` in "train", "val" or "test", ascending.

        Raises:
            InputError: the graph has no splits, or no such split.
        """
        if self.splits is None:
            raise InputError(f"graph {self.meta.name!r} has no splits; ingest a split column")
        if not 0 <= index < self.splits.shape[1]:
            raise InputError(
                f"there is no split {index}; graph {self.meta.name!r} has splits "
                f"0 … {self.splits.shape[1] - 1}"
            )
        return np.flatnonzero(self.splits[:, index] == SPLIT_CODES[part])

    @classmethod
    def in_memory(
        cls,
        graph: Graph,
        *,
        features: FeatureTable | NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
        splits: NDArray[np.uint8] | None = None,
        ids: NodeIds | None = None,
        node_time: NDArray[np.int64] | None = None,
        positions: NDArray[np.float32] | None = None,
        links: LinkSet | None = None,
        classes: list[int] | list[str] | None = None,
        feature_widths: dict[str, int] | None = None,
        name: str = "graph",
    ) -> Dataset:
        """A data set that was never on disk: for notebooks, tests and posted graphs.

        Integer labels are class codes (-1 for none), floating ones real targets; a matrix holds
        several labels per node.
        """
        if labels is not None and labels.ndim == 2:
            labels = _label_rows(labels, classes)
        if isinstance(features, np.ndarray):
            features = FeatureTable.from_rows(features)
        if splits is not None and splits.ndim == 1:
            splits = splits[:, None]
        ids = ids or NodeIds.range(graph.num_nodes)
        meta = GraphMeta(
            name=name,
            num_nodes=graph.num_nodes,
            num_edges=graph.num_edges,
            node_types=[(t.name, t.start, t.end) for t in graph.node_types],
            edge_types=list(graph.edge_types),
            feature_dim=features.dim if features else 0,
            feature_storage=features.storage if features else None,
            labels=_label_info(labels, classes),
            feature_widths=feature_widths,
            num_splits=0 if splits is None else splits.shape[1],
            ids=ids.header(),
        )
        return cls(graph, ids, meta, features, labels, splits, node_time, positions, links)


def _label_info(
    labels: NDArray[Any] | None, classes: list[int] | list[str] | None
) -> LabelInfo | None:
    if labels is None:
        return None
    if labels.ndim == 2:
        columns = classes if classes is not None else list(range(labels.shape[1]))
        return LabelInfo(kind="multi", classes=columns)
    if labels.dtype.kind == "f":
        return LabelInfo(kind="real")
    names = classes if classes is not None else list(range(int(labels.max(initial=-1)) + 1))
    return LabelInfo(kind="class", classes=names)


def _label_rows(labels: NDArray[Any], classes: list[int] | list[str] | None) -> NDArray[np.uint8]:
    """Several labels per node as they are stored."""
    if not labels.shape[1] or (classes is not None and len(classes) != labels.shape[1]):
        count = "no" if classes is None else len(classes)
        raise InputError(f"there are {count} classes for {labels.shape[1]} columns of labels")
    rows = labels.astype(np.uint8)
    if (rows != labels).any() or not _are_label_rows(rows):
        raise InputError("a matrix of labels holds 1 for the labels of a node, 0 for others, and "
                         f"{UNLABELED} in all of a row without labels")  # fmt: skip
    return rows


class GraphStore:
    """Opens and writes graph directories."""

    @staticmethod
    def open(path: str | Path, *, verify: bool = True) -> Dataset:
        """Map a graph directory.

        Args:
            path: the directory.
            verify: read every byte once and compare checksums and invariants. Leave it out
                only where this process or its parent has just verified the same directory.

        Raises:
            DamagedError: names the file and what is wrong with it.
            FutureFormatError: written by a newer version.

        Cost: no copy; with `verify`, one sequential read of every file.
        """
        path = Path(path)
        meta, arrays = _map(path)
        if verify:
            for name, info in meta.arrays.items():
                verify_array(path, name, info, arrays[name])
        data = _dataset(path, meta, arrays)
        if verify:
            _check(path, data)
        return data

    @staticmethod
    def meta(path: str | Path) -> GraphMeta:
        """The manifest alone.

        Raises:
            DamagedError: it is missing or not a manifest.
            FutureFormatError: written by a newer version.
        """
        path = Path(path)
        if not (path / MANIFEST).exists() and is_collection(path):
            raise InputError(f"{path} is a collection of graphs, and this needs one graph; give a "
                             "directory that `gnn ingest` wrote")  # fmt: skip
        meta = read_manifest(path, MANIFEST, GraphMeta, FORMAT_VERSION)
        if meta.fingerprint != fingerprint(meta):
            raise DamagedError(path, MANIFEST, "does not have the fingerprint of its arrays")
        return meta

    @staticmethod
    def verify(path: str | Path) -> Iterator[tuple[str, int]]:
        """Check every checksum and invariant; yields (file name, bytes) as each one passes.

        Raises:
            DamagedError: names the file and what is wrong with it.
        """
        path = Path(path)
        meta, arrays = _map(path)
        for name, info in meta.arrays.items():
            verify_array(path, name, info, arrays[name])
            yield f"{name}.npy", arrays[name].nbytes
        _check(path, _dataset(path, meta, arrays))
        yield MANIFEST, (path / MANIFEST).stat().st_size

    @staticmethod
    def write(path: str | Path, data: Dataset, *, overwrite: bool = False) -> GraphMeta:
        """Write a data set that is in memory; returns its manifest.

        Raises:
            ExistsError: the directory is there and `overwrite` is not given.
        """
        path = Path(path)
        with publish(path, overwrite=overwrite, marker=MANIFEST) as temporary:
            arrays = {n: write_array(temporary / f"{n}.npy", a) for n, a in _arrays(data).items()}
            return write_manifest(temporary, path, data.meta, arrays)


def write_manifest(
    temporary: Path, final: Path, meta: GraphMeta, arrays: dict[str, ArrayInfo]
) -> GraphMeta:
    """Finish a graph directory: the next version, checksums, fingerprint, `graph.json`."""
    if (final / MANIFEST).exists():
        meta = meta.model_copy(update={"version": version_there(final, MANIFEST) + 1})
    meta = meta.model_copy(update={"arrays": arrays})
    meta = meta.model_copy(update={"fingerprint": fingerprint(meta)})
    write_json(temporary / MANIFEST, meta.model_dump(mode="json"))
    return meta


def fingerprint(meta: GraphMeta) -> str:
    """Digest of what a graph holds, names and provenance left out, as 16 hex digits."""
    unset = {name for name in OPTIONAL if getattr(meta, name) is None}
    content = meta.model_dump_json(exclude={*UNCOUNTED, *unset})
    return xxhash.xxh3_64(content.encode()).hexdigest()


def _map(path: Path) -> tuple[GraphMeta, dict[str, NDArray[Any]]]:
    """A manifest and its arrays, all of one state of a directory that may be replaced meanwhile.

    What is mapped stays as it was: only between reading the manifest and mapping the last array
    can the directory become another, and then the manifest there is another as well.
    """
    for _ in range(OPEN_ATTEMPTS):
        meta = GraphStore.meta(path)
        try:
            arrays = {name: open_array(path, name, info) for name, info in meta.arrays.items()}
        except DamagedError:
            if was_replaced(path, MANIFEST, meta.fingerprint):
                continue
            raise
        if not was_replaced(path, MANIFEST, meta.fingerprint):
            return meta, arrays
    raise DamagedError(path, MANIFEST, "was replaced again and again while it was opened")


def _arrays(data: Dataset) -> dict[str, NDArray[Any]]:
    graph, features = data.graph, data.features
    named = {
        "indptr": graph.indptr,
        "indices": graph.indices,
        "edge_type": graph.edge_type,
        "edge_weight": graph.edge_weight,
        "edge_time": graph.edge_time,
        "edge_features": graph.edge_features,
        "labels": data.labels,
        "splits": data.splits,
        "node_time": data.node_time,
        "positions": data.positions,
        **(features.arrays() if features is not None else {}),
        **data.ids.arrays(),
        **(data.links.arrays() if data.links is not None else {}),
    }
    return {name: array for name, array in named.items() if array is not None}


def _dataset(path: Path, meta: GraphMeta, arrays: dict[str, NDArray[Any]]) -> Dataset:
    for name, expected in _expected_shapes(meta).items():
        if name not in arrays:
            raise DamagedError(path, MANIFEST, f"lists no array {name!r}")
        if arrays[name].shape != expected:
            raise DamagedError(
                path, f"{name}.npy", f"has shape {arrays[name].shape} instead of {expected}"
            )
    for name in sorted(REALS & arrays.keys()):
        if arrays[name].dtype != np.float32:
            raise DamagedError(path, f"{name}.npy", f"holds {arrays[name].dtype} and not float32")
    graph = Graph(
        arrays["indptr"],
        arrays["indices"],
        arrays.get("edge_type"),
        arrays.get("edge_weight"),
        arrays.get("edge_time"),
        tuple(NodeType(*row) for row in meta.node_types),
        tuple(meta.edge_types),
        arrays.get("edge_features"),
    )
    return Dataset(
        graph,
        NodeIds.from_arrays(meta.ids, arrays),
        meta,
        _features(path, meta, arrays),
        arrays.get("labels"),
        arrays.get("splits"),
        arrays.get("node_time"),
        arrays.get("positions"),
        LinkSet.from_arrays(arrays),
    )


def _features(path: Path, meta: GraphMeta, arrays: dict[str, NDArray[Any]]) -> FeatureTable | None:
    storage = meta.feature_storage
    if storage is None:
        return None
    if storage == SPARSE:
        parts = arrays["feature_values"], arrays["feature_indptr"], arrays["feature_columns"]
        for array, name, kind in zip(parts, ("values", "indptr", "columns"), "fii", strict=True):
            if array.dtype.kind != kind or array.dtype.itemsize != (8 if name == "indptr" else 4):
                raise DamagedError(path, f"feature_{name}.npy", f"holds {array.dtype}")
        return SparseTable(parts[0], indptr=parts[1], columns=parts[2], width=meta.feature_dim)
    if storage not in STORAGE_TYPES:
        raise DamagedError(path, MANIFEST, f"names storage type {storage!r}")
    if arrays["features"].dtype != STORAGE_TYPES[storage]:
        raise DamagedError(path, "features.npy", f"is not {storage}")
    return FeatureTable(arrays["features"], storage, arrays.get("feature_scale"))


def _expected_shapes(meta: GraphMeta) -> dict[str, tuple[int, ...]]:
    n, m = meta.num_nodes, meta.num_edges
    shapes: dict[str, tuple[int, ...]] = {"indptr": (n + 1,), "indices": (m,)}
    per_edge = {"edge_type", "edge_weight", "edge_time"} & meta.arrays.keys()
    per_node = {"labels", "node_time"} & meta.arrays.keys()
    shapes |= dict.fromkeys(sorted(per_edge), (m,)) | dict.fromkeys(sorted(per_node), (n,))
    if "labels" in shapes and meta.labels is not None and meta.labels.kind == "multi":
        shapes["labels"] = (n, len(meta.labels.classes))
    if "edge_features" in meta.arrays:
        shapes["edge_features"] = (m, *meta.arrays["edge_features"].shape[1:][:1])
    if "positions" in meta.arrays:
        shapes["positions"] = (n, 3)
    if "links" in meta.arrays:
        shapes |= _link_shapes(meta)
    if meta.feature_storage == SPARSE:
        shapes |= _sparse_shapes(meta)
    elif meta.feature_storage is not None:
        shapes["features"] = (n, meta.feature_dim)
    if meta.feature_storage == "int8":
        shapes["feature_scale"] = (meta.feature_dim,)
    if meta.num_splits:
        shapes["splits"] = (n, meta.num_splits)
    if meta.ids.kind == "int":
        shapes["ids"] = (n,)
    if meta.ids.kind == "string":
        shapes["ids_offsets"] = (n + 1,)
    return shapes


def _sparse_shapes(meta: GraphMeta) -> dict[str, tuple[int, ...]]:
    values = meta.arrays.get("feature_values")
    count = (0,) if values is None else values.shape[:1]
    shapes = dict.fromkeys(["feature_values", "feature_columns"], count)
    return {"feature_indptr": (meta.num_nodes + 1,), **shapes}


def _link_shapes(meta: GraphMeta) -> dict[str, tuple[int, ...]]:
    count = meta.arrays["links"].shape[:1]
    optional = sorted({"link_types", "link_times"} & meta.arrays.keys())
    return {"links": (*count, 2)} | dict.fromkeys(["link_split", "link_labels", *optional], count)


def _check(path: Path, data: Dataset) -> None:
    """Invariants that a checksum cannot see: a hostile directory has right checksums too."""
    fault = kernels.check_csc(data.graph.indptr, data.graph.indices, kernels.default_threads())
    links = data.links
    fault_of_links = (
        links.fault(data.graph.num_nodes, len(data.graph.edge_types)) if links is not None else ""
    )
    rows = data.features.fault() if isinstance(data.features, SparseTable) else ""
    checks: list[tuple[str, str, Callable[[], bool]]] = [
        ("indptr/indices", fault, lambda: not fault),
        ("edge_type.npy", "holds unknown codes", lambda: _codes_in(
            data.graph.edge_type, 0, len(data.graph.edge_types))),
        ("splits.npy", "holds unknown codes", lambda: _codes_in(data.splits, 0, 4)),
        ("labels.npy", "holds unknown classes", lambda: _labels_in(data)),
        ("feature_indptr.npy", rows, lambda: not rows),
        ("links.npy", fault_of_links, lambda: not fault_of_links),
        ("ids", "are not those of the manifest", lambda: _ids_fit(data.ids)),
        (MANIFEST, "has node types that do not cover the nodes", lambda: _types_cover(data)),
        (MANIFEST, "has widths of features that do not fit", lambda: _widths_fit(data.meta)),
    ]  # fmt: skip
    for name, what, passes in checks:
        if not passes():
            raise DamagedError(path, name, what)


def _codes_in(codes: NDArray[Any] | None, low: int, high: int) -> bool:
    return codes is None or not len(codes) or (int(codes.min()) >= low and int(codes.max()) < high)


def _labels_in(data: Dataset) -> bool:
    info = data.meta.labels
    if data.labels is None or info is None or info.kind == "real":
        return (data.labels is None) == (info is None)
    if info.kind == "multi":
        return data.labels.dtype == np.uint8 and _are_label_rows(data.labels)
    return _codes_in(data.labels, -1, len(info.classes))


def _are_label_rows(rows: NDArray[np.uint8]) -> bool:
    """Zeros and ones, or rows without labels."""
    none = rows == UNLABELED
    return bool(((rows <= 1) | none).all() and (none.all(axis=1) == none.any(axis=1)).all())


def _widths_fit(meta: GraphMeta) -> bool:
    widths = meta.feature_widths
    if widths is None:
        return True
    names = [name for name, _, _ in meta.node_types]
    return sorted(widths) == sorted(names) and max(widths.values(), default=0) <= meta.feature_dim


def _ids_fit(ids: NodeIds) -> bool:
    if ids.kind == "range":
        return True
    if ids.table is None or not _codes_in(ids.table, -1, max(ids.num_nodes, 1)):
        return False
    if ids.kind == "int":
        return ids.keys is not None
    if ids.offsets is None or ids.data is None or (np.diff(ids.offsets) < 0).any():
        return False
    return bool(ids.offsets[0] == 0 and ids.offsets[-1] == len(ids.data))


def _types_cover(data: Dataset) -> bool:
    place = 0
    for kind in data.graph.node_types:
        if kind.start != place or kind.end < kind.start:
            return False
        place = kind.end
    return place == data.graph.num_nodes == data.ids.num_nodes
