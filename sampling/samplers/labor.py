"""Layer-neighbor sampling, LABOR-0 (Balin, Catalyurek, NeurIPS 2023, section 3.2).

In a layer every node u has one variate r_u, uniform on [0, 1), shared by all rows. A row v of
degree d keeps u where

    r_u < pi_v,   pi_v = min(1, fanout / d),

so that rows agree on whom they keep, and a batch has fewer sources than with neighbor sampling,
at the same variance for each row. The number kept is `fanout` in expectation, not exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block
from sampling.graph.csc import Graph
from sampling.samplers.rule import Hops, NodeRuleSampler, checked_fanouts

__all__ = ["LaborSampler"]


class LaborSampler(NodeRuleSampler):
    """Keeps each in-neighbor of a node of degree d with probability min(1, fanout / d).

    `Block.edge_weight` holds the inverse of that probability, times the weight of the edge where
    the graph has weights (Horvitz, Thompson 1952). With it

        aggregate(block, x, "sum", block.edge_weight)

    is an unbiased estimate of the (weighted) sum over the full neighborhood, and divided by
    `block.dst_degrees()` one of the mean.

    Args:
        graph: the graph to sample from.
        fanouts: expected neighbors per node for each layer; -1 takes all.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: a fanout is out of range.

    Cost: reads the whole row of every node; a hash per edge there.

    Example:
        >>> graph = Graph.from_edges([1, 2], [0, 0])
        >>> [block] = LaborSampler(graph, fanouts=[2]).sample([0])
        >>> block.num_edges, block.edge_weight.tolist()
        (2, [1.0, 1.0])
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

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]:
        """Blocks for these seeds, with importance factors as edge weights; see `NeighborSampler`.

        Raises:
            InputError: a seed is not a node of the graph.
        """
        blocks = super().sample(seeds, seed)
        return tuple(self._weighed(b, k) for b, k in zip(blocks, self.fanouts, strict=True))

    def _weighed(self, block: Block, fanout: int) -> Block:
        """The block with importance factors as, or times, its edge weights."""
        nodes = block.dst_nodes.numpy()
        degrees = self.graph.indptr[nodes + 1] - self.graph.indptr[nodes]
        factors = np.maximum(degrees / fanout, 1) if fanout > 0 else np.ones(len(nodes))
        per_edge = np.repeat(factors.astype(np.float32), np.diff(block.indptr.numpy()))
        if block.edge_weight is not None:
            per_edge *= block.edge_weight.numpy()
        return replace(block, edge_weight=torch.from_numpy(per_edge))

    def _draw(
        self, workspace: kernels.ChoiceWorkspace, nodes: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], Hops]:
        return kernels.labor_blocks(
            workspace,
            self.graph.indptr,
            self.graph.indices,
            nodes,
            self.fanouts,
            seed,
            self.num_threads,
        )
