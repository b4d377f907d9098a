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
    "picked",
    "source_rows",
    "sum_edges",
    "touched",
]

PIECE_ENTRIES = 1 << 24


def destinations(block: Block) -> Tensor:
    """The destination of every edge, (num_edges,) int64."""
    nodes = torch.arange(block.num_dst, device=block.indptr.device)
    return torch.repeat_interleave(nodes, block.in_degrees())


def source_rows(block: Block, x: Tensor) -> Tensor:
    """The row of every edge's source, (num_edges, d), from x, (num_src, d)."""
    return picked(x, block.indices)


def destination_rows(block: Block, x: Tensor) -> Tensor:
    """The row of every edge's destination, (num_edges, d), from x, (num_dst, d)."""
    return picked(x, destinations(block))


def picked(x: Tensor, indices: Tensor) -> Tensor:
    """`x[indices]`, (len(indices), d); a row's gradient is the sum over its picks, in order."""
    indptr = torch.arange(len(indices) + 1, device=indices.device)
    return aggregate(_hop(indptr, indices, len(x)), x, "sum")


def edge_block(block: Block) -> Block:
    """The hop from edges to destinations: edge e is source e."""
    edges = torch.arange(block.num_edges, device=block.indptr.device)
    return Block(edges, block.indptr, edges)


def sum_edges(block: Block, rows: Tensor, reduce: str = "sum") -> Tensor:
    """Rows of edges, (num_edges, d), reduced into each destination, (num_dst, d)."""
    return aggregate(edge_block(block), rows, reduce)


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
    """Pieces of whole rows; no smaller than the sources, whose gradients each of them makes."""
    step = max(PIECE_ENTRIES // max(width, 1), block.num_src, 1)
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
