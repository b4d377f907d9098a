"""SGC (Wu et al.: Simplifying Graph Convolutional Networks, 2019).

    out = Â x,      Â = D̃^(-1/2) (A + I) D̃^(-1/2)

K layers give Â^K X, and the head that follows them is the model's only weight. Samples estimate
the whole as GCN's do.
"""

from __future__ import annotations

from torch import Tensor, nn

from gnn.conv.propagation import propagated, propagated_received, scaled
from sampling import Block, NodeView

__all__ = ["SGCConv"]


class SGCConv(nn.Module):
    """One step of propagation; it has no weights and nothing follows it.

    Args:
        width: of the rows that it takes and gives.
    """

    sends_input = False
    activates = False
    linear_reduction = "gcn"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.d_out = width

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row, (rows, width).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to.
        """
        return scaled(x, nodes.degrees())

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from all messages, the destinations' own included, (num_dst, width)."""
        return propagated(block, messages)

    def combine_received(self, block: Block, x_dst: Tensor, received: Tensor) -> Tensor:
        """The same, from Σ x_u/√(d_u+1) over the drawn edges, (num_dst, width)."""
        return propagated_received(block, x_dst, received)

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, width), from x, (num_src, width)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)
