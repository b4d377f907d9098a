"""No propagation: every node keeps its own row.

    out_v = x_v

With learned embeddings and a decoder this is the model that the decoder is known by: matrix
factorization under "dot", DistMult (Yang et al. 2015) under "distmult"; with an encoder of the
input, a perceptron. It is what a propagation has to be better than.
"""

from __future__ import annotations

from torch import Tensor, nn

from sampling import Block, NodeView

__all__ = ["IdentityConv"]


class IdentityConv(nn.Module):
    """A layer that hears nothing; it has no parameters.

    Args:
        d_in: width of the rows, which stays.
    """

    sends_input = True
    activates = False
    linear_reduction = None

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.d_out = d_in

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """The row, (rows, d_in), which nobody reads.

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        return x

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """The destinations' own rows, (num_dst, d_in)."""
        return x_dst.float() if not x_dst.is_floating_point() else x_dst
