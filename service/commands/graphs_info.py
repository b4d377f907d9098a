"""What `gnn info` and `gnn verify` say of a collection of graphs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.console import Progress

if TYPE_CHECKING:
    from sampling import GraphCollection

__all__ = ["describe_collection", "verify_collection"]


def describe_collection(path: Path) -> dict[str, Any]:
    """What is known of a collection without reading its edges."""
    from sampling import GraphCollection

    data = GraphCollection.open(path, verify=False)
    meta = data.meta
    return {
        "graphs": meta.name,
        "version": meta.version,
        "fingerprint": meta.fingerprint,
        "num_graphs": meta.num_graphs,
        "num_nodes": meta.num_nodes,
        "num_edges": meta.num_edges,
        "nodes_per_graph": _sizes(data),
        "ids": meta.ids.kind,
        "features": _columns(meta.feature_dim, meta.node_feature_names, meta.node_cardinalities),
        "edge_features": _columns(meta.edge_dim, meta.edge_feature_names, meta.edge_cardinalities),
        "has_positions": meta.has_positions,
        "labels": _labels(data),
        "splits": [
            {part: len(data.in_part(part, index)) for part in ("train", "val", "test")}
            for index in range(meta.num_splits)
        ],
        "size_bytes": sum(p.stat().st_size for p in path.rglob("*") if p.is_file()),
        "format_version": meta.format_version,
        "provenance": meta.provenance,
    }


def verify_collection(path: Path) -> dict[str, Any]:
    """Read every byte of a collection and check every checksum and invariant."""
    from sampling import GraphCollection

    meta = GraphCollection.read_meta(path)
    total = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    started, files, done = time.perf_counter(), 0, 0
    with Progress("bytes") as progress:
        for name, size in GraphCollection.verify(path):
            files, done = files + 1, done + size
            progress.update("verify", done, total, name)
    return {
        "graphs": meta.name,
        "version": meta.version,
        "fingerprint": meta.fingerprint,
        "intact": True,
        "files": files,
        "checked_bytes": done,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _sizes(data: GraphCollection) -> dict[str, float]:
    import numpy as np

    sizes = data.sizes()
    if not len(sizes):
        return {}
    return {
        "mean": float(sizes.mean()),
        "median": float(np.median(sizes)),
        "max": int(sizes.max()),
        "none": int((sizes == 0).sum()),
    }


def _columns(
    width: int, names: tuple[str, ...] | None, cardinalities: tuple[int, ...] | None
) -> dict[str, Any] | None:
    if not width:
        return None
    return {
        "dim": width,
        "names": None if names is None else list(names[:50]),
        "cardinalities": None if cardinalities is None else list(cardinalities[:50]),
    }


def _labels(data: GraphCollection) -> dict[str, Any] | None:
    import numpy as np

    about, labels = data.label_info, data.labels
    if about is None or labels is None:
        return None
    if about.kind == "real":
        known = np.isfinite(labels).reshape(len(labels), -1)
        names = data.meta.target_names or ("label",)
        return {
            "kind": "real",
            "labeled": dict(zip(names, known.sum(axis=0).tolist(), strict=True)),
        }
    sizes = np.bincount(labels[labels >= 0], minlength=len(about.classes)).tolist()
    per_class = {str(name): n for name, n in zip(about.classes, sizes, strict=True)}
    return {"kind": "class", "labeled": sum(sizes), "num_classes": len(sizes),
            "classes": per_class}  # fmt: skip
