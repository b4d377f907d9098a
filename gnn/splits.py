"""Which labeled nodes are trained on, which choose the weights, and which only measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gnn.errors import TrainingError
from sampling import Dataset
from sampling.errors import InputError

__all__ = ["PARTS", "check_split_index", "cut_by_time", "random_split", "split_nodes"]

PARTS = ("train", "val", "test")
Nodes = NDArray[np.int64]


def split_nodes(
    data: Dataset,
    labeled: Tensor,
    *,
    split_index: int = 0,
    split: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    by_time: bool = False,
) -> dict[str, Nodes]:
    """Labeled nodes of each part, ascending.

    The graph's own split is used where it has one. Otherwise the labeled nodes are divided at
    random, in a way that depends on `seed` and the fractions alone.

    Args:
        data: the graph.
        labeled: whether a node has a target, (num_nodes,) bool.
        split_index: which of the graph's splits.
        split: shares of train, val and test where the graph has no split.
        seed: randomness of that division.
        by_time: divide by the times of the nodes instead, the last ones for test; equal times stay
            together.

    Raises:
        TrainingError: no node has a label.
        InputError: the graph has no such split.
    """
    mask = labeled.numpy()
    if not mask.any():
        raise TrainingError(f"no node of graph {data.meta.name!r} has a label")
    if data.splits is not None:
        parts = {part: data.nodes_in(part, split_index) for part in PARTS}
        return {part: nodes[mask[nodes]] for part, nodes in parts.items()}
    check_split_index(split_index, data.meta.name)
    if by_time and data.node_time is not None:
        nodes = np.flatnonzero(mask)
        codes = cut_by_time(data.node_time[nodes], split)
        return {part: nodes[codes == i] for i, part in enumerate(PARTS)}
    return random_split(np.flatnonzero(mask), split, seed)


def check_split_index(split_index: int, name: str) -> None:
    """Refuse to choose among splits where there are none.

    Raises:
        InputError: `split_index` is not 0.
    """
    if split_index:
        raise InputError(f"split_index is {split_index}, and {name!r} has no splits; leave it out, "
                         "or ingest splits")  # fmt: skip


def random_split(nodes: Nodes, split: tuple[float, float, float], seed: int) -> dict[str, Nodes]:
    """These nodes (or graphs) divided at random by shares, each part ascending."""
    order = np.random.default_rng(seed & ((1 << 64) - 1)).permutation(nodes)
    first, second = (round(len(nodes) * share) for share in (split[0], split[0] + split[1]))
    pieces = (order[:first], order[first:second], order[second:])
    return {part: np.sort(piece) for part, piece in zip(PARTS, pieces, strict=True)}


def cut_by_time(times: Nodes, split: tuple[float, float, float]) -> Nodes:
    """The part of every entry, (n,): 0, 1 or 2; equal times have equal parts.

    Example:
        >>> cut_by_time(np.array([1, 2, 2, 2, 3, 4]), (0.5, 0.3, 0.2)).tolist()
        [0, 0, 0, 0, 1, 2]
    """
    ordered, parts = np.sort(times), np.zeros(len(times), np.int64)
    for share in (split[0], split[0] + split[1]):
        count = round(len(times) * share)
        parts += times > ordered[count - 1] if count else 1
    return parts
