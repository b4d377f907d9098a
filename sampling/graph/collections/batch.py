"""Batches of whole graphs: many small graphs side by side are one block-diagonal graph.

Nodes of a graph follow each other, and so do their edges in compressed sparse columns. A batch
is therefore a copy of a few ranges, with the sources shifted to where their graph now begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling.block import Block
from sampling.graph.csc import Graph

__all__ = ["GraphBatch", "Ranges", "cut_block"]


@dataclass(frozen=True, slots=True)
class GraphBatch:
    """Some graphs of a collection, side by side.

    Attributes:
        block: all their edges; sources and destinations are all nodes 0 … n - 1 of the batch.
            It is the whole world: degrees are those in the block.
        x: node features, (n, d) float32; None without features.
        positions: places in space, (n, 3) float32, or None.
        graph_indptr: first node of every graph and, last, the number of nodes, (batch + 1,) int64.
        graphs: which graphs of the collection, (batch,) int64.
        y: (batch,) int64 classes or float32 targets, (batch, k) for k targets; None without labels.
    """

    block: Block
    x: Tensor | None
    positions: Tensor | None
    graph_indptr: Tensor
    graphs: Tensor
    y: Tensor | None

    @property
    def num_graphs(self) -> int:
        return int(self.graphs.shape[0])

    @property
    def num_nodes(self) -> int:
        return self.block.num_src

    @property
    def node_graph(self) -> Tensor:
        """The place in the batch of the graph of every node, (n,) int64."""
        sizes = self.graph_indptr[1:] - self.graph_indptr[:-1]
        return torch.repeat_interleave(torch.arange(self.num_graphs), sizes)


class Ranges:
    """Ranges `starts[i] … ends[i]` of one array, copied behind each other.

    Args:
        starts: first entry of every range.
        ends: one past the last.
    """

    def __init__(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._pairs = list(zip(starts.tolist(), ends.tolist(), strict=True))
        self.sizes = ends - starts
        self.indptr = np.concatenate([[0], np.cumsum(self.sizes)])
        self.shifts = self.indptr[:-1] - starts

    def take(self, array: NDArray[Any]) -> NDArray[Any]:
        """The entries of all ranges, copied."""
        if not self._pairs:
            return np.array(array[:0])
        return np.concatenate([array[start:end] for start, end in self._pairs])

    def take_shifted(self, array: NDArray[Any], shifts: NDArray[np.int64]) -> NDArray[Any]:
        """The same, `shifts[i]` added to all entries of range i."""
        taken = self.take(array)
        taken += np.repeat(shifts.astype(taken.dtype), self.sizes)
        return taken


def cut_block(graph: Graph, nodes: Ranges, edges: Ranges) -> Block:
    """The graphs that own these ranges of nodes and of edges, as one Block."""

    def taken(array: NDArray[Any] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(edges.take(array))

    indptr = np.empty(nodes.indptr[-1] + 1, np.int64)
    indptr[:-1] = nodes.take_shifted(graph.indptr[:-1], edges.shifts)
    indptr[-1] = edges.indptr[-1]
    return Block(
        src_nodes=torch.arange(int(nodes.indptr[-1])),
        indptr=torch.from_numpy(indptr),
        indices=torch.from_numpy(edges.take_shifted(graph.indices, nodes.shifts)),
        edge_type=taken(graph.edge_type),
        edge_weight=taken(graph.edge_weight),
        edge_time=taken(graph.edge_time),
        edge_features=taken(graph.edge_features),
    )
