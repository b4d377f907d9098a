"""`gnn info` and `gnn verify`: what a graph directory holds, and whether it still holds it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from service.commands.graphs_info import describe_collection, verify_collection
from service.commands.options import Debug, GraphPath, Json
from service.console import Progress, show

if TYPE_CHECKING:
    from sampling import Dataset

__all__ = ["info", "verify"]


def info(graph: GraphPath, json: Json = False, debug: Debug = False) -> None:
    """Counts, degrees, types, storage, bytes and versions of a graph, or of a collection."""
    from sampling import GraphStore
    from sampling.graph.manifest import is_collection

    if is_collection(graph):
        return show(describe_collection(graph), json)
    return show(describe(GraphStore.open(graph, verify=False)), json)


def verify(graph: GraphPath, json: Json = False, debug: Debug = False) -> None:
    """Read every byte of a graph, or of a collection, and check every checksum and invariant."""
    from sampling import GraphStore
    from sampling.graph.manifest import is_collection
    from sampling.graph.store import MANIFEST

    if is_collection(graph):
        return show(verify_collection(graph), json)
    meta = GraphStore.meta(graph)
    total = sum(nbytes(i.dtype, i.shape) for i in meta.arrays.values())
    total += (graph / MANIFEST).stat().st_size
    started, files, done = time.perf_counter(), 0, 0
    with Progress("bytes") as progress:
        for name, size in GraphStore.verify(graph):
            files, done = files + 1, done + size
            progress.update("verify", done, total, name)
    seconds = time.perf_counter() - started
    return show(
        {
            "graph": meta.name,
            "version": meta.version,
            "fingerprint": meta.fingerprint,
            "intact": True,
            "files": files,
            "checked_bytes": done,
            "seconds": round(seconds, 3),
        },
        json,
    )


def describe(data: Dataset) -> dict[str, Any]:
    """What is known of a graph without reading its edges."""
    meta = data.meta
    return {
        "graph": meta.name,
        "version": meta.version,
        "fingerprint": meta.fingerprint,
        "num_nodes": meta.num_nodes,
        "num_edges": meta.num_edges,
        "in_degrees": _degrees(data),
        "node_types": {name: end - start for name, start, end in meta.node_types},
        "edge_types": list(meta.edge_types),
        "ids": meta.ids.kind,
        "features": None
        if data.features is None
        else {"dim": meta.feature_dim, "storage": meta.feature_storage},
        "labels": _labels(data),
        "splits": _splits(data),
        "arrays": {
            name: f"{i.dtype} {'x'.join(str(n) for n in i.shape)}"
            for name, i in meta.arrays.items()
        },
        "size_bytes": sum(nbytes(i.dtype, i.shape) for i in meta.arrays.values()),
        "format_version": meta.format_version,
        "provenance": meta.provenance,
    }


def nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of an array that is not opened."""
    import numpy as np

    return int(np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64))


def _degrees(data: Dataset) -> dict[str, float]:
    import numpy as np

    degrees = data.graph.in_degrees()
    if not len(degrees):
        return {}
    return {
        "mean": float(degrees.mean()),
        "median": float(np.median(degrees)),
        "max": int(degrees.max()),
        "none": int((degrees == 0).sum()),
    }


def _labels(data: Dataset) -> dict[str, Any] | None:
    import numpy as np

    about = data.meta.labels
    if about is None or data.labels is None:
        return None
    if about.kind == "real":
        return {"kind": "real", "labeled": int(np.isfinite(data.labels).sum())}
    if about.kind == "multi":
        known = data.labels[data.labels[:, 0] <= 1]
        counts = known.sum(axis=0, dtype=np.int64).tolist()
    else:
        known = data.labels[data.labels >= 0]
        counts = np.bincount(known, minlength=len(about.classes)).tolist()
    per_class = {str(name): n for name, n in zip(about.classes, counts, strict=True)}
    return {
        "kind": about.kind,
        "labeled": len(known),
        "num_classes": len(counts),
        "classes": per_class,
    }


def _splits(data: Dataset) -> list[dict[str, int]]:
    parts = ("train", "val", "test")
    return [
        {part: len(data.nodes_in(part, index)) for part in parts}
        for index in range(data.meta.num_splits)
    ]
