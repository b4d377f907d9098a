"""Sampling with a fanout per edge type (Schlichtkrull et al., ESWC 2018, sum over relations).

Rows are sorted by edge type, so the edges of one type are a sub-range, found by binary search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.csc import Graph
from sampling.samplers.rule import Hops, NodeRuleSampler, checked_fanout

__all__ = ["TypedNeighborSampler"]


class TypedNeighborSampler(NodeRuleSampler):
    """Draws uniformly, without replacement, within each edge type.

    Args:
        graph: the graph to sample from.
        fanouts: for each layer, a fanout for every edge type, or a mapping from names of edge
            types to fanouts; types that a mapping leaves out are not drawn. -1 takes all.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: a name is not an edge type of the graph, or a fanout is out of range.

    Example:
        >>> graph = Graph.from_edges([1, 2, 3], [0, 0, 0], edge_type=[0, 0, 1],
        ...                          edge_types=("follows", "likes"))
        >>> [block] = TypedNeighborSampler(graph, [{"follows": 1, "likes": 5}]).sample([0])
        >>> block.edge_type.tolist()
        [0, 1]
    """

    def __init__(
        self,
        graph: Graph,
        fanouts: Sequence[int | Mapping[str, int]],
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(graph, seed, num_threads)
        if not isinstance(fanouts, Sequence) or not fanouts:
            raise InputError(f"fanouts {fanouts!r}: give an integer or a mapping per layer")
        self.fanouts = list(fanouts)
        rows = [_per_type(entry, graph.edge_types) for entry in fanouts]
        self._per_type = np.array(rows, np.int64)

    def _draw(
        self, workspace: kernels.ChoiceWorkspace, nodes: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], Hops]:
        return kernels.typed_blocks(
            workspace,
            self.graph.indptr,
            self.graph.indices,
            self.graph.edge_type,
            nodes,
            self._per_type,
            seed,
            self.num_threads,
        )


def _per_type(entry: int | Mapping[str, int], names: tuple[str, ...]) -> list[int]:
    if not isinstance(entry, Mapping):
        return [checked_fanout(entry)] * len(names)
    unknown = [name for name in entry if name not in names]
    if unknown:
        raise InputError(f"fanouts name edge type {unknown[0]!r}; the graph has "
                         f"{', '.join(map(repr, names))}")  # fmt: skip
    return [checked_fanout(entry.get(name, 0)) for name in names]
