"""Other dense numbers for nodes, so that neighbors lie near each other; ids hide it from users.

By degree: nodes of high in-degree first, so that the rows that are read most share cache lines.
By community: size-constrained label propagation (Meyerhenke, Sanders, Schulz, SEA 2014) finds
clusters, then clusters of clusters; nodes are sorted by them. Every node type keeps its range.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling import kernels
from sampling.graph.arrays import HEADER_BYTES, open_array
from sampling.graph.csc import NodeType, index_dtype
from sampling.graph.edge_features import packed_dtype
from sampling.graph.edges import Edges, EdgeSink, EdgeTypes
from sampling.graph.ingest.adjacency import NODE_BYTES, Adjacency
from sampling.graph.ingest.config import Clock, IngestConfig, Reports
from sampling.graph.memory import MemoryBudget
from sampling.graph.meta import ArrayInfo
from sampling.graph.nodes import Nodes

__all__ = ["community_order", "degree_order", "reorder"]

LEVELS = ((1 << 8, 5), (1 << 14, 3), (1 << 20, 3))
"""Largest cluster of every level, and passes over it at most."""
BLOCKS, MAX_BLOCK = 64, 1 << 16
SETTLED = 0.01
CHUNK_BYTES, CHUNK_EDGE_BYTES = 1 << 26, 64
ORDER_NODE_BYTES = {"degree": 40, "community": 96}
COLUMNS = {
    "edge_type": "type", "edge_time": "time", "edge_weight": "weight", "edge_features": "features",
}  # fmt: skip


def reorder(
    config: IngestConfig,
    nodes: Nodes,
    adjacency: Adjacency,
    budget: MemoryBudget,
    source: Path,
    temporary: Path,
) -> Reports:
    """Write the adjacency in `source` again under other numbers, and remove it.

    Returns what was written, and the old number of every new node, (num_nodes,) int64.

    Raises:
        InputError: the arrays over nodes do not fit the memory bound.
    """
    n = nodes.ids.num_nodes
    budget.reserve(n * ORDER_NODE_BYTES[config.reorder], f"the order of {n} nodes")
    order = yield from _order(config, nodes.node_types, adjacency, source)
    places = np.empty(n, index_dtype(n))
    places[order] = np.arange(n, dtype=places.dtype)
    needed = n * NODE_BYTES + CHUNK_BYTES
    left = budget.reserve(needed, f"arrays over {n} nodes")
    types, clock, done = EdgeTypes(), Clock("order"), 0
    types.encode(pa.array(adjacency.edge_types, pa.large_string()))
    with EdgeSink(temporary, n, left, types, config.threads) as sink:
        for edges in _renumbered(source, adjacency, places):
            sink.add(edges)
            done += len(edges.src)
            yield clock.report(done, adjacency.num_edges)
        for done in sink.finish(drop_duplicates=False):
            yield clock.report(done, adjacency.num_edges)
        shutil.rmtree(source)
        facts = adjacency.facts | {"reorder": config.reorder}
        links = adjacency.links
        return Adjacency(sink.arrays, sink.num_edges, adjacency.edge_types, facts, links), order


def _order(
    config: IngestConfig, node_types: Sequence[NodeType], adjacency: Adjacency, source: Path
) -> Reports:
    clock = Clock("order")
    indptr, indices = (open_array(source, n, adjacency.arrays[n]) for n in ("indptr", "indices"))
    if config.reorder == "degree":
        return degree_order(indptr, node_types)
    passes = community_order(indptr, indices, node_types, config.threads)
    done = 0
    while True:
        try:
            next(passes)
        except StopIteration as finished:
            return finished.value
        done += len(indices)
        yield clock.report(done)


def degree_order(indptr: NDArray[np.int64], node_types: Sequence[NodeType]) -> NDArray[np.int64]:
    """Nodes by falling in-degree within their type, ties as they were, (num_nodes,) int64."""
    parts = [np.empty(0, np.int64)]
    for kind in node_types:
        degrees = np.diff(indptr[kind.start : kind.end + 1])
        parts.append(kind.start + np.argsort(-degrees, kind="stable"))
    return np.concatenate(parts)


def community_order(
    indptr: NDArray[np.int64],
    indices: NDArray[Any],
    node_types: Sequence[NodeType],
    num_threads: int,
) -> Generator[int, None, NDArray[np.int64]]:
    """Nodes by communities within their type; yields after every pass how many units moved.

    A pass is deterministic and reads the label of every in-neighbor once. Clusters of a level
    are the units of the next one, so that communities are nested.
    """
    labels = np.arange(len(indptr) - 1, dtype=indices.dtype)
    keys: list[NDArray[Any]] = []
    for max_size, passes in LEVELS:
        members, starts, unit_of = _units(labels)
        block = int(np.clip((len(starts) - 1) // BLOCKS, 1, MAX_BLOCK))
        for _ in range(passes):
            labels, moved = kernels.propagate_communities(
                indptr, indices, members, starts, unit_of, labels, max_size, block, num_threads
            )
            yield moved
            if moved < SETTLED * (len(starts) - 1):
                break
        keys.append(labels)
    inside = (np.lexsort([key[t.start : t.end] for key in keys]) + t.start for t in node_types)
    return np.concatenate([np.empty(0, np.int64), *inside])


def _units(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Nodes that share a label: members, where every unit begins, and the unit of every node."""
    members = np.argsort(labels, kind="stable")
    first = np.ones(len(labels), bool)
    np.not_equal(labels[members[1:]], labels[members[:-1]], out=first[1:])
    unit_of = np.empty_like(labels)
    unit_of[members] = np.cumsum(first) - 1
    return members, np.append(np.flatnonzero(first), len(labels)), unit_of


def _renumbered(source: Path, adjacency: Adjacency, places: NDArray[Any]) -> Iterator[Edges]:
    """All edges between new numbers, read from files in pieces and not mapped."""
    indptr = np.array(open_array(source, "indptr", adjacency.arrays["indptr"]))
    types = {name: _item(info) for name, info in adjacency.arrays.items()}
    row = CHUNK_EDGE_BYTES + 4 * sum(types[name].itemsize for name in COLUMNS if name in types)
    step = max(CHUNK_BYTES // row, 1)
    for start in range(0, adjacency.num_edges, step):
        end = min(start + step, adjacency.num_edges)
        first = int(np.searchsorted(indptr, start, "right")) - 1
        last = int(np.searchsorted(indptr, end, "left"))
        counts = np.diff(np.clip(indptr[first : last + 1], start, end))
        column = {
            name: _read(source / f"{name}.npy", types[name], start, end)
            for name in ("indices", *COLUMNS)
            if name in types
        }
        more = {role: column[name] for name, role in COLUMNS.items() if name in column}
        dst = np.repeat(places[first:last], counts)
        yield Edges(places[column["indices"]], dst, **more)


def _item(info: ArrayInfo) -> np.dtype[Any]:
    """The type of what an edge has in an array: rows of features are packed."""
    return packed_dtype(info.shape[1]) if len(info.shape) > 1 else np.dtype(info.dtype)


def _read(path: Path, dtype: np.dtype[Any], start: int, end: int) -> NDArray[Any]:
    offset = HEADER_BYTES + start * dtype.itemsize
    return np.fromfile(path, dtype, end - start, offset=offset)
