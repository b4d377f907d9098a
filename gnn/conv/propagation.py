"""GCN's propagation without its weights (Kipf, Welling 2017): Â = D̃^(-1/2) (A + I) D̃^(-1/2).

Split as convolutions are: what a node sends is its row over √(d+1), and a destination scales the
estimate of its full sum, its own message included, once more. d is the in-degree in the whole
graph, so samples estimate the whole. See `gnn.conv.gcn`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnn.aggregate import estimate_sum, full_sum
from sampling import Block

__all__ = ["float_rows", "propagated", "propagated_received", "scaled"]


def float_rows(x: Tensor) -> Tensor:
    """Rows in float32, or in float64 as they are."""
    return x if x.dtype == torch.float64 else x.float()


def scaled(x: Tensor, degrees: Tensor) -> Tensor:
    """Rows over √(d+1), (rows, width), for degrees (rows,)."""
    rows = float_rows(x)
    return rows * (degrees + 1).to(rows.dtype).rsqrt()[:, None]


def propagated(block: Block, messages: Tensor) -> Tensor:
    """Â x for the destinations, (num_dst, width), from the scaled rows of all sources."""
    rows = estimate_sum(block, messages) + float_rows(block.dst_rows(messages))
    return scaled(rows, block.dst_degrees())


def propagated_received(block: Block, x_dst: Tensor, received: Tensor) -> Tensor:
    """The same, from the sum of scaled rows over the drawn edges, (num_dst, width)."""
    degrees = block.dst_degrees()
    return scaled(full_sum(block, received) + scaled(x_dst, degrees), degrees)
