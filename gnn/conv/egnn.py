"""EGNN (Satorras, Hoogeboom, Welling: E(n) Equivariant Graph Neural Networks, 2021).

    m_uv = φ_e(h_u, h_v, ‖p_v - p_u‖², e_uv)
    p'_v = p_v + mean_u (p_v - p_u) / ‖p_v - p_u‖ · φ_p(m_uv)
    h'_v = φ_h(h_v, Σ_u m_uv)

A row is [h | p], its last three columns the coordinates p of the node. Only distances enter h,
so it does not change when all coordinates are rotated, reflected or moved, and p' moves along.
Differences are normalized, which keeps steps bounded (the authors' option). A sum over sampled
neighbors is scaled to the full neighborhood.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.aggregate import full_sum
from gnn.conv.edge_features import features_of
from gnn.edges import Piece, destination_rows, in_pieces, source_rows, sum_edges
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["NUM_COORDINATES", "EGNNConv"]

NUM_COORDINATES = 3


class EGNNConv(nn.Module):
    """One EGNN layer; its nonlinearities are inside.

    Args:
        d_in: width of the input rows, the three coordinates included.
        d_out: width of h'; the output rows have three columns more, unless this is the last layer.
        d_edge: width of the edge features; 0 where there are none to read.
        last: gives h' alone, and has no φ_p.

    Raises:
        InputError: `d_in` leaves no column for h.
    """

    sends_input = True
    activates = False
    linear_reduction = None

    def __init__(self, d_in: int, d_out: int, d_edge: int = 0, last: bool = False) -> None:
        super().__init__()
        d_h = d_in - NUM_COORDINATES
        if d_h < 1:
            raise InputError(
                f"rows of {d_in} columns are not features followed by {NUM_COORDINATES} coordinates"
            )
        self.d_hidden, self.d_edge, self.last = d_out, d_edge, last
        self.d_out = d_out if last else d_out + NUM_COORDINATES
        self.message = nn.Sequential(
            nn.Linear(2 * d_h + 1 + d_edge, d_out), nn.SiLU(), nn.Linear(d_out, d_out), nn.SiLU()
        )
        self.update = nn.Sequential(
            nn.Linear(d_h + d_out, d_out), nn.SiLU(), nn.Linear(d_out, d_out)
        )
        self.step = None if last else _step_length(d_out)

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: the row, (rows, d_in).

        Args:
            x: rows of source nodes, [h | p].
            nodes: the nodes that they belong to; not looked at here.
        """
        return x

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Rows [h' | p'], or h' for the last layer, from own rows and messages, (num_dst, d_out).

        Raises:
            InputError: the block's edge features are not `d_edge` wide.
        """
        features, own = features_of(block, self.d_edge), x_dst.to(self._dtype)

        def run(piece: Piece) -> Tensor:
            rows = source_rows(piece.block, messages).to(self._dtype)
            others = destination_rows(piece.block, own[piece.rows])
            known = None if features is None else features[piece.edges]
            return self._received(piece.block, rows, others, known)

        received = in_pieces(block, 4 * self.d_hidden + 2 * x_dst.shape[1], run)
        h, p = own[:, :-NUM_COORDINATES], own[:, -NUM_COORDINATES:]
        sums = full_sum(block, received[:, : self.d_hidden])
        out: Tensor = self.update(torch.cat([h, sums], dim=1))
        return out if self.last else torch.cat([out, p + received[:, self.d_hidden :]], dim=1)

    def _received(self, block: Block, src: Tensor, dst: Tensor, features: Tensor | None) -> Tensor:
        """[Σ m | mean step], (num_dst, d_hidden + 3), without the steps for the last layer."""
        away = dst[:, -NUM_COORDINATES:] - src[:, -NUM_COORDINATES:]
        squared = away.square().sum(dim=1, keepdim=True)
        parts = [src[:, :-NUM_COORDINATES], dst[:, :-NUM_COORDINATES], squared]
        if features is not None:
            parts.append(features.to(self._dtype))
        sent = self.message(torch.cat(parts, dim=1))
        sums = sum_edges(block, sent)
        if self.step is None:
            return sums
        length = torch.where(squared > 0, squared, 1.0).sqrt()
        return torch.cat([sums, sum_edges(block, away / length * self.step(sent), "mean")], dim=1)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.update.parameters()).dtype

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)


def _step_length(width: int) -> nn.Sequential:
    """φ_p: how far an edge moves its destination."""
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1, bias=False))
