"""Collection directories: a graph directory of all nodes, and arrays with one row per graph.

    GRAPHS/graphs.json  offsets.npy  [labels.npy]  [splits.npy]  [ids*.npy]  nodes/graph.json …

Written whole or not at all. A directory with right checksums may still be hostile, so that every
invariant that a batch relies on is checked as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from sampling.errors import DamagedError
from sampling.graph.arrays import (
    open_array,
    publish,
    verify_array,
    write_array,
    write_json,
)
from sampling.graph.collections.meta import COLLECTION_FORMAT_VERSION, CollectionMeta
from sampling.graph.manifest import (
    COLLECTION_MANIFEST,
    read_manifest,
    version_there,
    was_replaced,
)
from sampling.graph.meta import GraphMeta
from sampling.graph.sparse_features import SPARSE
from sampling.graph.store import Dataset, GraphStore

__all__ = [
    "NODES",
    "Arrays",
    "check_rows",
    "collection_meta",
    "expected_shapes",
    "map_collection",
    "verify_files",
    "write_collection",
]

NODES = "nodes"
OPEN_ATTEMPTS = 100
CHUNK_ROWS = 1 << 20

Arrays = dict[str, NDArray[Any]]


def collection_meta(path: Path) -> CollectionMeta:
    """The manifest alone.

    Raises:
        DamagedError: it is missing or not a manifest.
        FutureFormatError: written by a newer version.
    """
    meta = read_manifest(path, COLLECTION_MANIFEST, CollectionMeta, COLLECTION_FORMAT_VERSION)
    if meta.fingerprint != _fingerprint(meta):
        what = "does not have the fingerprint of its arrays"
        raise DamagedError(path, COLLECTION_MANIFEST, what)
    return meta


def map_collection(path: Path) -> tuple[CollectionMeta, Dataset, Arrays]:
    """A manifest, the nodes and the arrays, all of one state of a directory.

    It may be replaced meanwhile; then the manifest is another as well, and all is mapped again.
    """
    for _ in range(OPEN_ATTEMPTS):
        meta = collection_meta(path)
        try:
            nodes = GraphStore.open(path / NODES, verify=False)
            arrays = {name: open_array(path, name, info) for name, info in meta.arrays.items()}
        except DamagedError:
            if was_replaced(path, COLLECTION_MANIFEST, meta.fingerprint):
                continue
            raise
        if not was_replaced(path, COLLECTION_MANIFEST, meta.fingerprint):
            _check_shapes(path, meta, nodes.meta, arrays)
            return meta, nodes, arrays
    what = "was replaced again and again while it was opened"
    raise DamagedError(path, COLLECTION_MANIFEST, what)


def verify_files(path: Path) -> Iterator[tuple[str, int]]:
    """Check every checksum and every invariant but those of `check_rows`; yields what passed.

    Raises:
        DamagedError: names the file and what is wrong with it.
    """
    meta, _, arrays = map_collection(path)
    for name, size in GraphStore.verify(path / NODES):
        yield f"{NODES}/{name}", size
    for name, info in meta.arrays.items():
        verify_array(path, name, info, arrays[name])
        yield f"{name}.npy", arrays[name].nbytes


def write_collection(
    path: Path, meta: CollectionMeta, nodes: Dataset, arrays: Arrays, *, overwrite: bool
) -> CollectionMeta:
    """Write a collection; returns its manifest, finished.

    Raises:
        ExistsError: the directory is there and `overwrite` is not given.
    """
    with publish(path, overwrite=overwrite, marker=COLLECTION_MANIFEST) as temporary:
        written = GraphStore.write(temporary / NODES, nodes)
        infos = {n: write_array(temporary / f"{n}.npy", a) for n, a in arrays.items()}
        version = version_there(path, COLLECTION_MANIFEST) + 1
        meta = meta.model_copy(
            update={"arrays": infos, "nodes": written.fingerprint, "version": version}
        )
        meta = meta.model_copy(update={"fingerprint": _fingerprint(meta)})
        write_json(temporary / COLLECTION_MANIFEST, meta.model_dump(mode="json"))
    return meta


def expected_shapes(meta: CollectionMeta) -> dict[str, tuple[int, ...]]:
    """Array → the shape that the manifest asks for."""
    n = meta.num_graphs
    shapes: dict[str, tuple[int, ...]] = {"offsets": (n + 1,)}
    if meta.labels is not None:
        shapes["labels"] = (n,) if meta.num_targets == 1 else (n, meta.num_targets)
    if meta.num_splits:
        shapes["splits"] = (n, meta.num_splits)
    if meta.ids.kind == "int":
        shapes["ids"] = (n,)
    if meta.ids.kind == "string":
        shapes["ids_offsets"] = (n + 1,)
    return shapes


def _check_shapes(path: Path, meta: CollectionMeta, nodes: GraphMeta, arrays: Arrays) -> None:
    for name, shape in expected_shapes(meta).items():
        if name not in arrays:
            raise DamagedError(path, COLLECTION_MANIFEST, f"lists no array {name!r}")
        if arrays[name].shape != shape:
            what = f"has shape {arrays[name].shape} instead of {shape}"
            raise DamagedError(path, f"{name}.npy", what)
    for name, dtype in _dtypes(meta).items():
        if arrays[name].dtype != dtype:
            raise DamagedError(path, f"{name}.npy", f"is {arrays[name].dtype} and not {dtype}")
    edges = nodes.arrays.get("edge_features")
    there = {
        "nodes": nodes.num_nodes,
        "edges": nodes.num_edges,
        "columns of node features": nodes.feature_dim,
        "columns of edge features": edges.shape[1] if edges is not None else 0,
        "fingerprint": nodes.fingerprint,
    }
    told = (meta.num_nodes, meta.num_edges, meta.feature_dim, meta.edge_dim, meta.nodes)
    for (what, got), wanted in zip(there.items(), told, strict=True):
        if got != wanted:
            raise DamagedError(path, NODES, f"has {what} {got} instead of {wanted}")
    if meta.has_positions != ("positions" in nodes.arrays):
        raise DamagedError(path, NODES, "differs from the manifest in whether it has positions")
    _check_schema(path, meta)


def _check_schema(path: Path, meta: CollectionMeta) -> None:
    columns = {
        "node_feature_names": meta.feature_dim,
        "node_cardinalities": meta.feature_dim,
        "edge_feature_names": meta.edge_dim,
        "edge_cardinalities": meta.edge_dim,
    }
    for name, width in columns.items():
        listed = getattr(meta, name)
        if listed is not None and len(listed) != width:
            what = f"has {len(listed)} {name} for {width} columns"
            raise DamagedError(path, COLLECTION_MANIFEST, what)


def _dtypes(meta: CollectionMeta) -> dict[str, type[np.generic]]:
    dtypes: dict[str, type[np.generic]] = {"offsets": np.int64}
    if meta.labels is not None:
        dtypes["labels"] = np.int64 if meta.labels.kind == "class" else np.float32
    if meta.num_splits:
        dtypes["splits"] = np.uint8
    return dtypes


def check_rows(path: Path, meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> None:
    """Invariants that a checksum cannot see.

    Raises:
        DamagedError: names the array and what is wrong with it.
    """
    checks = [
        ("offsets.npy", "does not divide the nodes into graphs", _offsets_rise),
        (NODES, "has edges from one graph into another", _edges_stay_inside),
        ("labels.npy", "holds unknown classes", _classes_known),
        ("splits.npy", "holds unknown codes", _splits_known),
        ("ids", "are not those of the manifest", _ids_fit),
        (NODES, "has sparse features, and a collection holds dense ones", _are_dense),
        (NODES, "has a node feature that is no code of its column", _node_codes_known),
        (NODES, "has an edge feature that is no code of its column", _edge_codes_known),
    ]
    for name, what, passes in checks:
        if not passes(meta, nodes, arrays):
            raise DamagedError(path, name, what)


def _offsets_rise(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    offsets = arrays["offsets"]
    ends = offsets[0] == 0 and offsets[-1] == meta.num_nodes
    return bool(ends and (offsets[1:] >= offsets[:-1]).all())


def _edges_stay_inside(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    offsets, graph = arrays["offsets"], nodes.graph
    sizes = np.diff(offsets)
    first, end = np.repeat(offsets[:-1], sizes), np.repeat(offsets[1:], sizes)
    for start in range(0, meta.num_nodes, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        indptr = graph.indptr[start : start + CHUNK_ROWS + 1]
        sources, degrees = graph.indices[indptr[0] : indptr[-1]], np.diff(indptr)
        low, high = np.repeat(first[rows], degrees), np.repeat(end[rows], degrees)
        if ((sources < low) | (sources >= high)).any():
            return False
    return True


def _classes_known(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    if meta.labels is None or meta.labels.kind == "real" or not meta.num_graphs:
        return True
    labels = arrays["labels"]
    return bool(labels.min() >= -1 and labels.max() < len(meta.labels.classes))


def _splits_known(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    return not meta.num_splits or bool(arrays["splits"].max(initial=0) < 4)


def _ids_fit(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    if meta.ids.num_nodes != meta.num_graphs:
        return False
    if meta.ids.kind == "range":
        return True
    table = arrays.get("ids_table")
    if table is None or table.ndim != 1 or table.dtype.kind != "i":
        return False
    if table.min(initial=-1) < -1 or table.max(initial=-1) >= max(meta.num_graphs, 1):
        return False
    if meta.ids.kind == "int":
        return arrays["ids"].dtype == np.int64
    offsets, data = arrays["ids_offsets"], arrays.get("ids_data")
    if data is None or data.dtype != np.uint8 or data.ndim != 1 or offsets.dtype != np.int64:
        return False
    rises = bool((offsets[1:] >= offsets[:-1]).all())
    return rises and offsets[0] == 0 and offsets[-1] == len(data)


def _are_dense(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    return nodes.features is None or nodes.features.storage != SPARSE


def _node_codes_known(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    if meta.node_cardinalities is None or nodes.features is None:
        return meta.node_cardinalities is None or not meta.node_cardinalities
    starts = range(0, meta.num_nodes, CHUNK_ROWS)
    features, n = nodes.features, meta.num_nodes
    return all(
        _are_codes(features.rows(start, min(start + CHUNK_ROWS, n)).numpy(),
                   meta.node_cardinalities)
        for start in starts
    )  # fmt: skip


def _edge_codes_known(meta: CollectionMeta, nodes: Dataset, arrays: Arrays) -> bool:
    rows = nodes.graph.edge_features
    if meta.edge_cardinalities is None or rows is None:
        return meta.edge_cardinalities is None or not meta.edge_cardinalities
    return _are_codes(rows, meta.edge_cardinalities)


def _are_codes(rows: NDArray[Any], cardinalities: tuple[int, ...]) -> bool:
    inside = (rows >= 0) & (rows < np.array(cardinalities)) & (rows == np.rint(rows))
    return bool(inside.all())


def _fingerprint(meta: CollectionMeta) -> str:
    """Digest of what a collection holds, as 16 hex digits."""
    content = meta.model_dump_json(exclude={"name", "version", "provenance", "fingerprint"})
    return xxhash.xxh3_64(content.encode()).hexdigest()
