"""GraphSAGE (Hamilton, Ying, Leskovec: Inductive Representation Learning on Large Graphs, 2017).

    out_v = W_self x_v + W_neigh · reduce { x_u : u → v } + b        reduce: mean, sum or max

Mean and sum are linear, so where rows become narrower W_neigh is applied before the edges are
walked: the same result with less to move. A sum over sampled neighbors is scaled to the full
neighborhood. Edge weights are not looked at.
"""

from __future__ import annotations

from torch import Tensor, nn

from gnn.aggregate import aggregate, estimate_sum, full_sum
from sampling import Block, NodeView

__all__ = ["SAGEConv"]


class SAGEConv(nn.Module):
    """One GraphSAGE layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        aggregator: "mean", "sum" or "max".
    """

    activates = True

    def __init__(self, d_in: int, d_out: int, aggregator: str = "mean") -> None:
        super().__init__()
        self.d_out = d_out
        self.aggregator = aggregator
        self.own = nn.Linear(d_in, d_out)
        self.neighbors = nn.Linear(d_in, d_out, bias=False)
        self.sends_input = aggregator == "max" or d_in <= d_out
        self.linear_reduction = None if aggregator == "max" else aggregator

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
        received = (
            estimate_sum(block, messages)
            if self.aggregator == "sum"
            else aggregate(block, messages, self.aggregator)
        )
        if self.sends_input:
            received = self.neighbors(received)
        return self._add(x_dst, received)

    def combine_received(self, block: Block, x_dst: Tensor, received: Tensor) -> Tensor:
        """The same, from the reduction of input rows over the drawn edges, (num_dst, d_in)."""
        if self.aggregator == "sum":
            received = full_sum(block, received)
        return self._add(x_dst, self.neighbors(received))

    def _add(self, x_dst: Tensor, received: Tensor) -> Tensor:
        out: Tensor = self.own(x_dst.to(self.own.weight.dtype)) + received
        return out

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
