"""Which graph something was made from."""

from __future__ import annotations

import numpy as np
import xxhash

from sampling import Dataset

__all__ = ["graph_fingerprint"]


def graph_fingerprint(data: Dataset) -> str:
    """Digest of a graph's content: of its manifest, or of its arrays when it was never on disk."""
    if data.meta.fingerprint:
        return data.meta.fingerprint
    digest = xxhash.xxh3_64()
    features = None if data.features is None else data.features.array
    for array in (data.graph.indptr, data.graph.indices, features, data.labels, data.splits):
        if array is not None and array.size:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return str(digest.hexdigest())
