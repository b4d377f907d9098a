"""What attentions share: widths of heads, dropout of coefficients, heads joined or averaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.attention import MAX_HEADS
from gnn.dropout import dropout
from sampling import Block
from sampling.errors import InputError

__all__ = ["attention_factors", "head_width", "joined", "score_weights"]


def head_width(d_out: int, heads: int, concat: bool = True) -> int:
    """Columns of one head of rows of `d_out` columns; of an average each head has all.

    Raises:
        InputError: there are too many heads, or they do not divide the columns.
    """
    if not 1 <= heads <= MAX_HEADS:
        raise InputError(f"heads is {heads}; it must be in 1 … {MAX_HEADS}")
    if concat and d_out % heads:
        raise InputError(f"{heads} heads do not divide {d_out} columns; choose a divisor")
    return d_out // heads if concat else d_out


def score_weights(heads: int, width: int) -> nn.Parameter:
    """A vector per head for its scores, (heads, width), after Glorot and Bengio (2010)."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, width)))


def attention_factors(block: Block, heads: int, p: float, training: bool) -> Tensor | None:
    """Factors of a dropout of attention coefficients, (num_edges, heads); None without one."""
    if not training or p == 0:
        return None
    return dropout(torch.ones(block.num_edges, heads, device=block.indptr.device), p)


def joined(rows: Tensor, heads: int, concat: bool) -> Tensor:
    """The heads of `rows`, (num_dst, heads * d), side by side or averaged to (num_dst, d)."""
    return rows if concat else rows.view(len(rows), heads, -1).mean(dim=1)
