"""GCN (Kipf, Welling: Semi-Supervised Classification with Graph Convolutional Networks, 2017).

    out = D̃^(-1/2) (A + I) D̃^(-1/2) X W + b,      D̃ = D + I

Row by row, with d the in-degree in the whole graph and k the number of edges in the block:

    out_v = 1/√(d_v+1) · [ d_v/k_v · Σ_{u → v} x_u/√(d_u+1) + x_v/√(d_v+1) ] W + b

The factor d_v/k_v makes the sum over sampled neighbors an unbiased estimate of the full one and
is 1 without sampling. W is applied first where it makes the rows narrower. Edge weights are not
looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.aggregate import estimate_sum, full_sum
from gnn.sparse import mapped
from sampling import Block, NodeView

__all__ = ["GCNConv"]


class GCNConv(nn.Module):
    """One GCN layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
    """

    sends_input = False
    activates = True
    linear_reduction = "gcn"

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.d_out = d_out
        self.linear = nn.Linear(d_in, d_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(d_out))
        self.transforms_first = d_in > d_out

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row, (rows, d_in or d_out).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to.
        """
        weight = self.linear.weight
        rows = mapped(self.linear, x) if self.transforms_first else x.to(weight.dtype)
        return rows * self._inverse_root(nodes.degrees())

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from all messages, the destinations' own included, (num_dst, d_out)."""
        own = block.dst_rows(messages).to(self.linear.weight.dtype)
        rows = (estimate_sum(block, messages) + own) * self._inverse_root(block.dst_degrees())
        return (rows if self.transforms_first else self.linear(rows)) + self.bias

    def combine_received(self, block: Block, x_dst: Tensor, received: Tensor) -> Tensor:
        """The same, from Σ x_u/√(d_u+1) of input rows over the drawn edges, (num_dst, d_in)."""
        weight = self._inverse_root(block.dst_degrees())
        own = x_dst.to(self.linear.weight.dtype) * weight
        out: Tensor = self.linear((full_sum(block, received) + own) * weight) + self.bias
        return out

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)

    def _inverse_root(self, degrees: Tensor) -> Tensor:
        return (degrees + 1).to(self.linear.weight.dtype).rsqrt()[:, None]
