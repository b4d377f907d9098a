"""What a model needs of a convolution; `gnn.conv.sage` is the example to copy.

A convolution is split where rows stop being about one node: `messages` makes what a node sends
from its own row, `combine` makes a destination's new row from its own row and what it receives.
So layers can run over a mini-batch, a tile of a whole graph, or a posted graph alike.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from sampling import Block, NodeView

__all__ = ["Conv"]


class Conv(Protocol):
    """One layer of message passing without its nonlinearity.

    Attributes:
        d_out: width of the rows that it gives.
        sends_input: messages are the input rows, unchanged.
        activates: normalization, nonlinearity and residual follow it between layers; False where
            the paper has none, or has them inside.
        linear_reduction: "sum", "mean" or "gcn" where neighborhoods are reduced linearly, so that
            `combine_received` can take the reduction of input rows; None elsewhere.
    """

    d_out: int
    sends_input: bool
    activates: bool
    linear_reduction: str | None

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row, (rows, d_message).

        Args:
            x: rows of source nodes, (rows, d_in).
            nodes: the nodes that they belong to.
        """

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out).

        Args:
            block: the hop, with edge types, weights, times and features where the graph has them.
            x_dst: the destinations' own input rows, (num_dst, d_in).
            messages: what all sources send, (num_src, d_message).
        """

    def combine_received(self, block: Block, x_dst: Tensor, received: Tensor) -> Tensor:
        """The same from the reduction of input rows, (num_dst, d_in), where that is linear."""
