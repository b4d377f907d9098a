"""Which edges or nodes are trained on, in order of time: what comes later chooses, and then tests.

All of one time go to one part, the earlier one where a share ends among them, so no part knows
anything of the moment at which the next begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn.errors import TrainingError
from gnn.link_split import is_symmetric, target_edges
from gnn.splits import PARTS, cut_by_time
from sampling import Dataset, Graph
from sampling.graph.linksets import inverse_types
from sampling.temporal_links import SeenDestinations, TimedLinks

__all__ = ["SHARES", "TemporalParts", "split_by_time"]

SHARES = (0.7, 0.15, 0.15)
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TemporalParts:
    """The edges of a graph in order of time, and where its parts begin.

    Attributes:
        links: all edges to predict, by (time, type, source, destination).
        ends: one past the last link of train, val and test.
    """

    links: TimedLinks
    ends: tuple[int, int, int]

    def part(self, name: str) -> TimedLinks:
        """The edges of "train", "val" or "test"."""
        i = PARTS.index(name)
        return self.links.take(slice(self.ends[i - 1] if i else 0, self.ends[i]))

    def seen(self, name: str) -> SeenDestinations:
        """Draws from the destinations of this part and those before it, never of a later one."""
        return SeenDestinations(self.links.take(slice(0, self.ends[PARTS.index(name)])))


def split_by_time(data: Dataset, split: tuple[float, float, float] = SHARES) -> TemporalParts:
    """The parts of a graph's edges. Of an undirected edge one direction is predicted.

    Args:
        data: a graph with edge times; all of its edges can be memory.
        split: shares of train, val and test.

    Raises:
        TrainingError: the graph has no edge times, holds val and test edges apart, or has too few
            times to train on some and keep others.
    """
    graph, name = data.graph, data.meta.name
    if graph.edge_time is None:
        raise TrainingError(f"graph {name!r} has no edge times, which temporal training reads; "
                            "ingest a time column, or leave out --temporal")  # fmt: skip
    if data.links is not None and len(data.links):
        raise TrainingError(f"graph {name!r} has val and test edges that are no messages; ingest "
                            "all edges without a split to divide them by time")  # fmt: skip
    links = _ordered(graph)
    if not len(links):
        raise TrainingError(f"graph {name!r} has no edges to learn to predict")
    counts = np.bincount(cut_by_time(links.times, split), minlength=3)
    if not counts[0]:
        raise TrainingError(f"a split of {split} leaves no edge to train on; give train a share")
    first, second, third = np.cumsum(counts).tolist()
    return TemporalParts(links, (first, second, third))


def _ordered(graph: Graph) -> TimedLinks:
    assert graph.edge_time is not None, "the caller looked"
    inverse = inverse_types(graph.edge_types)
    chosen = np.flatnonzero(target_edges(graph, is_symmetric(graph), inverse))
    src = graph.indices[chosen].astype(np.int64)
    dst = np.searchsorted(graph.indptr, chosen, side="right") - 1
    times = np.asarray(graph.edge_time[chosen], np.int64)
    types = None
    if graph.edge_type is not None and len(graph.edge_types) > 1:
        types = graph.edge_type[chosen].astype(np.int64)
    keys = [dst, src, times] if types is None else [dst, src, types, times]
    return TimedLinks(src, dst, times, types).take(np.lexsort(keys))
