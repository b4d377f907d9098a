"""Communities: one pass of size-constrained label propagation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["propagate_communities"]

Array = NDArray[Any]


def propagate_communities(
    indptr: Array,
    indices: Array,
    members: Array,
    starts: Array,
    unit_of: Array,
    labels: Array,
    max_size: int,
    block: int,
    num_threads: int,
) -> tuple[Array, int]:
    """Labels after one pass over all units, and how many units moved.

    A unit is a set of nodes with one label. It wants the label that is most frequent among its
    in-neighbors outside it and that has room for it; ties go to its own label, then to the least.
    The units of a block choose from the same labels, and then move in order.

    Args:
        indptr: offsets of the adjacency.
        indices: in-neighbors.
        members: nodes, unit by unit.
        starts: (num_units + 1,) where every unit begins in `members`.
        unit_of: (num_nodes,) unit of every node.
        labels: (num_nodes,) label of every node, 0 … num_nodes - 1.
        max_size: the most nodes that share a label.
        block: units that choose at the same time.
        num_threads: threads.
    """
    labels, moved = labels.copy(), 0
    sizes = np.bincount(labels, minlength=len(labels))
    units = [members[a:b] for a, b in pairwise(starts)]
    for first in range(0, len(units), block):
        some = list(enumerate(units))[first : first + block]
        wishes = [
            _wish(indptr, indices, unit, i, unit_of, labels, sizes, max_size) for i, unit in some
        ]
        for (_, unit), wish in zip(some, wishes, strict=True):
            own = labels[unit[0]]
            if wish != own and sizes[wish] + len(unit) <= max_size:
                sizes[own] -= len(unit)
                sizes[wish] += len(unit)
                labels[unit] = wish
                moved += 1
    return labels, moved


def _wish(
    indptr: Array,
    indices: Array,
    unit: Array,
    number: int,
    unit_of: Array,
    labels: Array,
    sizes: Array,
    max_size: int,
) -> int:
    near = np.concatenate([indices[indptr[v] : indptr[v + 1]] for v in unit])
    own = int(labels[unit[0]])
    found, counts = np.unique(labels[near[unit_of[near] != number]], return_counts=True)
    score = {int(label): int(count) for label, count in zip(found, counts, strict=True)}
    room = [x for x in score if x == own or sizes[x] + len(unit) <= max_size]
    return max([own, *room], key=lambda x: (score.get(x, 0), x == own, -x))
