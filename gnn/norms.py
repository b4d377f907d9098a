"""Normalization between layers: over the columns of a row, over a batch, or over each graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from sampling import Block

__all__ = ["BatchNorm", "GraphNorm", "make_norm", "normalized"]

EPSILON = 1e-5


class BatchNorm(nn.BatchNorm1d):
    """Normalizes over a batch (Ioffe, Szegedy 2015); one row, which has no spread of its own, by
    the running statistics.
    """

    def forward(self, h: Tensor) -> Tensor:
        """Rows of the same shape."""
        if self.training and len(h) < 2:
            return F.batch_norm(
                h, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(h)


class GraphNorm(nn.Module):
    """Normalizes over the nodes of each graph (Cai et al., GraphNorm, 2021).

        out = γ (h - α mean) / std + β        α learned, all per column

    Args:
        width: of the rows.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.share = nn.Parameter(torch.ones(width))

    def forward(self, h: Tensor, offsets: Tensor) -> Tensor:
        """Rows of the same shape; `offsets` are the first node of every graph and the end."""
        sizes = offsets[1:] - offsets[:-1]
        graph = torch.repeat_interleave(torch.arange(len(sizes), device=h.device), sizes)
        h = h - self.share * _means(h, graph, sizes)[graph]
        deviation = (_means(h * h, graph, sizes) + EPSILON).sqrt()
        out: Tensor = self.weight * h / deviation[graph] + self.bias
        return out


def _means(h: Tensor, graph: Tensor, sizes: Tensor) -> Tensor:
    sums = torch.zeros(len(sizes), h.shape[1], dtype=h.dtype, device=h.device)
    return sums.index_add(0, graph, h) / sizes.clamp(min=1)[:, None]


def make_norm(kind: str, width: int) -> nn.Module:
    """The module for "layer", "batch" or "graph"; one that changes nothing for "none"."""
    if kind == "layer":
        return nn.LayerNorm(width)
    if kind == "graph":
        return GraphNorm(width)
    return BatchNorm(width) if kind == "batch" else nn.Identity()


def normalized(norm: nn.Module, h: Tensor, block: Block) -> Tensor:
    """Rows of the destinations of `block`, normalized."""
    if isinstance(norm, GraphNorm):
        whole = torch.tensor([0, len(h)], device=h.device)
        offsets = whole if block.graph_offsets is None else block.graph_offsets
        rows: Tensor = norm(h, offsets)
        return rows
    out: Tensor = norm(h)
    return out
