"""Uniform neighbor sampling and relabeling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.random import draw, stream_key
from sampling.kernels.reference.rows import aggregate

__all__ = [
    "LINEAR_LIMIT",
    "Workspace",
    "floyd",
    "relabel",
    "sample_aggregate",
    "sample_blocks",
    "sample_neighbors",
]

Array = NDArray[Any]
LINEAR_LIMIT = 64


def floyd(degree: int, fanout: int, key: int) -> list[int]:
    """`fanout` of `degree` positions, every subset equally likely (Floyd, in Bentley 1987)."""
    if fanout < 0 or degree <= fanout:
        return list(range(degree))
    picked: list[int] = []
    for j in range(fanout):
        top = degree - fanout + j
        x = draw(key, j, top + 1)
        picked.append(top if x in picked else x)
    return sorted(picked) if degree <= LINEAR_LIMIT else picked


def sample_neighbors(
    indptr: Array,
    indices: Array,
    nodes: Array,
    fanout: int,
    seed: int,
    layer: int,
    num_threads: int,
) -> tuple[Array, Array]:
    """Offsets (len(nodes) + 1,) and the positions in `indices` of the edges drawn."""
    picks = []
    for node in nodes.tolist():
        start, end = int(indptr[node]), int(indptr[node + 1])
        key = stream_key(seed, layer, node)
        picks.append([start + p for p in floyd(end - start, fanout, key)])
    out_indptr = np.zeros(len(nodes) + 1, np.int64)
    np.cumsum([len(p) for p in picks], out=out_indptr[1:])
    return out_indptr, np.array([p for row in picks for p in row], np.int64)


class Workspace:
    """Scratch memory of the compiled sampler; the reference needs none."""


def relabel(workspace: Workspace, seeds: Array, neighbors: Array) -> tuple[Array, Array]:
    """Nodes in the order first seen (seeds first, as given) and each neighbor's place there."""
    place: dict[int, int] = {}
    for i, node in enumerate(seeds.tolist()):
        place.setdefault(node, i)
    nodes = seeds.tolist()
    local = np.empty(len(neighbors), np.int32)
    for i, node in enumerate(neighbors.tolist()):
        if node not in place:
            place[node] = len(nodes)
            nodes.append(node)
        local[i] = place[node]
    return np.array(nodes, np.int64), local


Hop = tuple[Array, Array, int, Array | None]


def sample_blocks(
    workspace: Workspace,
    indptr: Array,
    indices: Array,
    seeds: Array,
    fanouts: list[int],
    seed: int,
    num_threads: int,
    with_edge_ids: bool,
    first_layer: int = 0,
) -> tuple[Array, list[Hop]]:
    """All hops of a mini-batch, in layer order: the last fanout is drawn first, from the seeds.

    The first fanout belongs to layer `first_layer`.

    Returns:
        nodes: every node of the batch; hop i reads the first `num_src` of them.
        hops: (indptr, indices into nodes, num_src, edge ids or None) for each layer.
    """
    nodes, hops = seeds, []
    for layer in reversed(range(len(fanouts))):
        offsets, edges = sample_neighbors(
            indptr, indices, nodes, fanouts[layer], seed, first_layer + layer, num_threads
        )
        nodes, local = relabel(workspace, nodes, indices[edges])
        hops.append((offsets, local, len(nodes), edges if with_edge_ids else None))
    return nodes, hops[::-1]


def sample_aggregate(
    indptr: Array,
    indices: Array,
    nodes: Array,
    fanout: int,
    seed: int,
    layer: int,
    x: Array,
    scale: Array | None,
    node_weight: Array | None,
    reduce: str,
    num_threads: int,
) -> tuple[Array, Array]:
    """What `sample_neighbors` draws, and the sum or mean of its rows of `x`.

    With `node_weight` (len(x),) float32, rows are multiplied by it first.

    Returns:
        Offsets of the edges drawn, (len(nodes) + 1,), and one float32 row per node.
    """
    offsets, edges = sample_neighbors(indptr, indices, nodes, fanout, seed, layer, num_threads)
    sources = indices[edges]
    weight = None if node_weight is None else node_weight[sources]
    return offsets, aggregate(offsets, sources, x, scale, weight, reduce, num_threads)[0]
