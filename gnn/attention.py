"""Attention over the edges of a block (Veličković et al.: Graph Attention Networks, 2018).

    out_v = Σ_u m_uv · softmax_u(s_uv) · x_u          u → v, every head on its own columns

The scores s are given for every edge, or are LeakyReLU(a_u + b_v), which is computed on the way.
On the CPU compiled kernels do it without anything of the size edges × columns, forward and
backward, and with the same bits for any number of threads. Elsewhere, and for float64, plain
torch operations compute the same. Rows without edges are 0.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor

from gnn.device import walks_compiled
from sampling import Block, kernels
from sampling.errors import InputError

__all__ = ["additive_attention", "attention"]

MAX_HEADS = 256


def attention(
    block: Block, x: Tensor, logits: Tensor, edge_factors: Tensor | None = None
) -> Tensor:
    """Rows weighted by a softmax of `logits` over the edges of every destination.

    Args:
        block: the hop.
        x: a row per source, (num_src, heads * d) float32 or float64; head h has the columns
            `h * d … (h + 1) * d`. Half precision is read as float32. Differentiable.
        logits: scores of the edges, (num_edges, heads); differentiable.
        edge_factors: factors of the coefficients after the softmax, (num_edges, heads), such as
            those of a dropout; constant.

    Returns:
        (num_dst, heads * d) float32, or float64 for float64 input.

    Raises:
        InputError: the shapes do not fit the block, or `heads` does not divide the columns.

    Cost: one pass over the edges; backward two more, and a transposition of the block.

    Example:
        >>> block = Block(torch.arange(2), torch.tensor([0, 2, 2]), torch.tensor([0, 1]))
        >>> attention(block, torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)).tolist()
        [[2.0], [0.0]]
    """
    heads = _num_heads("logits", logits)
    _check(block, x, heads, logits=logits, edge_factors=edge_factors)
    if walks_compiled(x):
        return _run(block, x, heads, (logits, None, None), 0.0, edge_factors)
    return _plain_attention(block, x, logits.to(_plain_type(x)), edge_factors)


def additive_attention(
    block: Block,
    x: Tensor,
    dst_scores: Tensor,
    src_scores: Tensor,
    slope: float = 0.2,
    edge_factors: Tensor | None = None,
) -> Tensor:
    """Attention with the score LeakyReLU(dst_scores of v + src_scores of u) on the edge u → v.

    Args:
        block: the hop.
        x: as in `attention`.
        dst_scores: (num_dst, heads); differentiable.
        src_scores: (num_src, heads); differentiable.
        slope: of the LeakyReLU below 0.
        edge_factors: as in `attention`.

    Returns:
        (num_dst, heads * d), as in `attention`.

    Raises:
        InputError: as in `attention`.
    """
    heads = _num_heads("src_scores", src_scores)
    _check(block, x, heads, dst_scores=dst_scores, src_scores=src_scores, edge_factors=edge_factors)
    if walks_compiled(x):
        return _run(block, x, heads, (None, dst_scores, src_scores), slope, edge_factors)
    scores = dst_scores[_destinations(block)] + src_scores[block.indices.long()]
    return _plain_attention(block, x, F.leaky_relu(scores.to(_plain_type(x)), slope), edge_factors)


Scores = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Logits, or None and the scores of destinations and sources."""


class _Attention(torch.autograd.Function):
    """The kernels with their derivative."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        logits: Tensor | None,
        dst_scores: Tensor | None,
        src_scores: Tensor | None,
        factors: Tensor | None,
        indptr: Tensor,
        indices: Tensor,
        heads: int,
        slope: float,
    ) -> Tensor:
        scores = (_as_array(logits), _as_array(dst_scores), _as_array(src_scores))
        edges = (indptr.numpy(), indices.numpy(), _as_array(x), heads)
        arrays = kernels.attend(*edges, *scores, slope, _as_array(factors), torch.get_num_threads())
        out, log_total = (torch.from_numpy(array) for array in arrays)
        ctx.save_for_backward(
            x, logits, dst_scores, src_scores, factors, indptr, indices, out, log_total
        )
        ctx.heads, ctx.slope = heads, slope
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, logits, dst_scores, src_scores, factors, indptr, indices, out, log_total = (
            ctx.saved_tensors
        )
        scores = (_as_array(logits), _as_array(dst_scores), _as_array(src_scores))
        edges = (indptr.numpy(), indices.numpy(), _as_array(x), ctx.heads)
        results = (_as_array(out), log_total.numpy(), _as_array(grad))
        grads = kernels.attend_backward(
            *edges, *scores, ctx.slope, _as_array(factors), *results, torch.get_num_threads()
        )
        tensors = [None if array is None else torch.from_numpy(array) for array in grads]
        return (*tensors, None, None, None, None, None)


def _run(
    block: Block, x: Tensor, heads: int, scores: Scores, slope: float, factors: Tensor | None
) -> Tensor:
    inputs = (None if t is None else t.to(torch.float32) for t in (x, *scores, factors))
    edges = (block.indptr, block.indices)
    out: Tensor = _Attention.apply(*inputs, *edges, heads, slope)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return out


def _as_array(tensor: Tensor | None) -> Any:
    """A NumPy array for the kernels, None for None."""
    if tensor is None:
        return None
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


def _plain_type(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _plain_attention(block: Block, x: Tensor, logits: Tensor, factors: Tensor | None) -> Tensor:
    """The same in torch operations, for other devices and for float64."""
    dst, heads = _destinations(block), logits.shape[1]
    place = dst[:, None].expand_as(logits)
    zeros = logits.new_zeros(block.num_dst, heads)
    top = zeros.scatter_reduce(0, place, logits.detach(), "amax", include_self=False)
    powers = (logits - top[dst]).exp()
    shares = powers / zeros.index_add(0, dst, powers)[dst]
    if factors is not None:
        shares = shares * factors.to(shares.dtype)
    rows = x.to(_plain_type(x))[block.indices.long()]
    messages = rows.reshape(len(rows), heads, x.shape[1] // heads) * shares[:, :, None]
    out = x.new_zeros(block.num_dst, x.shape[1], dtype=rows.dtype)
    return out.index_add(0, dst, messages.flatten(1))


def _destinations(block: Block) -> Tensor:
    """The destination of every edge, (num_edges,) int64."""
    nodes = torch.arange(block.num_dst, device=block.indptr.device)
    return torch.repeat_interleave(nodes, block.in_degrees())


def _num_heads(name: str, scores: Tensor) -> int:
    if scores.ndim != 2 or not 1 <= scores.shape[1] <= MAX_HEADS:
        raise InputError(
            f"{name} has shape {tuple(scores.shape)}; give one column for each of 1 … "
            f"{MAX_HEADS} heads"
        )
    return int(scores.shape[1])


def _check(block: Block, x: Tensor, heads: int, **scores: Tensor | None) -> None:
    if x.ndim != 2 or x.shape[0] != block.num_src or x.shape[1] % heads or not x.shape[1]:
        raise InputError(
            f"x has shape {tuple(x.shape)}; give one row for each of the block's "
            f"{block.num_src} source nodes, with as many columns for each of {heads} heads"
        )
    sizes = {"dst_scores": block.num_dst, "src_scores": block.num_src}
    for name, array in scores.items():
        expected = (sizes.get(name, block.num_edges), heads)
        if array is not None and tuple(array.shape) != expected:
            raise InputError(f"{name} has shape {tuple(array.shape)}; the block needs {expected}")
