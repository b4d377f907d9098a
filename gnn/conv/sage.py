"""GraphSAGE (Hamilton, Ying, Leskovec: Inductive Representation Learning on Large Graphs, 2017).

    out_v = W_self x_v + W_neigh · reduce { x_u : u → v } + b        reduce: mean, sum or max

or, over edges with weights, their mean by weight, Σ w_uv x_u / Σ |w_uv|; no other reduction looks
at weights. "gcn" is their inductive variant of GCN (section 3.3, equation 2), with one map for a
node and its neighbors:

    out_v = W · mean({ x_v } ∪ { x_u : u → v }) + b  =  W · (x_v + Σ_{u → v} x_u) / (k + 1) + b

with k edges into v in the block; a self edge of the graph counts beside the node itself. All but
the maximum are linear, so where rows become narrower W_neigh, or W, is applied before the edges
are walked: the same result with less to move. A sum over sampled neighbors is scaled to the full
neighborhood.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.aggregate import aggregate, estimate_sum, full_sum
from sampling import Block, NodeView

__all__ = ["SAGEConv"]

LINEAR = {"mean": "mean", "sum": "sum", "gcn": "sum"}
"""What `combine_received` takes, by aggregator."""


class SAGEConv(nn.Module):
    """One GraphSAGE layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        aggregator: "mean", "sum", "max", "weighted" for the mean by edge weight, where an edge
            without one weighs 1, or "gcn" for the mean of a node and its neighbors under one map.

    Attributes:
        own: W_self and b; None under "gcn".
        neighbors: W_neigh; W and b under "gcn".
    """

    activates = True

    def __init__(self, d_in: int, d_out: int, aggregator: str = "mean") -> None:
        super().__init__()
        self.d_out = d_out
        self.aggregator = aggregator
        self.own = None if aggregator == "gcn" else nn.Linear(d_in, d_out)
        self.neighbors = nn.Linear(d_in, d_out, bias=aggregator == "gcn")
        self.sends_input = aggregator == "max" or d_in <= d_out
        self.linear_reduction = LINEAR.get(aggregator)

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row, (rows, d_in or d_out).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        if self.sends_input:
            return x
        rows: Tensor = self.neighbors(x.to(self.neighbors.weight.dtype))
        return rows

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out)."""
        received = self._reduced(block, messages)
        if self.sends_input:
            received = self.neighbors(received)
        return self._add(x_dst, received)

    def _reduced(self, block: Block, messages: Tensor) -> Tensor:
        if self.aggregator == "sum":
            return estimate_sum(block, messages)
        if self.aggregator == "gcn":
            return _joined(block, block.dst_rows(messages), aggregate(block, messages, "sum"))
        if self.aggregator != "weighted" or block.edge_weight is None:
            reduce = "mean" if self.aggregator == "weighted" else self.aggregator
            return aggregate(block, messages, reduce)
        weight = block.edge_weight.to(torch.promote_types(messages.dtype, torch.float32))
        total = aggregate(block, weight.new_ones(block.num_src, 1), "sum", weight.abs())
        received = aggregate(block, messages, "sum", weight)
        return received / total.where(total > 0, 1.0).to(received.dtype)

    def combine_received(self, block: Block, x_dst: Tensor, received: Tensor) -> Tensor:
        """The same, from the reduction of input rows over the drawn edges, (num_dst, d_in)."""
        if self.aggregator == "sum":
            received = full_sum(block, received)
        if self.aggregator == "gcn":
            received = _joined(block, x_dst.to(self.neighbors.weight.dtype), received)
        return self._add(x_dst, self.neighbors(received))

    def _add(self, x_dst: Tensor, received: Tensor) -> Tensor:
        if self.own is None:
            return received
        out: Tensor = self.own(x_dst.to(self.own.weight.dtype)) + received
        return out

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)


def _joined(block: Block, own: Tensor, received: Tensor) -> Tensor:
    """The mean of a node's own row and its neighbors', of which `received` is the sum."""
    return (received + own) / (block.in_degrees() + 1)[:, None]
