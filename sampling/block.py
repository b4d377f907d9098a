"""One hop of message flow: the only view of a graph that a layer gets.

A sampled mini-batch, the whole graph, one tile of a whole-graph embedding run and a graph
that a client posts are all Blocks, so there is one forward pass for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Block", "MiniBatch", "NodeView"]


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a convolution may know of the nodes behind some rows: who they are, not their rows.

    Attributes:
        nodes: dense node indices, (num_nodes,) int64.
        graph_indptr: offsets of their graph, (num_graph_nodes + 1,) int64; None for the nodes of
            a graph that is the whole world.
        type_starts: first node of every node type and, last, the number of nodes,
            (num_types + 1,) int64; None where there is one type.
        in_degrees: in-degrees of a graph that is the whole world, or those before the times that
            the nodes are seen at, (num_nodes,); None elsewhere.
    """

    nodes: Tensor
    graph_indptr: Tensor | None = None
    type_starts: Tensor | None = None
    in_degrees: Tensor | None = None

    def degrees(self) -> Tensor:
        """In-degree of every node, in the whole graph or before its time, (num_nodes,) int64."""
        if self.in_degrees is not None:
            return self.in_degrees
        assert self.graph_indptr is not None, "a Block without a graph is the whole world"
        return self.graph_indptr[self.nodes + 1] - self.graph_indptr[self.nodes]

    def types(self) -> Tensor:
        """Code of the type of every node, (num_nodes,) int64; zeros where there is one type."""
        if self.type_starts is None:
            return torch.zeros_like(self.nodes)
        return torch.searchsorted(self.type_starts, self.nodes, right=True) - 1


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
        edge_features: (num_edges, d_edge) float32; None when the graph has none.
        dst_times: when each destination is predicted, (num_dst,) int64; None where no times are
            asked for.
        degrees_then: in-degree of every source node before the time that it is seen at,
            (num_src,) int64; None where no times are asked for.
        type_starts: first node of every node type and, last, the number of nodes of the graph,
            (num_types + 1,) int64, by reference; None when the graph has one node type.
        graph_offsets: first destination of every graph of a collection's batch and, last, their
            number, (num_graphs + 1,) int64; None elsewhere.
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
    edge_features: Tensor | None = None
    dst_times: Tensor | None = None
    degrees_then: Tensor | None = None
    type_starts: Tensor | None = None
    graph_offsets: Tensor | None = None
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
        the GCN over the full neighborhood. Where times are asked for, edges from a node's time
        on do not count.
        """
        return self.sources.degrees()

    def dst_degrees(self) -> Tensor:
        """In-degree of every destination in the whole graph, (num_dst,) int64."""
        return self.destinations.degrees()

    @property
    def sources(self) -> NodeView:
        """The source nodes."""
        return self._view(self.src_nodes, self.degrees_then)

    @property
    def destinations(self) -> NodeView:
        """The destination nodes."""
        then = None if self.degrees_then is None else self.dst_rows(self.degrees_then)
        return self._view(self.dst_nodes, then)

    def _view(self, nodes: Tensor, degrees: Tensor | None) -> NodeView:
        is_world = self.graph_indptr is None and self.num_src == self.num_dst
        degrees = self.in_degrees() if degrees is None and is_world else degrees
        return NodeView(nodes, self.graph_indptr, self.type_starts, degrees)


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
