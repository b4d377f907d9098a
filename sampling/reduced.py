"""Neighbor sampling whose outermost hop is reduced while it is drawn.

Most edges of a batch are in its outermost hop, and where the first layer takes a sum or a mean of
raw input rows, all that is needed of those edges is that sum. Each node draws its neighbors and
adds up their rows in registers, straight from the feature table: nothing is relabeled, and there
is no matrix of gathered rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.csc import as_tensor
from sampling.graph.features import FeatureTable
from sampling.graph.sparse_features import SparseTable
from sampling.sampler import NeighborSampler

__all__ = ["InputReduction", "ReducedNeighborSampler"]


@dataclass(frozen=True, slots=True)
class InputReduction:
    """What a layer makes of the input rows of a neighborhood, where that is linear.

    Attributes:
        reduce: "sum" or "mean".
        node_weight: factor of every node's row, (num_nodes,) float32; None for 1.
    """

    reduce: Literal["sum", "mean"]
    node_weight: NDArray[np.float32] | None = None


class ReducedNeighborSampler:
    """Draws what `sampler` draws, the edges of the outermost hop already reduced.

    `blocks[0]` does not list its edges: it has the reduction of their sources' rows as
    `received`, and its source nodes are its destinations.

    Args:
        sampler: says which neighbors are drawn.
        features: a row per node of the graph.
        reduction: what is done with the rows.

    Raises:
        InputError: there is not one row, or weight, per node.

    Example:
        >>> from sampling import Graph
        >>> graph = Graph.from_edges([1, 2, 0], [0, 0, 1], num_nodes=3)
        >>> table = FeatureTable.from_rows(np.eye(3, dtype=np.float32))
        >>> every = NeighborSampler(graph, fanouts=[-1])
        >>> [block] = ReducedNeighborSampler(every, table, InputReduction("sum")).sample([0])
        >>> block.received.tolist()
        [[0.0, 1.0, 1.0]]
    """

    def __init__(
        self, sampler: NeighborSampler, features: FeatureTable, reduction: InputReduction
    ) -> None:
        if isinstance(features, SparseTable):
            raise InputError("sparse features cannot be reduced while they are drawn; sample "
                             "with a plain NeighborSampler")  # fmt: skip
        self.sampler, self.features, self.reduction = sampler, features, reduction
        self.graph, self.num_threads = sampler.graph, sampler.num_threads
        counts = {"features": features.num_rows}
        if reduction.node_weight is not None:
            counts["node_weight"] = len(reduction.node_weight)
        for name, count in counts.items():
            if count != self.graph.num_nodes:
                raise InputError(f"{name} has {count} rows; the graph has {self.graph.num_nodes} "
                                 "nodes, and each needs one")  # fmt: skip

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]:
        """Blocks for these seeds; see `NeighborSampler.sample`."""
        key = self.sampler.key(seed)
        nodes, blocks = self.sampler.draw(seeds, key, first_layer=1)
        return self._outermost(nodes, key), *blocks

    def _outermost(self, nodes: NDArray[np.int64], key: int) -> Block:
        indptr, rows = kernels.sample_aggregate(
            self.graph.indptr,
            self.graph.indices,
            nodes,
            self.sampler.fanouts[0],
            key,
            0,
            self.features.array,
            self.features.scale,
            self.reduction.node_weight,
            self.reduction.reduce,
            self.num_threads,
        )
        return Block(
            src_nodes=torch.from_numpy(nodes),
            indptr=torch.from_numpy(indptr),
            indices=torch.empty(0, dtype=torch.int32),
            graph_indptr=as_tensor(self.graph.indptr),
            type_starts=self.graph.type_starts,
            received=torch.from_numpy(rows),
        )
