"""Size-constrained label propagation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.kernels.reference.random import GOLDEN, MASK, mix

__all__ = ["propagate_labels"]

Array = NDArray[Any]


def propagate_labels(
    indptr: Array,
    indices: Array,
    weights: Array,
    labels: Array,
    order: Array,
    num_labels: int,
    least: int,
    capacity: int,
    seed: int,
) -> Array:
    """New labels: each node, in order, joins the label that most of its in-neighbors have.

    Only labels with room count; equals are decided by staying, then by a hash of the label. A
    node that finds none goes to the lightest.

    Args:
        indptr: offsets.
        indices: in-neighbors.
        weights: of every node.
        labels: of every node, -1 for none yet.
        order: nodes to visit.
        num_labels: labels are 0 … num_labels - 1.
        least: weight below which no node leaves a label.
        capacity: most weight of a label.
        seed: of the hash.
    """
    labels = labels.copy()
    load = [0] * num_labels
    for label, weight in zip(labels.tolist(), weights.tolist(), strict=True):
        if label >= 0:
            load[label] += weight
    for node in order.tolist():
        own, weight = int(labels[node]), int(weights[node])
        if own >= 0 and load[own] - weight < least:
            continue
        neighbors = indices[indptr[node] : indptr[node + 1]]
        votes = Counter(labels[neighbors[neighbors != node]].tolist())
        votes[own] += 0
        del votes[-1]
        if own >= 0:
            load[own] -= weight
        ranked = [
            (count, label == own, mix((seed + GOLDEN * label) & MASK), label)
            for label, count in votes.items()
            if load[label] + weight <= capacity
        ]
        labels[node] = best = max(ranked)[-1] if ranked else int(np.argmin(load))
        load[best] += weight
    return labels
