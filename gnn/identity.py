"""Which graph something was made from."""

from __future__ import annotations

import numpy as np
import xxhash

from gnn.data import Data
from sampling.graph.collection import GraphCollection

__all__ = ["graph_fingerprint"]


def graph_fingerprint(data: Data) -> str:
    """Digest of a graph's content: of its manifest, or of its arrays when it was never on disk."""
    if data.meta.fingerprint:
        return data.meta.fingerprint
    nodes = data.nodes if isinstance(data, GraphCollection) else data
    features = None if nodes.features is None else nodes.features.array
    arrays = [nodes.graph.indptr, nodes.graph.indices, features, data.labels, data.splits]
    arrays += [data.offsets] if isinstance(data, GraphCollection) else []
    digest = xxhash.xxh3_64()
    for array in arrays:
        if array is not None and array.size:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return str(digest.hexdigest())
