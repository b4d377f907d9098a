"""Drawing mini-batches by weight, with replacement, by edge type, by layer and before a time.

A rule says which positions of one row are drawn for one frontier entry; `_batch` draws all rows of
all hops by it. An entry is a node, or a node with the time of the seed that it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.neighbors import Hop
from sampling.kernels.reference.random import GOLDEN, MASK, draw, mix, stream_key

__all__ = [
    "ChoiceWorkspace",
    "alias_pick",
    "alias_table",
    "arrival_times",
    "labor_blocks",
    "natural_log",
    "replacement_blocks",
    "subset",
    "temporal_blocks",
    "typed_blocks",
    "weighted_blocks",
]

Array = NDArray[Any]
Entry = tuple[int, ...]
Rule = Callable[[int, Entry, int, int], list[int]]
"""(layer, entry, start, end) → the positions in `indices` of the edges drawn."""

FULL = 1 << 32
NO_EDGE = FULL - 1
SUM_RUN = 4096
RACE_DEGREE, RACE_SHARE, PATIENCE, AHEAD = 64, 4, 2, 32
BEGINNING = -(1 << 63)


class ChoiceWorkspace:
    """Scratch memory of the compiled kernels; the reference needs none."""


def branch_key(key: int, branch: int) -> int:
    """Key of one of the streams of a node in a layer beside its own."""
    return mix((key + GOLDEN * ((1 << 63) + branch)) & MASK)


def word_of(key: int, j: int) -> int:
    """The 64 bits of draw `j` of a stream."""
    return mix((key + GOLDEN * (j + 1)) & MASK)


def subset(degree: int, fanout: int, key: int) -> list[int]:
    """`fanout` of `degree` positions, every subset equally likely (Floyd, in Bentley 1987)."""
    if fanout < 0 or degree <= fanout:
        return list(range(degree))
    picked: list[int] = []
    for j in range(fanout):
        top = degree - fanout + j
        x = draw(key, j, top + 1)
        picked.append(top if x in picked else x)
    return picked


def natural_log(x: Array) -> Array:
    """ln x of positive normal numbers, by artanh; the operations of the compiled one, in order."""
    mantissa, exponent = np.frexp(x)
    lower = mantissa < 0.7071067811865476
    mantissa, exponent = np.where(lower, mantissa * 2.0, mantissa), exponent - lower
    s = (mantissa - 1.0) / (mantissa + 1.0)
    z = s * s
    series = np.full_like(z, 1.0 / 17.0)
    for odd in (15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        series = series * z + 1.0 / odd
    return exponent.astype(np.float64) * 0.6931471805599453 + 2.0 * s * series


def arrival_times(weight: Array, key: int) -> Array:
    """When each position arrives in a race: a standard exponential over its weight."""
    words = np.array([word_of(key, i) >> 12 for i in range(len(weight))], np.float64)
    uniform = 1.0 - words / 2.0**52 - 2.0**-53
    times = np.full(len(weight), np.inf)
    runs = weight > 0
    times[runs] = -natural_log(uniform[runs]) / weight[runs].astype(np.float64)
    return times


def _first_arrivals(times: Array, count: int) -> list[int]:
    order = np.argsort(times, kind="stable")[:count]
    return sorted(order[np.isfinite(times[order])].tolist())


def alias_table(indptr: Array, weight: Array, num_threads: int) -> Array:
    """Table of the alias method for every row (Walker 1977, Vose 1991), (num_edges,) uint64.

    The high half of an entry is the threshold of its column, the low half the column's alias.
    The weights of a row become integers of sum `degree * 2**32`, for which the table is exact.
    """
    table = np.empty(len(weight), np.uint64)
    for start, end in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
        table[start:end] = _alias_row(weight[start:end])
    return table


def _alias_row(weight: Array) -> list[int]:
    degree, total = len(weight), _row_weight(weight)
    if not total > 0:
        return [NO_EDGE] * degree
    scale = float(degree) * 4294967296.0 / total
    shares = [max(int(float(w) * scale), int(w > 0)) for w in weight]
    shares[int(np.argmax(weight))] += degree * FULL - sum(shares)
    lacking = [i for i in range(degree) if shares[i] < FULL]
    others = [i for i in range(degree) if shares[i] >= FULL]
    row = list(range(degree))
    while lacking:
        column, giver = lacking.pop(), others[-1]
        row[column] = shares[column] << 32 | giver
        shares[giver] -= FULL - shares[column]
        if shares[giver] < FULL:
            lacking.append(others.pop())
    return row


def _row_weight(weight: Array) -> float:
    """Sum in runs; Python adds from left to right, which NumPy does not."""
    values, total = weight.astype(np.float64).tolist(), 0.0
    for run in range(0, len(values), SUM_RUN):
        part = 0.0
        for value in values[run : run + SUM_RUN]:
            part += value
        total += part
    return total


def alias_pick(row: Array, word: int) -> int:
    """The position that a 64-bit word draws; NO_EDGE from a row without any weight."""
    product = word * len(row)
    column = product >> 64
    entry = int(row[column])
    return column if (product & MASK) >> 32 < entry >> 32 else entry & NO_EDGE


def _by_weight(weight: Array, table: Array, fanout: int, key: int) -> list[int]:
    degree = len(weight)
    taken: list[int] = []
    if degree > RACE_DEGREE and 0 <= fanout < degree // RACE_SHARE:
        for j in range(PATIENCE * fanout + AHEAD):
            x = alias_pick(table, word_of(key, j))
            if len(taken) == fanout or x >= degree:
                break
            if x not in taken:
                taken.append(x)
        if len(taken) == fanout:
            return taken
    times = arrival_times(weight, branch_key(key, 0))
    times[taken] = np.inf
    return taken + _first_arrivals(times, (degree if fanout < 0 else fanout) - len(taken))


def weighted_blocks(
    workspace: ChoiceWorkspace,
    indptr: Array,
    indices: Array,
    weight: Array,
    table: Array,
    seeds: Array,
    fanouts: list[int],
    seed: int,
    num_threads: int,
) -> tuple[Array, list[Hop]]:
    """Without replacement, by weight: the law of `fanouts[layer]` successive draws per node.

    Short rows are raced for; elsewhere draws by the alias `table` are made one by one, those of
    edges drawn already refused, and after many refusals the race goes on among the rest.
    """

    def rule(layer: int, entry: Entry, start: int, end: int) -> list[int]:
        key = stream_key(seed, layer, entry[0])
        picks = _by_weight(weight[start:end], table[start:end], fanouts[layer], key)
        return [start + x for x in picks]

    return _plain_batch(indptr, indices, seeds, len(fanouts), rule)


def replacement_blocks(
    workspace: ChoiceWorkspace,
    indptr: Array,
    indices: Array,
    table: Array | None,
    seeds: Array,
    fanouts: list[int],
    seed: int,
    num_threads: int,
) -> tuple[Array, list[Hop]]:
    """`fanouts[layer]` draws per node with replacement: uniform, or by weight with a `table`."""

    def rule(layer: int, entry: Entry, start: int, end: int) -> list[int]:
        key, degree = stream_key(seed, layer, entry[0]), end - start
        if degree == 0:
            return []
        if table is None:
            return [start + draw(key, j, degree) for j in range(fanouts[layer])]
        row = table[start:end]
        picks = [alias_pick(row, word_of(key, j)) for j in range(fanouts[layer])]
        return [start + x for x in picks if x < degree]

    return _plain_batch(indptr, indices, seeds, len(fanouts), rule)


def typed_blocks(
    workspace: ChoiceWorkspace,
    indptr: Array,
    indices: Array,
    edge_type: Array | None,
    seeds: Array,
    fanouts: Array,
    seed: int,
    num_threads: int,
) -> tuple[Array, list[Hop]]:
    """Uniform without replacement within each type: `fanouts[layer, type]` edges per node."""

    def rule(layer: int, entry: Entry, start: int, end: int) -> list[int]:
        key = stream_key(seed, layer, entry[0])
        picks: list[int] = []
        for code, (first, last) in _type_runs(edge_type, start, end):
            fanout = int(fanouts[layer, code]) if 0 <= code < fanouts.shape[1] else 0
            picks += [first + x for x in subset(last - first, fanout, branch_key(key, code))]
        return picks

    return _plain_batch(indptr, indices, seeds, len(fanouts), rule)


def _type_runs(edge_type: Array | None, start: int, end: int) -> list[tuple[int, tuple[int, int]]]:
    """(type, first and last edge) of every type in a row that is sorted by type."""
    if edge_type is None:
        return [(0, (start, end))] if start < end else []
    codes, firsts = np.unique(edge_type[start:end], return_index=True)
    bounds = [*(start + firsts).tolist(), end]
    return list(zip(codes.tolist(), pairwise(bounds), strict=True))


def labor_blocks(
    workspace: ChoiceWorkspace,
    indptr: Array,
    indices: Array,
    seeds: Array,
    fanouts: list[int],
    seed: int,
    num_threads: int,
) -> tuple[Array, list[Hop]]:
    """LABOR-0 (Balin, Catalyurek 2023): u stays if its variate of the layer < fanout / degree."""

    def rule(layer: int, entry: Entry, start: int, end: int) -> list[int]:
        fanout, degree = fanouts[layer], end - start
        if fanout < 0 or degree <= fanout:
            return list(range(start, end))
        limit = (fanout << 64) // degree
        return [e for e in range(start, end) if stream_key(seed, layer, int(indices[e])) < limit]

    return _plain_batch(indptr, indices, seeds, len(fanouts), rule)


def temporal_blocks(
    workspace: ChoiceWorkspace,
    indptr: Array,
    indices: Array,
    edge_type: Array | None,
    edge_time: Array,
    seeds: Array,
    times: Array,
    fanouts: list[int],
    recent: bool,
    window: int | None,
    seed: int,
    num_threads: int,
) -> tuple[Array, Array, list[Hop]]:
    """Edges before the time of the seed that an entry serves: uniform, or the most recent.

    Returns:
        nodes, their seeds' times, and the hops; one node under two times is two entries.
    """

    def rule(layer: int, entry: Entry, start: int, end: int) -> list[int]:
        node, time = entry
        first = BEGINNING if window is None else time - window
        eligible = [e for e in range(start, end) if first <= edge_time[e] < time]
        fanout = fanouts[layer]
        if not recent or fanout < 0 or len(eligible) <= fanout:
            key = mix((stream_key(seed, layer, node) + GOLDEN * (time & MASK)) & MASK)
            return [eligible[x] for x in subset(len(eligible), fanout, key)]
        by_age = sorted(eligible, key=lambda e: (int(edge_time[e]), e))
        return sorted(by_age[len(by_age) - fanout :])

    pairs = zip(seeds.tolist(), times.tolist(), strict=True)
    entries, hops = _batch(indptr, indices, list(pairs), len(fanouts), rule)
    columns = np.array(entries, np.int64).reshape(-1, 2)
    return columns[:, 0].copy(), columns[:, 1].copy(), hops


def _plain_batch(
    indptr: Array, indices: Array, seeds: Array, layers: int, rule: Rule
) -> tuple[Array, list[Hop]]:
    entries, hops = _batch(indptr, indices, [(node,) for node in seeds.tolist()], layers, rule)
    return np.array([node for (node,) in entries], np.int64), hops


def _batch(
    indptr: Array, indices: Array, entries: Sequence[Entry], layers: int, rule: Rule
) -> tuple[list[Entry], list[Hop]]:
    """All hops, in layer order, and every entry of the batch in the order first seen."""
    known = list(entries)
    hops: list[Hop] = []
    place: dict[Entry, int] = {}
    for i, entry in enumerate(known):
        place.setdefault(entry, i)
    for layer in reversed(range(layers)):
        offsets, edges, local = [0], [], []
        for node, *tag in list(known):
            drawn = rule(layer, (node, *tag), int(indptr[node]), int(indptr[node + 1]))
            edges += drawn
            offsets.append(len(edges))
            for neighbor in indices[drawn].tolist():
                source = (neighbor, *tag)
                if place.setdefault(source, len(known)) == len(known):
                    known.append(source)
                local.append(place[source])
        arrays = np.array(offsets, np.int64), np.array(local, np.int32), np.array(edges, np.int64)
        hops.append((arrays[0], arrays[1], len(known), arrays[2]))
    return known, hops[::-1]
