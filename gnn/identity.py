"""Which graph something was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from gnn.data import Data
from sampling import FeatureTable
from sampling.graph.collection import GraphCollection

__all__ = ["graph_fingerprint"]


def graph_fingerprint(data: Data) -> str:
    """Digest of a graph's content: of its manifest, or of its arrays when it was never on disk."""
    if data.meta.fingerprint:
        return data.meta.fingerprint
    nodes = data.nodes if isinstance(data, GraphCollection) else data
    features = [] if nodes.features is None else _rows(nodes.features)
    arrays = [nodes.graph.indptr, nodes.graph.indices, *features, data.labels, data.splits]
    arrays += [data.offsets] if isinstance(data, GraphCollection) else []
    digest = xxhash.xxh3_64()
    for array in arrays:
        if array is not None and array.size:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return str(digest.hexdigest())


def _rows(features: FeatureTable) -> list[NDArray[Any]]:
    """What rows are made of; the steps of int8 columns follow from them."""
    arrays = features.arrays()
    return [array for name, array in arrays.items() if name != "feature_scale"]
