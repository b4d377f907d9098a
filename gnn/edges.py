"""Rows of edges: what the two ends bring to every edge, and how edges are reduced again.

Convolutions whose message depends on the edge itself need rows for edges. All of it is written
as aggregation over Blocks (one edge per row, or the edges as sources), so results and gradients
have the same bits for any number of threads. `in_pieces` keeps what is of the size edges x
columns to a piece at a time, in the backward pass too (recomputed there; Chen et al.: Training
Deep Nets with Sublinear Memory Cost, 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gnn.aggregate import aggregate
from sampling import Block, kernels

__all__ = [
    "Piece",
    "destination_rows",
    "destinations",
    "edge_block",
    "edge_dots",
    "in_pieces",
    "mean_edges",
    "picked",
    "source_rows",
    "sum_edges",
    "touched",
]

TRAINING_ENTRIES = 1 << 25
CACHED_ENTRIES = 1 << 18


def destinations(block: Block) -> Tensor:
    """The destination of every edge, (num_edges,) int64."""
    return _destinations(block.indptr)


def source_rows(block: Block, x: Tensor) -> Tensor:
    """The row of every edge's source, (num_edges, d), from x, (num_src, d)."""
    return picked(x, block.indices)


def destination_rows(block: Block, x: Tensor) -> Tensor:
    """The row of every edge's destination, (num_edges, d), from x, (num_dst, d)."""
    out: Tensor = _DestinationRows.apply(x, block.indptr)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return out


def picked(x: Tensor, indices: Tensor) -> Tensor:
    """`x[indices]`, (len(indices), d); a row's gradient is the sum over its picks, in order."""
    out: Tensor = _Picked.apply(x, indices)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return out


def edge_block(block: Block) -> Block:
    """The hop from edges to destinations: edge e is source e."""
    return _edge_hop(block.indptr, block.num_edges)


def sum_edges(block: Block, rows: Tensor) -> Tensor:
    """The sum of the rows of every destination's edges, (num_dst, d), from (num_edges, d)."""
    out: Tensor = _EdgeSums.apply(rows, block.indptr)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return out


def mean_edges(block: Block, rows: Tensor) -> Tensor:
    """The same for the mean; 0 where there are no edges."""
    sums = sum_edges(block, rows)
    return sums / block.in_degrees().clamp(min=1).to(sums.dtype)[:, None]


def touched(block: Block, rows: Tensor) -> tuple[Block, Tensor]:
    """The hop and the rows of its sources, without sources that no edge leaves from.

    A tile of a large graph has few of its sources; work that is done for every source pays here.
    The result is for reductions over the edges only: destinations need not be among its sources.
    """
    if block.num_src <= block.num_edges:
        return block, rows
    sources, places = torch.unique(block.indices, return_inverse=True)
    sources = sources.long()
    return _without_destinations(block, block.src_nodes[sources], places), rows[sources]


def edge_dots(block: Block, dst_rows: Tensor, src_rows: Tensor, heads: int) -> Tensor:
    """Inner product of the two ends of every edge, head by head, (num_edges, heads).

    Args:
        block: the hop.
        dst_rows: (num_dst, heads * d); differentiable.
        src_rows: (num_src, heads * d); differentiable.
        heads: number of heads; head h has the columns `h * d … (h + 1) * d`.

    Cost: two reads of d per edge and head; nothing of the size edges x columns stays.
    """
    if dst_rows.dtype == torch.float64 or dst_rows.device.type != "cpu":
        return _plain_dots(block, destinations(block), dst_rows, src_rows, heads)
    edges = (block.indptr, block.indices)
    out: Tensor = _EdgeDots.apply(dst_rows.float(), src_rows.float(), *edges, heads)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return out


class _Picked(torch.autograd.Function):
    """Any rows of a matrix, with a derivative that does not depend on the number of threads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.num_rows = len(x)
        return x.index_select(0, indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (indices,) = ctx.saved_tensors
        if grad.device.type != "cpu" or grad.dtype == torch.float64:
            zeros = grad.new_zeros(ctx.num_rows, grad.shape[1])
            return zeros.index_add(0, indices, grad), None
        one_each = torch.arange(len(indices) + 1)
        arrays = (one_each.numpy(), indices.numpy(), ctx.num_rows, torch.get_num_threads())
        indptr, _, order = map(torch.from_numpy, kernels.transpose(*arrays))
        sums = aggregate(_hop(indptr, order, len(indices)), grad, "sum")
        return sums.to(grad.dtype), None


class _DestinationRows(torch.autograd.Function):
    """Rows repeated for every edge of a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indptr: Tensor) -> Tensor:
        ctx.save_for_backward(indptr)
        return x.index_select(0, _destinations(indptr))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _row_sums(ctx.saved_tensors[0], grad), None


class _EdgeSums(torch.autograd.Function):
    """Sums of consecutive rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, indptr: Tensor) -> Tensor:
        ctx.save_for_backward(indptr)
        return _row_sums(indptr, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.index_select(0, _destinations(ctx.saved_tensors[0])), None


class _EdgeDots(torch.autograd.Function):
    """Dots by pieces of edges; the gradient of an end is a weighted sum over its edges."""

    @staticmethod
    def forward(
        ctx: Any, dst_rows: Tensor, src_rows: Tensor, indptr: Tensor, indices: Tensor, heads: int
    ) -> Tensor:
        ctx.save_for_backward(dst_rows, src_rows, indptr, indices)
        ctx.heads = heads
        block = _hop(indptr, indices, len(src_rows))
        out = dst_rows.new_empty(block.num_edges, heads)
        for piece in _pieces(block, dst_rows.shape[1]):
            ends = (destinations(piece.block), dst_rows[piece.rows], src_rows)
            out[piece.edges] = _plain_dots(piece.block, *ends, heads)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dst_rows, src_rows, indptr, indices = ctx.saved_tensors
        grad_dst = grad_src = None
        if ctx.needs_input_grad[0]:
            block = _hop(indptr, indices, len(src_rows))
            grad_dst = _weighted_sums(block, src_rows, grad)
        if ctx.needs_input_grad[1]:
            arrays = (indptr.numpy(), indices.numpy(), len(src_rows), torch.get_num_threads())
            t_indptr, t_indices, order = map(torch.from_numpy, kernels.transpose(*arrays))
            block = _hop(t_indptr, t_indices, len(dst_rows))
            grad_src = _weighted_sums(block, dst_rows, grad[order])
        return grad_dst, grad_src, None, None, None


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive destinations of a block with their edges.

    Attributes:
        block: the same sources, some of the destinations.
        rows: which destinations.
        edges: which edges.
    """

    block: Block
    rows: slice
    edges: slice


def in_pieces(block: Block, width: int, run: Callable[[Piece], Tensor]) -> Tensor:
    """What `run` gives for pieces of the destinations, one after the other.

    Args:
        block: the hop.
        width: columns that `run` makes for each edge on the way.
        run: makes rows for the destinations, or for the edges, of a piece; called again in the
            backward pass where there is more than one piece.
    """
    pieces = list(_pieces(block, width))
    if len(pieces) == 1:
        return run(pieces[0])
    if not torch.is_grad_enabled():
        return torch.cat([run(piece) for piece in pieces])
    return torch.cat([checkpoint(run, piece, use_reentrant=False) for piece in pieces])


def _pieces(block: Block, width: int) -> Iterator[Piece]:
    """Pieces of whole rows that fit a cache, or memory where a backward pass follows.

    There they are no smaller than the sources, as each piece makes a gradient for all of these.
    """
    step = max(CACHED_ENTRIES // max(width, 1), 1)
    if torch.is_grad_enabled():
        step = max(TRAINING_ENTRIES // max(width, 1), block.num_src)
    if block.num_edges <= step:
        yield Piece(block, slice(0, block.num_dst), slice(0, block.num_edges))
        return
    start, indptr = 0, block.indptr
    while start < block.num_dst:
        last = int(torch.searchsorted(indptr, int(indptr[start]) + step, right=True)) - 1
        end = min(max(last, start + 1), block.num_dst)
        yield _piece(block, start, end)
        start = end


def _piece(block: Block, start: int, end: int) -> Piece:
    indptr = block.indptr[start : end + 1]
    edges = slice(int(indptr[0]), int(indptr[-1]))

    def part(array: Tensor | None) -> Tensor | None:
        return None if array is None else array[edges]

    piece = replace(
        block,
        indptr=indptr - edges.start,
        indices=block.indices[edges],
        dst_offset=block.dst_offset + start,
        edge_ids=part(block.edge_ids),
        edge_type=part(block.edge_type),
        edge_weight=part(block.edge_weight),
        edge_time=part(block.edge_time),
        edge_features=part(block.edge_features),
        dst_times=None if block.dst_times is None else block.dst_times[start:end],
    )
    return Piece(piece, slice(start, end), edges)


def _destinations(indptr: Tensor) -> Tensor:
    nodes = torch.arange(len(indptr) - 1, device=indptr.device)
    return torch.repeat_interleave(nodes, indptr[1:] - indptr[:-1])


def _edge_hop(indptr: Tensor, num_edges: int) -> Block:
    edges = torch.arange(num_edges, device=indptr.device)
    return Block(edges, indptr, edges)


def _row_sums(indptr: Tensor, rows: Tensor) -> Tensor:
    return aggregate(_edge_hop(indptr, len(rows)), rows, "sum")


def _plain_dots(
    block: Block, dst: Tensor, dst_rows: Tensor, src_rows: Tensor, heads: int
) -> Tensor:
    products = dst_rows[dst] * src_rows[block.indices.long()]
    return products.reshape(len(products), heads, dst_rows.shape[1] // heads).sum(dim=2)


def _weighted_sums(block: Block, x: Tensor, weight: Tensor) -> Tensor:
    """Σ w_uv x_u with a weight for every head, (num_dst, heads * d)."""
    heads = weight.shape[1]
    parts = zip(x.chunk(heads, dim=1), weight.unbind(dim=1), strict=True)
    return torch.cat([aggregate(block, rows, "sum", factors) for rows, factors in parts], dim=1)


def _hop(indptr: Tensor, indices: Tensor, num_src: int) -> Block:
    """A hop that only counts its sources, without an array of that length."""
    return Block(indptr.new_zeros(1).expand(num_src), indptr, indices)


def _without_destinations(block: Block, src_nodes: Tensor, places: Tensor) -> Block:
    indices = places.to(block.indices.dtype)
    return replace(block, src_nodes=src_nodes, indices=indices, dst_offset=0)
