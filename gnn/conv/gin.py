"""GIN (Xu, Hu, Leskovec, Jegelka: How Powerful are Graph Neural Networks?, 2019).

    out_v = MLP((1 + ε) x_v + Σ_{u → v} x_u)

A sum over sampled neighbors is scaled to the full neighborhood. Edge weights are not looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.aggregate import estimate_sum, full_sum
from gnn.conv.mlp import MLP
from sampling import Block, NodeView

__all__ = ["GINConv"]


class GINConv(nn.Module):
    """One GIN layer without the nonlinearity after its MLP.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        train_eps: learn ε; it is 0 otherwise.
        d_mlp: width inside of the MLP; `d_out` when left out.
        norm: normalization inside of the MLP, "batch" or "none".
    """

    sends_input = True
    activates = True
    linear_reduction = "sum"

    def __init__(
        self,
        d_in: int,
        d_out: int,
        train_eps: bool = False,
        d_mlp: int | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.d_out = d_out
        self.mlp = MLP(d_in, d_mlp or d_out, d_out, norm)
        self.eps = nn.Parameter(torch.zeros(()), requires_grad=train_eps)

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: the row, (rows, d_in).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        return x

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out)."""
        return self._update(x_dst, estimate_sum(block, messages))

    def combine_received(self, block: Block, x_dst: Tensor, received: Tensor) -> Tensor:
        """The same, from the sum of input rows over the drawn edges, (num_dst, d_in)."""
        return self._update(x_dst, full_sum(block, received))

    def _update(self, x_dst: Tensor, received: Tensor) -> Tensor:
        out: Tensor = self.mlp((1 + self.eps) * x_dst.to(self.eps.dtype) + received)
        return out

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
