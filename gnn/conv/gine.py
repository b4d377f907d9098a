"""GIN with edge features (Hu et al.: Strategies for Pre-training Graph Neural Networks, 2020).

    out_v = MLP((1 + ε) x_v + Σ_{u → v} ReLU(x_u + W e_uv + b))

The messages are of the size edges × columns, and are made in pieces. A sum over sampled
neighbors is scaled to the full neighborhood.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.aggregate import full_sum
from gnn.conv.edge_features import features_of
from gnn.conv.mlp import MLP
from gnn.edges import Piece, in_pieces, sum_edges
from sampling import Block, NodeView

__all__ = ["GINEConv"]


class GINEConv(nn.Module):
    """One GINE layer without the nonlinearity after its MLP.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        d_edge: width of the edge features; 0 where there are none to read.
        train_eps: learn ε; it is 0 otherwise.
        d_mlp: width inside of the MLP; `d_out` when left out.
        norm: normalization inside of the MLP, "batch" or "none".
        edge_encoder: what makes (num_edges, d_in) of the edge features, (num_edges, d_edge), in
            place of W and b, such as a sum of embeddings of categories; each edge by itself.
    """

    sends_input = True
    activates = True
    linear_reduction = None

    def __init__(
        self,
        d_in: int,
        d_out: int,
        d_edge: int,
        train_eps: bool = False,
        d_mlp: int | None = None,
        norm: str = "batch",
        edge_encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.d_in, self.d_out, self.d_edge = d_in, d_out, d_edge
        if edge_encoder is None and d_edge:
            edge_encoder = nn.Linear(d_edge, d_in)
        self.edge_encoder = edge_encoder
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
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out).

        Raises:
            InputError: the block's edge features are not `d_edge` wide.
        """
        dtype, encoder = self.eps.dtype, self.edge_encoder
        features = None if encoder is None else features_of(block, self.d_edge)

        def run(piece: Piece, src: Tensor, dst: Tensor) -> Tensor:
            rows = src.to(dtype)
            if encoder is not None and features is not None:
                rows = rows + encoder(features[piece.edges].to(dtype))
            return sum_edges(piece.block, F.relu(rows))

        parameters = () if encoder is None else encoder.parameters()
        drawn = in_pieces(block, self.d_in, run, messages, x_dst, parameters)
        out: Tensor = self.mlp((1 + self.eps) * x_dst.to(dtype) + full_sum(block, drawn))
        return out

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
