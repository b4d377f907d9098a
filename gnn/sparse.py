"""Sparse input rows under the operations that stand before the first sum over edges.

    (x W)_v = Σ_c x_vc W_c          over the columns c that row v has

A sparse matrix of input rows is a bipartite graph with weights: from columns to rows. So the
product with a weight is a weighted sum over edges, by the same kernels as every other, with the
same bits for any number of threads; its gradient is the sum over the transposed graph. Dropout and
normalization by rows work on the values that are there, for zeros stay zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.aggregate import aggregate
from gnn.dropout import dropout
from sampling import Block

__all__ = ["dropped_rows", "is_sparse", "mapped", "row_normalized", "stacked"]

EPSILON = 1e-12


def is_sparse(x: Tensor) -> bool:
    """Whether rows are torch's compressed sparse rows."""
    return x.layout == torch.sparse_csr


def mapped(linear: nn.Linear, x: Tensor) -> Tensor:
    """`linear(x)` of dense or sparse rows, in the type of its weights, (rows, d_out)."""
    x = x.to(linear.weight.dtype)
    if not is_sparse(x):
        out: Tensor = linear(x)
        return out
    columns = torch.arange(x.shape[1], device=x.device)
    block = Block(columns, x.crow_indices(), x.col_indices().to(torch.int32))
    rows = aggregate(block, linear.weight.t().contiguous(), "sum", weight=x.values())
    return rows if linear.bias is None else rows + linear.bias


def dropped_rows(x: Tensor, p: float) -> Tensor:
    """Dropout of dense or sparse rows; of sparse ones only what is there is drawn for."""
    return _with_values(x, dropout(x.values(), p)) if is_sparse(x) else dropout(x, p)


def row_normalized(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Every row divided by the sum of its magnitudes."""
    x = x.to(dtype)
    if not is_sparse(x):
        return F.normalize(x, p=1.0, dim=1)
    counts = x.crow_indices().diff()
    rows = torch.repeat_interleave(torch.arange(len(counts), device=x.device), counts)
    sums = torch.zeros(len(counts), dtype=dtype, device=x.device)
    sums = sums.index_add(0, rows, x.values().abs()).clamp(min=EPSILON)
    return _with_values(x, x.values() / sums[rows])


def stacked(head: Tensor, x: Tensor) -> Tensor:
    """Dense rows above dense or sparse ones, in the layout of the latter."""
    if not is_sparse(x):
        return torch.cat([head, x])
    top = head.to(x.dtype).to_sparse_csr()
    first = top.crow_indices()
    return torch.sparse_csr_tensor(
        torch.cat([first, x.crow_indices()[1:] + first[-1]]),
        torch.cat([top.col_indices(), x.col_indices()]),
        torch.cat([top.values(), x.values()]),
        (len(first) - 1 + x.shape[0], x.shape[1]),
        check_invariants=False,
    )


def _with_values(x: Tensor, values: Tensor) -> Tensor:
    places = x.crow_indices(), x.col_indices()
    return torch.sparse_csr_tensor(*places, values, x.shape, check_invariants=False)
