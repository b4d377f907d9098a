"""Rows between layers, kept: a node that was asked about lately costs its neighbors one hop, not L.

What layer i makes of a node depends on the model, the graph, the node and, where neighbors are
drawn, on the seed, since every draw is keyed by (seed, layer, node); on nothing of the request. So
a row that one answer needed serves the next, bit for bit or within rounding, as the historical
embeddings of GNNAutoScale (Fey et al., 2021) do in training, but never stale: the key names all of
it, and all of it is compared.

A Python object per row would cost more than computing most rows does. The cache is a table of
slots, looked up a batch at a time: a row has one slot, by a hash of its key, and a row that was
used since the hand came by stays there once more, as SIEVE (Zhang et al., NSDI 2024) has it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["HiddenCache", "HiddenKey"]

KEY_BYTES = 8 + 8 + 4 + 1
MOST_KINDS = 256
EXACT_SEED = -1
Array = NDArray[np.int64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HiddenKey:
    """All that a row depends on beside the node.

    Attributes:
        model_digest: weights, architecture and fanouts.
        graph_fingerprint: all arrays of the graph.
        layer: the layer that made the row, from 0.
        seed: of the drawn neighbors; None where all are read.
    """

    model_digest: str
    graph_fingerprint: str
    layer: int
    seed: int | None

    @property
    def kind(self) -> tuple[str, str, int, bool]:
        """All but the seed, of which there are too many to number."""
        return self.model_digest, self.graph_fingerprint, self.layer, self.seed is None


class HiddenCache:
    """Rows by (key, node), in memory, for one process; safe to call from several threads.

    Args:
        limit_bytes: rows and keys together; 0 keeps nothing.

    Example:
        >>> cache, key = HiddenCache(10_000), HiddenKey("m", "g", 0, 7)
        >>> cache.put(key, np.array([3]), np.ones((1, 2), np.float32))
        >>> found, rows = cache.get(key, np.array([3, 4]), 2)
        >>> found.tolist(), rows.tolist()
        ([True, False], [[1.0, 1.0]])
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._tables: dict[int, _Table] = {}
        self._kinds: dict[tuple[str, str, int, bool], int] = {}
        self._num_kinds = 0
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes of all slots, used or not."""
        with self._lock:
            return sum(table.size_bytes for table in self._tables.values())

    def get(self, key: HiddenKey, nodes: Array, width: int) -> tuple[NDArray[np.bool_], Rows]:
        """Which of the nodes are there, (n,), and the rows of those, (hits, width)."""
        with self._lock:
            table = self._table(width)
            if table is None:
                return np.zeros(len(nodes), np.bool_), np.empty((0, width), np.float32)
            return table.get(self._number(key), _seed_of(key), nodes)

    def put(self, key: HiddenKey, nodes: Array, rows: Rows) -> None:
        """Keep rows of distinct nodes, (n, width), where there is room for them."""
        with self._lock:
            table = self._table(rows.shape[1])
            if table is not None:
                table.put(self._number(key), _seed_of(key), nodes, rows)

    def _number(self, key: HiddenKey) -> int:
        """A number for the kind of a key; numbers are not used again."""
        number = self._kinds.get(key.kind)
        if number is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            number = self._kinds[key.kind] = self._num_kinds
            self._num_kinds += 1
        return number

    def _table(self, width: int) -> _Table | None:
        """The slots for rows of one width; a width that is new takes its share from the others."""
        table = self._tables.get(width)
        if table is not None:
            return table
        widths = [*self._tables, width]
        share = self.limit_bytes // len(widths)
        counts = {each: share // (4 * each + KEY_BYTES) for each in widths}
        self._tables = {each: _Table(count, each) for each, count in counts.items() if count}
        return self._tables.get(width)


class _Table:
    def __init__(self, num_slots: int, width: int) -> None:
        self.nodes = np.full(num_slots, -1, np.int64)
        self.seeds = np.zeros(num_slots, np.int64)
        self.kinds = np.zeros(num_slots, np.int32)
        self.is_used = np.zeros(num_slots, np.bool_)
        self.rows = np.zeros((num_slots, width), np.float32)

    @property
    def size_bytes(self) -> int:
        arrays = (self.nodes, self.seeds, self.kinds, self.is_used, self.rows)
        return sum(array.nbytes for array in arrays)

    def get(self, kind: int, seed: int, nodes: Array) -> tuple[NDArray[np.bool_], Rows]:
        slots = self._slots(kind, seed, nodes)
        found = self._holds(slots, kind, seed, nodes)
        hits = slots[found]
        self.is_used[hits] = True
        return found, self.rows[hits]

    def put(self, kind: int, seed: int, nodes: Array, rows: Rows) -> None:
        slots = self._slots(kind, seed, nodes)
        stays = self.is_used[slots] & ~self._holds(slots, kind, seed, nodes)
        self.is_used[slots[stays]] = False
        # of several rows for one slot the first one is kept
        taken, first = np.unique(slots[~stays], return_index=True)
        chosen = np.flatnonzero(~stays)[first]
        self.nodes[taken], self.seeds[taken], self.kinds[taken] = nodes[chosen], seed, kind
        self.rows[taken] = rows[chosen]

    def _holds(self, slots: Array, kind: int, seed: int, nodes: Array) -> NDArray[np.bool_]:
        own = (self.seeds[slots] == seed) & (self.kinds[slots] == kind)
        holds: NDArray[np.bool_] = own & (self.nodes[slots] == nodes)
        return holds

    def _slots(self, kind: int, seed: int, nodes: Array) -> Array:
        """A slot for every node: the mixing of SplitMix64 (Steele, Lea, Flood, 2014)."""
        salt = np.uint64((seed * 0x9E3779B97F4A7C15 + kind * 0xD1342543DE82EF95) % 2**64)
        mixed = nodes.astype(np.uint64) ^ salt
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        return (mixed % np.uint64(len(self.nodes))).astype(np.int64)


def _seed_of(key: HiddenKey) -> int:
    return EXACT_SEED if key.seed is None else key.seed
