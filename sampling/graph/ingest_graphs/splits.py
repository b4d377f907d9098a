"""Splits of graphs: from a column, from folds, by scaffold, or drawn.

Molecules that share their scaffold (Bemis, Murcko: The Properties of Known Drugs, 1996) stay
together in a scaffold split, so that the test asks about chemistry that was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from sampling.errors import InputError
from sampling.graph.hashing import mix
from sampling.graph.ingest_graphs.config import IngestGraphsConfig
from sampling.graph.ingest_graphs.raw import RawGraphs
from sampling.graph.labels import random_split
from sampling.graph.store import SPLIT_CODES

__all__ = ["fold_splits", "scaffold_split", "splits_of", "stratified_folds"]

SHARES = (0.8, 0.1, 0.1)


def splits_of(config: IngestGraphsConfig, raw: RawGraphs) -> NDArray[np.uint8] | None:
    """(num_graphs, num_splits) codes: what the options draw, else what the columns say.

    Raises:
        InputError: the shares are none, or there are fewer graphs than folds.
    """
    labels = None if raw.targets is None else raw.targets.values
    if config.folds is not None:
        return fold_splits(stratified_folds(labels, raw.num_graphs, config.folds, config.seed))
    has_column = raw.splits is not None or raw.folds is not None
    if config.split_kind == "scaffold" and not has_column:
        shares = config.random_split or SHARES
        return scaffold_split(raw.scaffolds, shares, config.seed)
    if config.random_split is not None or (config.split_kind == "random" and not has_column):
        known = None if labels is None or labels.ndim > 1 else labels
        shares = config.random_split or SHARES
        return random_split(known, raw.num_graphs, shares, config.seed)
    if raw.splits is not None:
        return raw.splits
    return None if raw.folds is None else fold_splits(raw.folds)


def fold_splits(folds: NDArray[np.int64]) -> NDArray[np.uint8]:
    """One split per fold k: it is the test part, the fold after it val, the rest train.

    Args:
        folds: (num_graphs,) from 1; a graph of fold 0 is in no test part and always trained on.

    Raises:
        InputError: there are fewer than two folds.
    """
    count = int(folds.max(initial=0))
    if count < 2:
        raise InputError(f"the column of folds has {count} of them; at least 2 are needed")
    tests = np.arange(1, count + 1)
    splits = np.full((len(folds), count), SPLIT_CODES["train"], np.uint8)
    splits[folds[:, None] == tests % count + 1] = SPLIT_CODES["val"]
    splits[folds[:, None] == tests] = SPLIT_CODES["test"]
    return splits


def stratified_folds(
    labels: NDArray[np.generic] | None, num_graphs: int, count: int, seed: int
) -> NDArray[np.int64]:
    """Folds 1 … count of equal size with equal shares of every class, (num_graphs,).

    Graphs are dealt out class by class in the order of a hash of (seed, graph); real targets are
    dealt out in the order of their size, `count` at a time.

    Raises:
        InputError: there are fewer graphs than folds.
    """
    if num_graphs < count:
        raise InputError(f"{num_graphs} graphs cannot be in {count} folds; ask for fewer")
    words = mix(np.arange(num_graphs, dtype=np.uint64), seed)
    kind = "none" if labels is None or labels.ndim > 1 else labels.dtype.kind
    folds = np.empty(num_graphs, np.int64)
    if kind == "f":
        assert labels is not None
        rank = np.argsort(np.argsort(labels, kind="stable"), kind="stable")
        order = np.lexsort((words, rank // count))
    else:
        order = np.argsort(words) if kind == "none" else np.lexsort((words, labels))  # type: ignore[arg-type]  # None is "none"
    folds[order] = np.arange(num_graphs) % count + 1
    return folds


def scaffold_split(
    scaffolds: Sequence[str], shares: Sequence[float], seed: int
) -> NDArray[np.uint8]:
    """Whole groups of one scaffold, the largest first, fill train, then val, then test, (n, 1).

    Groups of one size are ordered by a hash of (seed, scaffold).

    Raises:
        InputError: the shares are none.
    """
    if len(shares) != 3 or min(shares) < 0 or sum(shares) > 1 + 1e-9:
        raise InputError(f"shares {tuple(shares)} are none; give three that add up to at most 1")
    groups: dict[str, list[int]] = {}
    for graph, scaffold in enumerate(scaffolds):
        groups.setdefault(scaffold, []).append(graph)

    def rank(scaffold: str) -> tuple[int, int]:
        return -len(groups[scaffold]), xxhash.xxh3_64_intdigest(scaffold.encode(), seed)

    ends = np.rint(np.cumsum(shares) * len(scaffolds)).tolist()
    splits = np.zeros((len(scaffolds), 1), np.uint8)
    filled = [0, 0, 0]
    room = [ends[0], ends[1] - ends[0], len(scaffolds)]
    for scaffold in sorted(groups, key=rank):
        size = len(groups[scaffold])
        part = next(p for p in range(3) if p == 2 or filled[p] + size <= room[p])
        splits[groups[scaffold], 0] = part + 1
        filled[part] += size
    return splits
