"""Sampling with replacement: independent draws, duplicates kept as parallel edges.

The mean over `fanout` such draws is the Monte Carlo estimate of the mean over the neighborhood,
uniform or weighted, and every node that has an in-neighbor gets exactly `fanout` edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sampling import kernels
from sampling.graph.csc import Graph
from sampling.samplers.rule import Hops, NodeRuleSampler, checked_fanouts
from sampling.samplers.weighted import alias_table_of

__all__ = ["ReplacementNeighborSampler"]

MAX_DRAWS = 2**20


class ReplacementNeighborSampler(NodeRuleSampler):
    """Draws `fanouts[i]` in-neighbors per node for layer i, independently of each other.

    A node without in-neighbors (or, weighted, without any of positive weight) gets none.

    Args:
        graph: the graph to sample from.
        fanouts: draws per node for each layer, 0 … 2**20.
        weighted: draw in proportion to `edge_weight` instead of uniformly, by the alias method
            (Walker 1977, Vose 1991).
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: a fanout is out of range; with `weighted`, the graph has no weights or one is
            negative.

    Example:
        >>> graph = Graph.from_edges([1], [0])
        >>> [block] = ReplacementNeighborSampler(graph, fanouts=[3]).sample([0])
        >>> block.src_nodes[block.indices].tolist()
        [1, 1, 1]
    """

    def __init__(
        self,
        graph: Graph,
        fanouts: Sequence[int],
        weighted: bool = False,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(graph, seed, num_threads)
        self.fanouts = checked_fanouts(fanouts, least=0, most=MAX_DRAWS)
        self._table = alias_table_of(graph, self.num_threads) if weighted else None

    def _draw(
        self, workspace: kernels.ChoiceWorkspace, nodes: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], Hops]:
        return kernels.replacement_blocks(
            workspace,
            self.graph.indptr,
            self.graph.indices,
            self._table,
            nodes,
            self.fanouts,
            seed,
            self.num_threads,
        )
