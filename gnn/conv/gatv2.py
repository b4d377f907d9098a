"""GATv2 (Brody, Alon, Yahav: How Attentive are Graph Attention Networks?, 2022).

    out_v = ‖_h Σ_{u ∈ N(v) ∪ {v}} α_uv W_src x_u + b
    α_uv  = softmax_u a_h · LeakyReLU(W_src x_u + W_dst x_v)

Unlike in GAT, which neighbor weighs most can depend on the node that asks. The sums inside of
the LeakyReLU are of the size edges × columns, and are made in pieces.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.attention import attention
from gnn.conv.heads import attention_factors, head_width, joined, score_weights
from gnn.conv.self_edges import with_self_edges
from gnn.edges import Piece, destination_rows, in_pieces, touched
from sampling import Block, NodeView

__all__ = ["GATv2Conv"]


class GATv2Conv(nn.Module):
    """One GATv2 layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        heads: attentions side by side.
        concat: heads have `d_out / heads` columns each; False averages heads of `d_out` columns.
        slope: of the LeakyReLU below 0.
        attention_dropout: share of the coefficients that is dropped in training.

    Raises:
        InputError: the heads do not divide `d_out`.
    """

    sends_input = False
    activates = True
    linear_reduction = None

    def __init__(
        self,
        d_in: int,
        d_out: int,
        heads: int = 1,
        concat: bool = True,
        slope: float = 0.2,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = head_width(d_out, heads, concat)
        self.d_out, self.heads, self.concat = d_out, heads, concat
        self.slope, self.attention_dropout = slope, attention_dropout
        self.source = nn.Linear(d_in, heads * width)
        self.destination = nn.Linear(d_in, heads * width)
        self.attention = score_weights(heads, width)
        self.bias = nn.Parameter(torch.zeros(d_out))

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row, (rows, heads * d).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        rows: Tensor = self.source(x.to(self.bias.dtype))
        return rows

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from all messages, the destinations' own included, (num_dst, d_out)."""
        hop, rows = touched(with_self_edges(block), messages)
        rows = rows.to(self.bias.dtype)
        logits = self._logits(hop, self.destination(x_dst.to(self.bias.dtype)), rows)
        factors = attention_factors(hop, self.heads, self.attention_dropout, self.training)
        return joined(attention(hop, rows, logits, factors), self.heads, self.concat) + self.bias

    def _logits(self, block: Block, queries: Tensor, rows: Tensor) -> Tensor:
        """Scores of the edges, (num_edges, heads)."""

        def run(piece: Piece, src: Tensor, dst: Tensor) -> Tensor:
            sums = src + destination_rows(piece.block, dst)
            per_head = F.leaky_relu(sums, self.slope).view(len(sums), *self.attention.shape)
            return (per_head * self.attention).sum(dim=2)

        return in_pieces(block, rows.shape[1], run, rows, queries, [self.attention], per_edge=True)

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
