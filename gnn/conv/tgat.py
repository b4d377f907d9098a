"""TGAT (Xu et al.: Inductive Representation Learning on Temporal Graphs, 2020).

    z_uv  = [x_u | Φ(t_v - t_uv) | e_uv],   z_v = [x_v | Φ(0)]
    a_v   = ‖_h Σ_{u → v} softmax_u ((W_query z_v) · (W_key z_uv) / √d) W_value z_uv
    out_v = FFN [a_v | x_v]
    Φ_k(t) = cos(ω_k log(1 + max(t, 0) / τ) + b_k),   k = 1 … d_time

t_uv is the time of an edge, t_v the time that the destination is predicted at. Where a block does
not say it, t_v is one unit after the newest edge that v receives there: that depends on the row
alone, so tiles, whole graphs and full samples agree. Every layer learns ω and b of its own: ω falls
geometrically from 1 to 10^-9 at the start, b is 0. τ is `time_scale`. The logarithm is taken in
float64.

d is the width of a head. The paper has cosines and sines of ω_k t, its authors' code
cos(ω_k t + b_k) with the same ω at the start. The logarithm is ours: an age that training never saw
lies near those that it saw.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.conv.dot_attention import EdgeRows, dot_attention
from gnn.conv.edge_features import features_of
from gnn.conv.heads import attention_factors, head_width
from gnn.conv.mlp import MLP
from gnn.edges import destinations, touched
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["TGATConv"]

SLOWEST_EXPONENT = 9


class TGATConv(nn.Module):
    """One TGAT layer; its nonlinearity is inside.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows, and of the heads together.
        heads: attentions side by side.
        d_time: columns of the time encoding.
        d_edge: width of the edge features; 0 where there are none to read.
        time_scale: units of time that count as 1.
        attention_dropout: share of the coefficients that is dropped in training.

    Raises:
        InputError: the heads do not divide `d_out`, or `time_scale` is not above 0.
    """

    sends_input = False
    activates = False
    linear_reduction = None

    def __init__(
        self,
        d_in: int,
        d_out: int,
        heads: int = 1,
        d_time: int = 16,
        d_edge: int = 0,
        time_scale: float = 1.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        head_width(d_out, heads)
        if not time_scale > 0:
            raise InputError(f"time_scale is {time_scale}; it must be above 0")
        self.d_out, self.heads, self.d_edge, self.time_scale = d_out, heads, d_edge, time_scale
        self.attention_dropout = attention_dropout
        self.frequencies = nn.Parameter(10.0 ** -torch.linspace(0, SLOWEST_EXPONENT, d_time))
        self.phases = nn.Parameter(torch.zeros(d_time))
        self.query = nn.Linear(d_in + d_time, d_out, bias=False)
        self.key, self.value = (nn.Linear(d_in, d_out, bias=False) for _ in range(2))
        width = d_time + d_edge
        self.edge_key, self.edge_value = (nn.Linear(width, d_out, bias=False) for _ in range(2))
        self.update = MLP(d_out + d_in, d_out, d_out)

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: [key | value], (rows, 2 * d_out).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        x = x.to(self.phases.dtype)
        return torch.cat([self.key(x), self.value(x)], dim=1)

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out).

        Raises:
            InputError: the edges have no times, or their features are not `d_edge` wide.
        """
        edges = EdgeRows(self._edge_rows(block), self.edge_key.weight, self.edge_value.weight)
        x_dst = x_dst.to(self.phases.dtype)
        now = torch.cos(self.phases).expand(len(x_dst), -1)
        queries = self.query(torch.cat([x_dst, now], dim=1))
        hop, rows = touched(block, messages)
        keys, values = rows.to(x_dst.dtype).chunk(2, dim=1)
        factors = attention_factors(hop, self.heads, self.attention_dropout, self.training)
        attended = dot_attention(hop, queries, keys, values, self.heads, edges, factors)
        out: Tensor = self.update(torch.cat([attended, x_dst], dim=1))
        return out

    def _edge_rows(self, block: Block) -> Tensor:
        """[Φ(t_v - t_uv) | e_uv], (num_edges, d_time + d_edge)."""
        scaled = (edge_ages(block).double() / self.time_scale).clamp(min=0)
        ages = torch.log1p(scaled).to(self.phases.dtype)
        encoded = torch.cos(ages[:, None] * self.frequencies + self.phases)
        features = features_of(block, self.d_edge)
        if features is None:
            return encoded
        return torch.cat([encoded, features.to(encoded.dtype)], dim=1)

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)


def edge_ages(block: Block) -> Tensor:
    """Time of the destination less that of the edge, (num_edges,) int64.

    Raises:
        InputError: the edges have no times.
    """
    if block.edge_time is None:
        raise InputError("this model reads edge times; give the edges a time")
    dst, times = destinations(block), block.dst_times
    if times is None:
        newest = torch.zeros(block.num_dst, dtype=torch.int64, device=dst.device)
        times = newest.scatter_reduce(0, dst, block.edge_time, "amax", include_self=False) + 1
    return times[dst] - block.edge_time
