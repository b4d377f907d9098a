"""The graph transformer layer of UniMP (Shi et al.: Masked Label Prediction, 2021).

    out_v = W_skip x_v + ‖_h Σ_{u → v} α_uv (W_value x_u + W_edge e_uv)
    α_uv  = softmax_u (W_query x_v) · (W_key x_u + W_edge e_uv) / √d

The skip has no gate. A row without edges is its skip.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.conv.dot_attention import EdgeRows, dot_attention
from gnn.conv.edge_features import features_of
from gnn.conv.heads import attention_factors, head_width
from gnn.edges import touched
from sampling import Block, NodeView

__all__ = ["TransformerConv"]


class TransformerConv(nn.Module):
    """One graph transformer layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows, `d_out / heads` for each head.
        heads: attentions side by side.
        d_edge: width of the edge features; 0 where there are none to read.
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
        d_edge: int = 0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        head_width(d_out, heads)
        self.d_out, self.heads, self.d_edge = d_out, heads, d_edge
        self.attention_dropout = attention_dropout
        self.query, self.key = nn.Linear(d_in, d_out), nn.Linear(d_in, d_out)
        self.value, self.skip = nn.Linear(d_in, d_out), nn.Linear(d_in, d_out)
        self.edge = nn.Linear(d_edge, d_out, bias=False) if d_edge else None

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: [key | value], (rows, 2 * d_out).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        x = x.to(self.key.weight.dtype)
        return torch.cat([self.key(x), self.value(x)], dim=1)

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out).

        Raises:
            InputError: the block's edge features are not `d_edge` wide.
        """
        edges = self._edge_rows(block)
        x_dst = x_dst.to(self.key.weight.dtype)
        hop, rows = touched(block, messages)
        keys, values = rows.to(x_dst.dtype).chunk(2, dim=1)
        factors = attention_factors(hop, self.heads, self.attention_dropout, self.training)
        out: Tensor = self.skip(x_dst) + dot_attention(
            hop, self.query(x_dst), keys, values, self.heads, edges, factors
        )
        return out

    def _edge_rows(self, block: Block) -> EdgeRows | None:
        features = features_of(block, self.d_edge)
        if features is None or self.edge is None:
            return None
        weight = self.edge.weight
        return EdgeRows(features.to(weight.dtype), weight, weight)

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
