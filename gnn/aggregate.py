"""Neighborhood aggregation, the only scatter in the house.

    out_v = reduce { w_uv · x_u : u → v }          reduce: sum, mean or max

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

from sampling import Block, kernels
from sampling.errors import InputError

__all__ = ["REDUCTIONS", "aggregate", "estimate_sum", "full_sum"]

REDUCTIONS = ("sum", "mean", "max")
KERNEL_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def aggregate(
    block: Block, x: Tensor, reduce: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """One row per destination, (num_dst, d) float32 (float64 for float64 input); empty rows are 0.

    Args:
        block: the hop.
        x: a row per source node, (num_src, d) float32, float16, bfloat16 or float64.
        reduce: "sum", "mean" or "max". A mean divides by the number of edges, weighted or not.
        weight: factor of every edge, (num_edges,); differentiable.

    Raises:
        InputError: `x` has another number of rows than the block has sources, `weight` not one
            entry per edge, or `reduce` is unknown.

    Cost: one pass over the edges; backward one more over the transposed block.

    Example:
        >>> block = Block(torch.arange(2), torch.tensor([0, 2, 2]), torch.tensor([0, 1]))
        >>> aggregate(block, torch.tensor([[1.0], [3.0]]), "mean").tolist()
        [[2.0], [0.0]]
    """
    _check(block, x, reduce, weight)
    if x.device.type == "cpu" and x.dtype in KERNEL_TYPES:
        out: Tensor = _Aggregate.apply(x, weight, block.indptr, block.indices, reduce)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
        return out
    return _plain_aggregate(block, x, reduce, weight)


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
        ctx: Any, x: Tensor, weight: Tensor | None, indptr: Tensor, indices: Tensor, reduce: str
    ) -> Tensor:
        factors = None if weight is None else weight.detach().to(torch.float32)
        out, arg = _run_kernel(indptr, indices, x, factors, reduce)
        needs_x = weight is not None and weight.requires_grad
        ctx.save_for_backward(
            indptr, indices, factors, x if needs_x else None, _optional_tensor(arg)
        )
        ctx.reduce, ctx.num_src, ctx.x_dtype = reduce, x.shape[0], x.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        indptr, indices, factors, x, arg = ctx.saved_tensors
        grad = grad.to(torch.float32)
        if ctx.reduce == "mean":
            grad = grad / (indptr[1:] - indptr[:-1]).clamp(min=1)[:, None]
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _grad_x(indptr, indices, factors, arg, grad, ctx.num_src).to(ctx.x_dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = _grad_weight(indptr, indices, x.to(torch.float32), arg, grad)
        return grad_x, grad_weight, None, None, None


def _grad_x(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    arg: Tensor | None,
    grad: Tensor,
    num_src: int,
) -> Tensor:
    if arg is not None:
        if weight is not None:
            grad = grad * weight[arg.clamp(min=0)] if len(weight) else grad
        rows = kernels.max_backward(
            arg.numpy(),
            indices.numpy(),
            grad.contiguous().numpy(),
            num_src,
            torch.get_num_threads(),
        )
        return torch.from_numpy(rows)
    t_indptr, t_indices, order = kernels.transpose(indptr.numpy(), indices.numpy(), num_src)
    by_source = None if weight is None else weight[torch.from_numpy(order)]
    out, _ = _run_kernel(
        torch.from_numpy(t_indptr), torch.from_numpy(t_indices), grad, by_source, "sum"
    )
    return out


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
    indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, reduce: str
) -> tuple[Tensor, NDArray[np.int64] | None]:
    out, arg = kernels.aggregate(
        indptr.numpy(),
        indices.numpy(),
        _as_array(x.detach().contiguous()),
        None,
        None if weight is None else weight.contiguous().numpy(),
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


def _plain_aggregate(block: Block, x: Tensor, reduce: str, weight: Tensor | None) -> Tensor:
    """The same in torch operations, for other devices and for float64."""
    x = x if x.dtype == torch.float64 else x.float()
    rows = x[block.indices.long()]
    if weight is not None:
        rows = rows * weight.to(rows.dtype)[:, None]
    dst = _destinations(block.indptr)
    out = torch.zeros(block.num_dst, x.shape[1], dtype=x.dtype, device=x.device)
    if reduce == "max":
        place = dst[:, None].expand_as(rows)
        return out.scatter_reduce(0, place, rows, "amax", include_self=False)
    out = out.index_add(0, dst, rows)
    return out / block.in_degrees().clamp(min=1)[:, None] if reduce == "mean" else out


def _destinations(indptr: Tensor) -> Tensor:
    """The destination of every edge, (num_edges,) int64."""
    nodes = torch.arange(len(indptr) - 1, device=indptr.device)
    return torch.repeat_interleave(nodes, indptr[1:] - indptr[:-1])


def _check(block: Block, x: Tensor, reduce: str, weight: Tensor | None) -> None:
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
