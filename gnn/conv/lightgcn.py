"""LightGCN (He et al.: Simplifying and Powering Graph Convolution Network, SIGIR 2020).

    out_v = Σ_{u → v} x_u / √(d_u d_v)

Propagation with D^(-1/2) A D^(-1/2): no weights, no self-loop, no nonlinearity. The paper's
embedding is the mean over all layers, the input included: `jumping = "mean"`. d is the in-degree
in the whole graph; a sum over sampled neighbors is scaled to the full neighborhood.
"""

from __future__ import annotations

from torch import Tensor, nn

from gnn.aggregate import estimate_sum
from sampling import Block, NodeView

__all__ = ["LightGCNConv"]


class LightGCNConv(nn.Module):
    """One propagation; it has no parameters.

    Args:
        d_in: width of the rows, which stays.
    """

    sends_input = False
    activates = False
    linear_reduction = None

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.d_out = d_in

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row, (rows, d).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to.
        """
        rows = x.float() if not x.is_floating_point() else x
        return rows * _inverse_root(nodes.degrees(), rows)

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows of the destinations, (num_dst, d); their own rows are not looked at."""
        received = estimate_sum(block, messages)
        return received * _inverse_root(block.dst_degrees(), received)


def _inverse_root(degrees: Tensor, like: Tensor) -> Tensor:
    """A node without in-edges counts as one with one: what it sends is its row."""
    return degrees.clamp(min=1).to(like.dtype).rsqrt()[:, None]
