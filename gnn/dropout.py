"""Dropout (Srivastava et al. 2014): zero a share p of the entries, scale the rest by 1/(1-p).

Torch draws one random word per entry on one core, which costs more than the layer itself when
the input rows are wide. Here a 64-bit word serves four entries, so p is met to 1/65,536, and
entries are drawn a cache-sized piece at a time. An accelerator draws all at once from a generator
of its own: the same law, other entries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["dropout"]

LANES = 4
LANE_VALUES = 1 << 16
PIECE = 1 << 18


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with a share `p` of its entries zeroed and the rest scaled, drawn from torch's generator.

    Example:
        >>> sorted(set(dropout(torch.ones(100, 100), 0.5).flatten().tolist()))
        [0.0, 2.0]
    """
    if p == 0:
        return x
    out: Tensor = _Dropout.apply(x, p)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return out


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.scale = 1 / (1 - p)
        x = x.contiguous()
        out, kept_pieces = torch.empty_like(x), []
        size = PIECE if x.device.type == "cpu" else max(x.numel(), 1)
        pieces = (torch.split(t.view(-1), size) for t in (x, out))
        for piece, target in zip(*pieces, strict=True):
            kept = _draw(piece, p)
            torch.mul(piece, kept, out=target).mul_(ctx.scale)
            if ctx.needs_input_grad[0]:
                kept_pieces.append(kept)
        ctx.save_for_backward(*kept_pieces)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        kept = torch.cat(ctx.saved_tensors).view(grad.shape)
        return grad * kept * ctx.scale, None


def _draw(like: Tensor, p: float) -> Tensor:
    """Which entries are kept, (len(like),) bool."""
    words = torch.empty(-(-len(like) // LANES), dtype=torch.int64, device=like.device)
    lanes = words.random_(-(1 << 63), None).view(torch.int16)[: len(like)]
    return lanes >= round(p * LANE_VALUES) - LANE_VALUES // 2
