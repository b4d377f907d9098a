"""Induced subgraphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["induced_subgraph"]

Array = NDArray[Any]


def induced_subgraph(
    indptr: Array, indices: Array, nodes: Array, groups: Array | None, num_threads: int
) -> tuple[Array, Array, Array]:
    """Every edge between two of `nodes`, in the order in which the graph stores it.

    Args:
        indptr: offsets.
        indices: in-neighbors.
        nodes: distinct within a group.
        groups: component of every node; edges between components are left out. None when there
            is one component.
        num_threads: threads.

    Returns:
        offsets: (len(nodes) + 1,).
        local: sources as places in `nodes`, int32.
        edges: positions in `indices`.
    """
    component = [0] * len(nodes) if groups is None else groups.tolist()
    members = list(zip(component, nodes.tolist(), strict=True))
    place = {member: i for i, member in enumerate(members)}
    if len(place) < len(members):
        raise ValueError("a node is there twice")
    rows = [
        [
            (place[group, source], edge)
            for edge in range(indptr[node], indptr[node + 1])
            if (group, source := int(indices[edge])) in place
        ]
        for group, node in members
    ]
    offsets = np.zeros(len(nodes) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    flat = np.array([pair for row in rows for pair in row], np.int64).reshape(-1, 2)
    return offsets, flat[:, 0].astype(np.int32), flat[:, 1].copy()
