"""Edges to predict: known, not messages, and held apart for validation and test.

Beside them may stand given negatives (pairs that are no edges, as the Open Graph Benchmark ships
them; Hu et al. 2020), so that published figures can be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import InputError

__all__ = ["INVERSE", "HeldOut", "LinkSet", "inverse_types"]

PARTS = {"val": 2, "test": 3}
INVERSE = "rev_"
"""What the name of an edge type begins with whose edges run against those of another."""

ARRAYS = {
    "links": "pairs", "link_split": "split", "link_labels": "labels", "link_types": "types",
    "link_times": "times",
}  # fmt: skip
KINDS = {
    "links": np.dtype(np.int64), "link_split": np.dtype(np.uint8),
    "link_labels": np.dtype(np.uint8), "link_types": np.dtype(np.int16),
    "link_times": np.dtype(np.int64),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LinkSet:
    """Pairs of nodes, every one once, in an order that depends on nothing but the pairs.

    Attributes:
        pairs: (num_links, 2) int64 dense nodes: source, destination.
        split: (num_links,) uint8: 2 for val, 3 for test.
        labels: (num_links,) uint8: 1 for an edge, 0 for a given negative.
        types: (num_links,) int16 codes into the graph's edge types, or None.
        times: (num_links,) int64 in the unit of the graph's edge times, or None.
    """

    pairs: NDArray[np.int64]
    split: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    types: NDArray[np.int16] | None = None
    times: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        pairs: Any,
        split: Any,
        labels: Any = None,
        types: Any = None,
        times: Any = None,
    ) -> LinkSet:
        """Links from arrays of any order; all are edges where `labels` is left out.

        Raises:
            InputError: lengths or codes are wrong.

        Example:
            >>> LinkSet.of([[3, 1], [0, 2]], [3, 2]).in_part("val").pairs.tolist()
            [[0, 2]]
        """
        rows = np.asarray(pairs, np.int64).reshape(-1, 2)
        ones = np.ones(len(rows), np.uint8)
        links = cls(
            rows,
            np.asarray(split, np.uint8),
            ones if labels is None else np.asarray(labels, np.uint8),
            None if types is None else np.asarray(types, np.int16),
            None if times is None else np.asarray(times, np.int64),
        )
        if any(len(a) != len(rows) for a in links.columns() if a is not None):
            raise InputError(f"there are {len(rows)} pairs; give a split, and a label, type and "
                             "time where there are any, for each of them")  # fmt: skip
        if not np.isin(links.split, list(PARTS.values())).all():
            raise InputError("the split of a link is neither 2 (val) nor 3 (test)")
        return links.ordered()

    def __len__(self) -> int:
        return len(self.pairs)

    def columns(self) -> tuple[NDArray[Any] | None, ...]:
        """Split, labels, types, times."""
        return self.split, self.labels, self.types, self.times

    def take(self, rows: NDArray[Any]) -> LinkSet:
        """These links, by mask or position."""
        columns: list[Any] = [None if a is None else a[rows] for a in self.columns()]
        return LinkSet(self.pairs[rows], *columns)

    def in_part(self, part: str, *, negatives: bool = False) -> LinkSet:
        """The edges of "val" or "test", or the negatives that were given for it."""
        chosen = (self.split == PARTS[part]) & (self.labels == (0 if negatives else 1))
        return self.take(np.flatnonzero(chosen))

    def ordered(self) -> LinkSet:
        """The same links sorted by part, edges first, then type, time, source, destination."""
        keys = [self.pairs[:, 1], self.pairs[:, 0], self.times, self.types, 1 - self.labels]
        present = [key for key in keys if key is not None]
        return self.take(np.lexsort([*present, self.split]))

    def distinct(self) -> LinkSet:
        """Without links that equal the one before them in everything."""
        if len(self) < 2:
            return self
        again = (self.pairs[1:] == self.pairs[:-1]).all(axis=1)
        for column in self.columns():
            if column is not None:
                again &= column[1:] == column[:-1]
        return self.take(np.concatenate([[True], ~again]))

    def renumbered(self, places: NDArray[Any]) -> LinkSet:
        """The same links under the new number `places[node]` of every node."""
        columns: list[Any] = list(self.columns())
        return LinkSet(places[self.pairs].astype(np.int64), *columns).ordered()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by the name of their file."""
        named = {name: getattr(self, attribute) for name, attribute in ARRAYS.items()}
        return {name: array for name, array in named.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> LinkSet | None:
        """Links from the arrays of a directory; None where it has none."""
        if "links" not in arrays:
            return None
        return cls(**{attribute: arrays.get(name) for name, attribute in ARRAYS.items()})  # type: ignore[arg-type]  # shapes are checked by the store

    def fault(self, num_nodes: int, num_types: int) -> str:
        """What is wrong with the values, or an empty string: files may hold anything."""
        for name, array in self.arrays().items():
            if array.dtype != KINDS[name]:
                return f"{name} is {array.dtype} instead of {KINDS[name]}"
        if len(self) and not (self.pairs.min() >= 0 and self.pairs.max() < num_nodes):
            return "links names nodes that are not there"
        if not np.isin(self.split, list(PARTS.values())).all():
            return "link_split holds unknown codes"
        if not np.isin(self.labels, (0, 1)).all():
            return "link_labels holds unknown codes"
        types = self.types
        if types is not None and len(types) and not (types.min() >= 0 and types.max() < num_types):
            return "link_types holds unknown codes"
        return ""


class HeldOut:
    """Takes links as an ingest comes upon them.

    Args:
        limit_bytes: the most that they may take in memory.
    """

    ROW_BYTES = 64

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._parts: list[tuple[Any, ...]] = []
        self.num_rows = 0

    def add(self, src: Any, dst: Any, split: Any, label: int, types: Any, times: Any) -> None:
        """Keep links; `split` is a code for each or for all of them.

        Raises:
            InputError: there are more than fit, or some have a type or time and some have none.
        """
        self.num_rows += len(src)
        if self.num_rows * self.ROW_BYTES > self.limit_bytes:
            raise InputError(
                f"{self.num_rows} edges to predict take more than the {self.limit_bytes >> 20} MiB "
                "there are for them; give a larger --memory, or fewer val and test edges"
            )
        splits = np.broadcast_to(np.asarray(split, np.uint8), len(src)).copy()
        pairs = np.stack([src, dst], axis=1).astype(np.int64)
        if len(src):
            self._parts.append((pairs, splits, np.full(len(src), label, np.uint8), types, times))

    def finish(self, final: NDArray[np.int16] | None, *, drop_duplicates: bool) -> LinkSet | None:
        """All links, or None; `final` turns provisional codes of types into the graph's."""
        if not self._parts:
            return None
        pairs, split, labels, types, times = zip(*self._parts, strict=True)
        kinds = None if final is None else _joined(types, labels, "type", np.int16)
        links = LinkSet.of(
            np.concatenate(pairs),
            np.concatenate(split),
            np.concatenate(labels),
            None if kinds is None or final is None else final[kinds],
            _joined(times, labels, "time", np.int64),
        )
        return links.distinct() if drop_duplicates else links


def _joined(parts: Any, labels: Any, what: str, dtype: Any) -> NDArray[Any] | None:
    """One column of all parts; negatives may lack it, and have 0 then."""
    if all(part is None for part in parts):
        return None
    if any(part is None and label[0] for part, label in zip(parts, labels, strict=True)):
        raise InputError(f"some val or test edges have a {what} and some have none; give all of "
                         "them one")  # fmt: skip
    filled = [
        np.zeros(len(label), dtype) if part is None else part
        for part, label in zip(parts, labels, strict=True)
    ]
    return np.concatenate(filled)


def inverse_types(names: tuple[str, ...] | list[str]) -> NDArray[np.int64]:
    """The code of the type that runs against each type, -1 where there is none, (num_types,)."""
    code = {name: i for i, name in enumerate(names)}
    inverse = np.full(len(names), -1, np.int64)
    for name, i in code.items():
        base = code.get(name.removeprefix(INVERSE), -1) if name.startswith(INVERSE) else -1
        if base >= 0:
            inverse[i], inverse[base] = base, i
    return inverse
