"""GAT (Veličković et al.: Graph Attention Networks, 2018).

    out_v = ‖_h Σ_{u ∈ N(v) ∪ {v}} α_uv W_h x_u + b
    α_uv  = softmax_u LeakyReLU(a_src · W_h x_u + a_dst · W_h x_v)

The heads stand side by side, or are averaged, as the paper does in its last layer. Every node
attends to itself once, whether the graph has that edge or not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.attention import additive_attention
from gnn.conv.heads import attention_factors, head_width, joined, score_weights
from gnn.conv.self_edges import with_self_edges
from gnn.dropout import dropout
from gnn.edges import touched
from gnn.sparse import mapped
from sampling import Block, NodeView

__all__ = ["GATConv"]


class GATConv(nn.Module):
    """One GAT layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        heads: attentions side by side.
        concat: heads have `d_out / heads` columns each; False averages heads of `d_out` columns.
        slope: of the LeakyReLU below 0.
        attention_dropout: share of the coefficients that is dropped in training.
        message_dropout: share of what the sources send that is dropped in training, as the
            authors' code does; scores are made of all of it.

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
        message_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = head_width(d_out, heads, concat)
        self.d_out, self.heads, self.concat = d_out, heads, concat
        self.slope, self.attention_dropout = slope, attention_dropout
        self.message_dropout = message_dropout
        self.linear = nn.Linear(d_in, heads * width, bias=False)
        self.src_attention = score_weights(heads, width)
        self.dst_attention = score_weights(heads, width)
        self.bias = nn.Parameter(torch.zeros(d_out))

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row, (rows, heads * d).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        return mapped(self.linear, x)

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from all messages, the destinations' own included, (num_dst, d_out)."""
        dst_scores = self._scores(block.dst_rows(messages), self.dst_attention)
        hop, rows = touched(with_self_edges(block), messages)
        rows = rows.to(self.bias.dtype)
        src_scores = self._scores(rows, self.src_attention)
        if self.training:
            rows = dropout(rows, self.message_dropout)
        factors = attention_factors(hop, self.heads, self.attention_dropout, self.training)
        out = additive_attention(hop, rows, dst_scores, src_scores, self.slope, factors)
        return joined(out, self.heads, self.concat) + self.bias

    def _scores(self, rows: Tensor, weights: Tensor) -> Tensor:
        per_head = rows.to(weights.dtype).view(len(rows), *weights.shape)
        return (per_head * weights).sum(dim=2)

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
