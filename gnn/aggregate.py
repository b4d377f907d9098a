"""Neighborhood aggregation, the only scatter in the house.

    out_v = reduce { w_uv · s_u · x_u : u → v }          reduce: sum, mean or max

On the CPU the compiled kernels run it row by row, so that the result does not depend on the
number of threads. The gradient of a sum (a mean) is a sum over the transposed block, again row
by row; the gradient of a max goes to the winning edge, the first of equals. Elsewhere, and for
float64, plain torch operations compute the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.by_source import by_source
from gnn.device import walks_compiled
from sampling import Block, kernels
from sampling.errors import InputError

__all__ = ["REDUCTIONS", "aggregate", "estimate_sum", "full_sum"]

REDUCTIONS = ("sum", "mean", "max")
KERNEL_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def aggregate(
    block: Block,
    x: Tensor,
    reduce: str = "mean",
    weight: Tensor | None = None,
    node_weight: Tensor | None = None,
) -> Tensor:
    """One row per destination, (num_dst, d) float32 (float64 for float64 input); empty rows are 0.

    Args:
        block: the hop.
        x: a row per source node, (num_src, d) float32, float16, bfloat16 or float64.
        reduce: "sum", "mean" or "max". A mean divides by the number of edges, weighted or not.
        weight: factor of every edge, (num_edges,); differentiable.
        node_weight: factor of all that a source sends, (num_src,); differentiable. It spares a
            scaled copy of `x`.

    Raises:
        InputError: `x` has another number of rows than the block has sources, `weight` not one
            entry per edge, `node_weight` not one per source, or `reduce` is unknown.

    Cost: one pass over the edges; backward one more over the transposed block, which is kept for
    edges that are differentiated again.

    Example:
        >>> block = Block(torch.arange(2), torch.tensor([0, 2, 2]), torch.tensor([0, 1]))
        >>> aggregate(block, torch.tensor([[1.0], [3.0]]), "mean").tolist()
        [[2.0], [0.0]]
    """
    _check(block, x, reduce, weight, node_weight)
    if walks_compiled(x) and x.dtype in KERNEL_TYPES:
        edges = (block.indptr, block.indices)
        out: Tensor = _Aggregate.apply(x, weight, node_weight, *edges, reduce)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
        return out
    return _plain_aggregate(block, x, reduce, weight, node_weight)


def estimate_sum(block: Block, x: Tensor) -> Tensor:
    """The sum over the full neighborhood of every destination, (num_dst, d).

    Exact when the block holds all edges; from k of d sampled edges it is d / k times their sum,
    whose expectation is the full sum.
    """
    return full_sum(block, aggregate(block, x, "sum"))


def full_sum(block: Block, drawn: Tensor) -> Tensor:
    """The estimate of a sum over the full neighborhoods from that over the drawn edges."""
    scale = block.dst_degrees() / block.in_degrees().clamp(min=1)
    return drawn * scale.to(drawn.dtype)[:, None]


class _Aggregate(torch.autograd.Function):
    """The kernels with their derivative."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        node_weight: Tensor | None,
        indptr: Tensor,
        indices: Tensor,
        reduce: str,
    ) -> Tensor:
        factors, node_factors = (
            None if w is None else w.detach().to(torch.float32) for w in (weight, node_weight)
        )
        out, arg = _run_kernel(indptr, indices, x, factors, node_factors, reduce)
        needs_x = any(ctx.needs_input_grad[1:3])
        ctx.save_for_backward(
            indptr, indices, factors, node_factors, x if needs_x else None, _optional_tensor(arg)
        )
        ctx.reduce, ctx.num_src, ctx.x_dtype = reduce, x.shape[0], x.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        indptr, indices, factors, node_factors, x, arg = ctx.saved_tensors
        grad = grad.to(torch.float32)
        grad_x = grad_weight = grad_node_weight = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[2]:
            received = _received(indptr, indices, factors, arg, grad, ctx.num_src, ctx.reduce)
            if ctx.needs_input_grad[2]:
                grad_node_weight = (received * x).sum(dim=1)
            if node_factors is not None:
                received = received.mul_(node_factors[:, None])
            grad_x = received.to(ctx.x_dtype)
        if ctx.needs_input_grad[1]:
            if ctx.reduce == "mean":
                grad = grad * _inverse_degrees(indptr)[:, None]
            sent = x.to(torch.float32)
            if node_factors is not None:
                sent = sent * node_factors[:, None]
            grad_weight = _grad_weight(indptr, indices, sent, arg, grad)
        return grad_x, grad_weight, grad_node_weight, None, None, None


def _received(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    arg: Tensor | None,
    grad: Tensor,
    num_src: int,
    reduce: str,
) -> Tensor:
    """The gradient by what every source sends, (num_src, d): a sum over its edges."""
    if arg is not None:
        if weight is not None and len(weight):
            grad = grad * weight[arg.clamp(min=0)]
        winners = (arg.numpy(), indices.numpy(), grad.contiguous().numpy())
        threads = torch.get_num_threads()
        return torch.from_numpy(kernels.max_backward(*winners, num_src, threads))
    edges = by_source(indptr, indices, num_src)
    factors = None if weight is None else weight[edges.order]
    share = _inverse_degrees(indptr) if reduce == "mean" else None
    out, _ = _run_kernel(edges.indptr, edges.destinations, grad, factors, share, "sum")
    return out


def _inverse_degrees(indptr: Tensor) -> Tensor:
    return (indptr[1:] - indptr[:-1]).clamp(min=1).to(torch.float32).reciprocal()


def _grad_weight(
    indptr: Tensor, indices: Tensor, x: Tensor, arg: Tensor | None, grad: Tensor
) -> Tensor:
    sources = indices.long()
    if arg is None:
        return (grad[_destinations(indptr)] * x[sources]).sum(dim=1)
    out = torch.zeros(len(indices))
    row, column = torch.nonzero(arg >= 0, as_tuple=True)
    edge = arg[row, column]
    return out.index_add(0, edge, grad[row, column] * x[sources[edge], column])


def _run_kernel(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    weight: Tensor | None,
    node_weight: Tensor | None,
    reduce: str,
) -> tuple[Tensor, NDArray[np.int64] | None]:
    out, arg = kernels.aggregate(
        indptr.numpy(),
        indices.numpy(),
        _as_array(x.detach().contiguous()),
        None,
        None if weight is None else weight.contiguous().numpy(),
        None if node_weight is None else node_weight.contiguous().numpy(),
        reduce,
        torch.get_num_threads(),
    )
    return torch.from_numpy(out), arg


def _as_array(x: Tensor) -> NDArray[Any]:
    """A NumPy view; bfloat16 as its bits, which is how the kernels take it."""
    bits = x.view(torch.uint16) if x.dtype == torch.bfloat16 else x
    array: NDArray[Any] = bits.numpy()
    return array


def _optional_tensor(array: NDArray[np.int64] | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)


def _plain_aggregate(
    block: Block, x: Tensor, reduce: str, weight: Tensor | None, node_weight: Tensor | None
) -> Tensor:
    """The same in torch operations, for other devices and for float64."""
    x = x if x.dtype == torch.float64 else x.float()
    if node_weight is not None:
        x = x * node_weight.to(x.dtype)[:, None]
    rows = x[block.indices.long()]
    if weight is not None:
        rows = rows * weight.to(rows.dtype)[:, None]
    dst = _destinations(block.indptr)
    out = torch.zeros(block.num_dst, x.shape[1], dtype=x.dtype, device=x.device)
    if reduce == "max":
        return _plain_max(out, dst, rows)
    out = out.index_add(0, dst, rows)
    return out / block.in_degrees().clamp(min=1)[:, None] if reduce == "mean" else out


def _plain_max(zeros: Tensor, dst: Tensor, rows: Tensor) -> Tensor:
    """The largest of every destination's rows, with the gradient of the first of equals."""
    if not len(rows):
        return zeros.index_add(0, dst, rows)
    place = dst[:, None].expand_as(rows)
    top = zeros.scatter_reduce(0, place, rows.detach(), "amax", include_self=False)
    wins = (rows.detach() == top[dst]) | rows.detach().isnan()
    edges = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
    first = torch.full_like(zeros, len(rows), dtype=torch.int64)
    first = first.scatter_reduce(0, place, edges.where(wins, len(rows)), "amin")
    best = rows.gather(0, first.clamp(max=len(rows) - 1))
    return best.where(first < len(rows), 0.0)


def _destinations(indptr: Tensor) -> Tensor:
    """The destination of every edge, (num_edges,) int64."""
    nodes = torch.arange(len(indptr) - 1, device=indptr.device)
    return torch.repeat_interleave(nodes, indptr[1:] - indptr[:-1])


def _check(
    block: Block, x: Tensor, reduce: str, weight: Tensor | None, node_weight: Tensor | None
) -> None:
    if reduce not in REDUCTIONS:
        raise InputError(f"reduce is {reduce!r}; choose one of {', '.join(REDUCTIONS)}")
    if x.ndim != 2 or x.shape[0] != block.num_src:
        raise InputError(
            f"x has shape {tuple(x.shape)}; give one row for each of the block's "
            f"{block.num_src} source nodes"
        )
    if weight is not None and weight.shape != (block.num_edges,):
        raise InputError(
            f"weight has shape {tuple(weight.shape)}; give one entry for each of the block's "
            f"{block.num_edges} edges"
        )
    if node_weight is not None and node_weight.shape != (block.num_src,):
        raise InputError(
            f"node_weight has shape {tuple(node_weight.shape)}; give one entry for each of the "
            f"block's {block.num_src} source nodes"
        )
