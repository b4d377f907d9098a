"""APPNP (Gasteiger, Bojchevski, Günnemann: Predict then Propagate, 2019).

    Z_0 = H,      Z_{k+1} = (1 - α) Â Z_k + α H

H is what a perceptron predicts from each node alone; K steps approximate personalized PageRank
that returns to H with probability α. Every step reads H, so between the first step and the last
the rows are [Z | H].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.conv.propagation import float_rows, propagated, scaled
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["APPNPConv"]


class APPNPConv(nn.Module):
    """One step of propagation; it has no weights and nothing follows it.

    Args:
        width: columns of H.
        alpha: probability of returning, α.
        first: the rows are H alone.
        last: gives Z alone.

    Raises:
        InputError: `alpha` is not in 0 … 1.
    """

    sends_input = False
    activates = False
    linear_reduction = None

    def __init__(
        self, width: int, alpha: float = 0.1, first: bool = False, last: bool = False
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha}; it must be in 0 … 1")
        self.width, self.alpha, self.first, self.last = width, alpha, first, last
        self.d_out = width if last else 2 * width

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: Z over √(d+1), (rows, width).

        Args:
            x: rows of source nodes, [Z | H], or H for the first step.
            nodes: the nodes that they belong to.
        """
        return scaled(x[:, : self.width], nodes.degrees())

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Rows [Z | H], or Z for the last step, from all messages, (num_dst, d_out)."""
        h = float_rows(x_dst[:, -self.width :])
        z = (1 - self.alpha) * propagated(block, messages) + self.alpha * h
        return z if self.last else torch.cat([z, h], dim=1)

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
