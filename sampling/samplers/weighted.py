"""Sampling in proportion to edge weights, without replacement.

The law is that of successive draws: each next neighbor is drawn with probability proportional to
its weight among those not drawn yet (Efraimidis, Spirakis, Information Processing Letters 2006;
also known as Gumbel top-k). Short rows are drawn by an exponential race; long ones by the alias
method (Walker 1977, Vose 1991) from a table that is built once, 8 bytes per edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.csc import Graph
from sampling.samplers.rule import Hops, NodeRuleSampler, checked_fanouts

__all__ = ["WeightedNeighborSampler", "alias_table_of", "sampling_weights"]


class WeightedNeighborSampler(NodeRuleSampler):
    """Draws up to `fanouts[i]` in-neighbors per node for layer i in proportion to `edge_weight`.

    An edge of weight zero is never drawn, not even by a fanout of -1.

    Args:
        graph: a graph with edge weights.
        fanouts: neighbors per node for each layer; -1 takes all of positive weight.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: the graph has no weights, one is negative, or a fanout is out of range.

    Cost: the constructor reads the weights once and keeps 8 bytes per edge.

    Example:
        >>> graph = Graph.from_edges([1, 2], [0, 0], edge_weight=[0.0, 2.5])
        >>> [block] = WeightedNeighborSampler(graph, fanouts=[1]).sample([0])
        >>> block.src_nodes[block.indices].tolist()
        [2]
    """

    def __init__(
        self,
        graph: Graph,
        fanouts: Sequence[int],
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(graph, seed, num_threads)
        self.fanouts = checked_fanouts(fanouts)
        self._weight = sampling_weights(graph)
        self._table = alias_table_of(graph, self.num_threads)

    def _draw(
        self, workspace: kernels.ChoiceWorkspace, nodes: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], Hops]:
        return kernels.weighted_blocks(
            workspace,
            self.graph.indptr,
            self.graph.indices,
            self._weight,
            self._table,
            nodes,
            self.fanouts,
            seed,
            self.num_threads,
        )


def sampling_weights(graph: Graph) -> NDArray[np.float32]:
    """The edge weights of a graph, checked to be weights that one can sample by.

    Raises:
        InputError: there are none, or one is negative or not finite.
    """
    weight = graph.edge_weight
    if weight is None:
        raise InputError("the graph has no edge weights to sample by; give edge_weight when it is "
                         "built, or take NeighborSampler")  # fmt: skip
    wrong = ~((weight >= 0) & (weight < np.inf))
    if wrong.any():
        edge = int(np.flatnonzero(wrong)[0])
        raise InputError(f"the weight of edge {edge} is {weight[edge]}; weights to sample by must "
                         "be finite and at least 0")  # fmt: skip
    return weight


def alias_table_of(graph: Graph, num_threads: int) -> NDArray[Any]:
    """The alias table of every row of a graph, (num_edges,) uint64."""
    return kernels.alias_table(graph.indptr, sampling_weights(graph), num_threads)
