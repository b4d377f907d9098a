"""One hop of message flow: the only view of a graph that a layer gets.

A sampled mini-batch, the whole graph, one tile of a whole-graph embedding run and a graph
that a client posts are all Blocks, so there is one forward pass for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Block", "MiniBatch"]


@dataclass(frozen=True, slots=True)
class Block:
    """A bipartite hop: messages flow from source nodes to destination nodes.

    The destination nodes are the `num_dst` source nodes from `dst_offset` on; the offset is 0
    in a sampled block (destinations are a prefix of the sources) and the first row of the tile
    in a tile of the whole graph.

    Attributes:
        src_nodes: dense node indices, (num_src,) int64.
        indptr: offsets into `indices`, (num_dst + 1,) int64, starting at 0.
        indices: positions in `src_nodes`, (num_edges,) int32, or int64 from 2**31 sources on.
        dst_offset: position in `src_nodes` of the first destination.
        graph_indptr: offsets of the graph that the block was cut from, (num_nodes + 1,) int64,
            by reference; None when the block is the whole world (a posted graph).
        edge_ids: positions of the edges in the graph's arrays, (num_edges,) int64; None where
            the sampler was not asked for them.
        edge_type: (num_edges,) integer codes; None when the graph has one edge type.
        edge_weight: (num_edges,) float32; None when the graph has no weights.
        edge_time: (num_edges,) int64; None when the graph has no times.
        received: the reduction of input rows over the edges, (num_dst, d) float32, of a hop that
            was reduced while it was drawn; None otherwise. Such a hop does not list its edges:
            `indptr` counts them, `indices` is empty and the sources are the destinations.
    """

    src_nodes: Tensor
    indptr: Tensor
    indices: Tensor
    dst_offset: int = 0
    graph_indptr: Tensor | None = None
    edge_ids: Tensor | None = None
    edge_type: Tensor | None = None
    edge_weight: Tensor | None = None
    edge_time: Tensor | None = None
    received: Tensor | None = None

    @property
    def num_src(self) -> int:
        return int(self.src_nodes.shape[0])

    @property
    def num_dst(self) -> int:
        return int(self.indptr.shape[0]) - 1

    @property
    def num_edges(self) -> int:
        return int(self.indptr[-1])

    @property
    def dst_nodes(self) -> Tensor:
        """Dense indices of the destination nodes, (num_dst,) int64."""
        return self.dst_rows(self.src_nodes)

    def dst_rows(self, x: Tensor) -> Tensor:
        """The rows of `x` (num_src, ...) that belong to the destinations, (num_dst, ...)."""
        return x[self.dst_offset : self.dst_offset + self.num_dst]

    def in_degrees(self) -> Tensor:
        """Edges of this block into each destination, (num_dst,) int64."""
        return self.indptr[1:] - self.indptr[:-1]

    def src_degrees(self) -> Tensor:
        """In-degree of every source node in the whole graph, (num_src,) int64.

        Sampling does not change it, which is what makes a GCN over a sampled block estimate
        the GCN over the full neighborhood.
        """
        return self._graph_degrees(self.src_nodes)

    def dst_degrees(self) -> Tensor:
        """In-degree of every destination in the whole graph, (num_dst,) int64."""
        return self._graph_degrees(self.dst_nodes)

    def _graph_degrees(self, nodes: Tensor) -> Tensor:
        if self.graph_indptr is not None:
            return self.graph_indptr[nodes + 1] - self.graph_indptr[nodes]
        assert self.num_src == self.num_dst, "a Block without a graph is the whole world"
        return self.in_degrees()


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """What one training step reads.

    Attributes:
        seeds: dense indices to predict for, (batch,) int64; equals `blocks[-1].dst_nodes`.
        blocks: one per layer, in the order the layers run.
        x: input rows for `blocks[0].src_nodes`, (num_src, d_in) float32; None without features.
        y: targets of the seeds, (batch,) int64 classes or float32 values; None without labels.
    """

    seeds: Tensor
    blocks: tuple[Block, ...]
    x: Tensor | None
    y: Tensor | None
