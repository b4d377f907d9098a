"""Slow, obviously right twins of the compiled kernels, in NumPy, with the same signatures.

One contract suite runs both. What a kernel computes is written down here; how it is made fast
is written in `csrc/`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GOLDEN",
    "MASK",
    "Workspace",
    "aggregate",
    "build_csc",
    "build_id_table",
    "build_string_table",
    "check_csc",
    "csc_order",
    "draw",
    "find_ids",
    "find_strings",
    "floyd",
    "gather",
    "max_backward",
    "mix",
    "relabel",
    "sample_blocks",
    "sample_neighbors",
    "stream_key",
    "transpose",
]

Array = NDArray[Any]
Table = tuple[Array, int, int]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
LINEAR_LIMIT = 64
RETRY = 1 << 32


# --- randomness: SplitMix64 (Steele, Lea, Flood 2014) as a counter-based generator -----------


def mix(z: int) -> int:
    """SplitMix64's finalizer: a bijection of 64-bit words that scatters every bit."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def stream_key(seed: int, layer: int, node: int) -> int:
    """The key of the random stream that belongs to one node in one layer."""
    base = mix((seed + GOLDEN * (layer + 1)) & MASK)
    return mix((base + GOLDEN * node) & MASK)


def draw(key: int, j: int, n: int) -> int:
    """Draw `j` of stream `key`: exactly uniform on 0 … n - 1 (Lemire 2019)."""
    if n >= 1 << 32:
        word = mix((key + GOLDEN * (j + 1)) & MASK)
        return _bounded(key, j, n, 64, word)
    word = mix((key + GOLDEN * (j // 2 + 1)) & MASK)
    return _bounded(key, j, n, 32, word >> 32 if j % 2 else word & 0xFFFFFFFF)


def _bounded(key: int, j: int, n: int, bits: int, word: int) -> int:
    span = 1 << bits
    threshold = span % n
    attempt = 0
    while (word * n) % span < threshold:
        attempt += 1
        word = mix((key + GOLDEN * (RETRY * attempt + j + 1)) & MASK) >> (64 - bits)
    return (word * n) >> bits


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


# --- adjacency ----------------------------------------------------------------------------------


def build_csc(src: Array, dst: Array, num_nodes: int, num_threads: int) -> tuple[Array, Array]:
    """Offsets (num_nodes + 1,) int64 and sources (num_edges,), each row sorted by source."""
    indptr, order = csc_order(src, dst, num_nodes, None, None, None, num_threads)
    return indptr, src[order].astype(np.int32 if num_nodes < 2**31 else np.int64)


def csc_order(
    src: Array,
    dst: Array,
    num_nodes: int,
    edge_type: Array | None,
    edge_time: Array | None,
    edge_weight: Array | None,
    num_threads: int,
) -> tuple[Array, Array]:
    """Offsets, and the edge that belongs at every position: rows by (type, time, src, weight)."""
    keys = [k for k in (edge_weight, src, edge_time, edge_type, dst) if k is not None]
    order = np.lexsort(keys).astype(np.int64)
    indptr = np.zeros(num_nodes + 1, np.int64)
    np.cumsum(np.bincount(dst, minlength=num_nodes), out=indptr[1:])
    return indptr, order


def check_csc(indptr: Array, indices: Array, num_threads: int) -> str:
    """What is wrong with an adjacency, or an empty string."""
    if len(indptr) == 0 or indptr[0] != 0:
        return "indptr does not start at 0"
    if (np.diff(indptr) < 0).any():
        return f"indptr falls after row {int(np.flatnonzero(np.diff(indptr) < 0)[0])}"
    if indptr[-1] != len(indices):
        return f"indptr ends at {indptr[-1]}, but there are {len(indices)} edges"
    bad = np.flatnonzero((indices < 0) | (indices >= len(indptr) - 1))
    if len(bad):
        return f"indices[{bad[0]}] is {indices[bad[0]]}, outside 0 … {len(indptr) - 2}"
    return ""


def transpose(indptr: Array, indices: Array, num_src: int) -> tuple[Array, Array, Array]:
    """The same edges listed by source: offsets, destination of each, position of each."""
    dst = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.argsort(indices, kind="stable").astype(np.int64)
    t_indptr = np.zeros(num_src + 1, np.int64)
    np.cumsum(np.bincount(indices, minlength=num_src), out=t_indptr[1:])
    return t_indptr, dst[order].astype(indices.dtype), order


# --- sampling -------------------------------------------------------------------------------------


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
) -> tuple[Array, list[Hop]]:
    """All hops of a mini-batch, in layer order: the last fanout is drawn first, from the seeds.

    Returns:
        nodes: every node of the batch; hop i reads the first `num_src` of them.
        hops: (indptr, indices into nodes, num_src, edge ids or None) for each layer.
    """
    nodes, hops = seeds, []
    for layer in reversed(range(len(fanouts))):
        offsets, edges = sample_neighbors(
            indptr, indices, nodes, fanouts[layer], seed, layer, num_threads
        )
        nodes, local = relabel(workspace, nodes, indices[edges])
        hops.append((offsets, local, len(nodes), edges if with_edge_ids else None))
    return nodes, hops[::-1]


# --- rows -----------------------------------------------------------------------------------------


def to_float32(x: Array, scale: Array | None) -> Array:
    """Rows as float32: float16, bfloat16 (as uint16 bits) and int8 (times scale) included."""
    if x.dtype == np.uint16:
        return (x.astype(np.uint32) << 16).view(np.float32)
    rows = x.astype(np.float32)
    return rows if scale is None else rows * scale


def gather(x: Array, rows: Array, scale: Array | None, num_threads: int) -> Array:
    """Rows of `x` as float32, (len(rows), d)."""
    return to_float32(x[rows], scale)


def aggregate(
    indptr: Array,
    indices: Array,
    x: Array,
    scale: Array | None,
    weight: Array | None,
    reduce: str,
    num_threads: int,
) -> tuple[Array, Array | None]:
    """Sum, mean or max over the edges of every row, (num_dst, d) float32; empty rows are 0.

    With `weight` (num_edges,) float32, messages are multiplied by it first; a mean still
    divides by the number of edges. For max the position of the winning edge is returned as
    well, (num_dst, d) int64, -1 in empty rows; the first of equals wins.
    """
    num_dst, d = len(indptr) - 1, x.shape[1]
    out = np.zeros((num_dst, d), np.float32)
    arg = np.full((num_dst, d), -1, np.int64) if reduce == "max" else None
    for i in range(num_dst):
        start, end = int(indptr[i]), int(indptr[i + 1])
        if start == end:
            continue
        rows = to_float32(x[indices[start:end]], scale)
        if weight is not None:
            rows = rows * weight[start:end, None]
        if arg is not None:
            out[i], arg[i] = rows.max(axis=0), start + rows.argmax(axis=0)
            continue
        total = rows.sum(axis=0, dtype=np.float64)
        out[i] = total / (end - start) if reduce == "mean" else total
    return out, arg


def max_backward(arg: Array, indices: Array, grad: Array, num_src: int, num_threads: int) -> Array:
    """Gradient of a max aggregation by its inputs, (num_src, d) float32."""
    out = np.zeros((num_src, grad.shape[1]), np.float32)
    row, column = np.nonzero(arg >= 0)
    np.add.at(out, (indices[arg[row, column]], column), grad[row, column])
    return out


# --- ids ------------------------------------------------------------------------------------------


def build_id_table(keys: Array) -> tuple[Array, int, int]:
    """A hash index over distinct int64 keys: (table, salt, duplicate row or -1)."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(np.diff(keys[order]) == 0)
    return order.astype(np.int64), 0, int(order[same[0] + 1]) if len(same) else -1


def find_ids(keys: Array, table: Array, salt: int, queries: Array, num_threads: int) -> Array:
    """Row of every query among the keys, or -1, (len(queries),) int64."""
    if len(keys) == 0:
        return np.full(len(queries), -1, np.int64)
    place = np.minimum(np.searchsorted(keys[table], queries), len(keys) - 1)
    rows = table[place]
    return np.where(keys[rows] == queries, rows, -1)


def _strings(data: Array, offsets: Array) -> list[bytes]:
    raw = data.tobytes()
    return [raw[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]


def build_string_table(data: Array, offsets: Array) -> tuple[Array, int, int]:
    """As `build_id_table`, for keys `data[offsets[i]:offsets[i + 1]]`."""
    keys = _strings(data, offsets)
    order = sorted(range(len(keys)), key=lambda i: (keys[i], i))
    twice = [b for a, b in pairwise(order) if keys[a] == keys[b]]
    return np.array(order, np.int64), 0, twice[0] if twice else -1


def find_strings(
    data: Array,
    offsets: Array,
    table: Array,
    salt: int,
    query_data: Array,
    query_offsets: Array,
    num_threads: int,
) -> Array:
    """As `find_ids`, for string keys."""
    rows = {key: i for i, key in enumerate(_strings(data, offsets))}
    queries = _strings(query_data, query_offsets)
    return np.array([rows.get(q, -1) for q in queries], np.int64)
