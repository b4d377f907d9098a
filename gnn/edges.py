"""Rows of edges: what the two ends bring to every edge, and how edges are reduced again.

Convolutions whose message depends on the edge itself need rows for edges. Every sum over edges is
one of `gnn.aggregate`, so results and gradients have the same bits for any number of threads.
`in_pieces` keeps what is of the size edges x columns to a cache-sized piece at a time, in the
backward pass too, where it is computed again (Chen et al.: Training Deep Nets with Sublinear
Memory Cost, 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gnn.aggregate import aggregate
from gnn.by_source import by_source
from gnn.device import random_devices, walks_compiled
from gnn.precision import Autocast
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
    "sum_edges",
    "touched",
]

PIECE_ENTRIES = 1 << 18
DEVICE_PIECE_ENTRIES = 1 << 25
"""Elsewhere than on the CPU, where every piece costs a launch of each operation."""


def destinations(block: Block) -> Tensor:
    """The destination of every edge, (num_edges,) int64."""
    return _destinations(block.indptr)


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
    if not walks_compiled(dst_rows):
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
        if not walks_compiled(grad):
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
            edges = by_source(indptr, indices, len(src_rows))
            block = _hop(edges.indptr, edges.destinations, len(dst_rows))
            grad_src = _weighted_sums(block, dst_rows, grad[edges.order])
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


Run = Callable[[Piece, Tensor, Tensor], Tensor]


def in_pieces(
    block: Block,
    width: int,
    run: Run,
    src_rows: Tensor,
    dst_rows: Tensor,
    parameters: Iterable[Tensor] = (),
    per_edge: bool = False,
) -> Tensor:
    """What `run` gives for pieces of the destinations, one after the other.

    Args:
        block: the hop.
        width: columns that `run` makes for each edge on the way.
        run: makes rows for the destinations of a piece, or for its edges, from the piece, the
            rows of its edges' sources and the rows of its destinations. It is called again in
            the backward pass where there are several pieces.
        src_rows: (num_src, d); differentiable.
        dst_rows: (num_dst, d'); differentiable.
        parameters: what else `run` reads that has a gradient.
        per_edge: `run` makes rows for edges.
    """
    if block.num_edges <= _piece_edges(width, block.indptr.device):
        return run(_whole(block), picked(src_rows, block.indices), dst_rows)
    out: Tensor = _InPieces.apply(run, block, width, per_edge, src_rows, dst_rows, *parameters)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return out


class _InPieces(torch.autograd.Function):
    """A map over edges that keeps only its inputs, and differentiates piece by piece."""

    @staticmethod
    def forward(
        ctx: Any,
        run: Run,
        block: Block,
        width: int,
        per_edge: bool,
        src_rows: Tensor,
        dst_rows: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(src_rows, dst_rows, *parameters)
        ctx.run, ctx.block, ctx.width, ctx.per_edge = run, block, width, per_edge
        ctx.random_state = _random_state(src_rows.device)
        ctx.autocast = Autocast.current(src_rows.device)
        outs = []
        with ctx.autocast.again():
            for piece in _pieces(block, width):
                sent = src_rows.index_select(0, piece.block.indices)
                outs.append(run(piece, sent, dst_rows[piece.rows]))
        return torch.cat(outs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        src_rows, dst_rows, *parameters = ctx.saved_tensors
        total = [_zeros_for(t) if t.requires_grad else None for t in ctx.saved_tensors]
        with _drawing_again(ctx.random_state), ctx.autocast.again(), torch.enable_grad():
            for piece in _pieces(ctx.block, ctx.width):
                indices = piece.block.indices
                sent = src_rows.detach().index_select(0, indices).requires_grad_()
                own = dst_rows.detach()[piece.rows].requires_grad_()
                out = ctx.run(piece, sent, own)
                inputs = [t for t in (sent, own, *parameters) if t.requires_grad]
                upstream = grad[piece.edges if ctx.per_edge else piece.rows]
                grads = iter(torch.autograd.grad(out, inputs, upstream, allow_unused=True))
                _add_at(total[0], indices, next(grads))
                _add(None if total[1] is None else total[1][piece.rows], next(grads))
                for kept in total[2:]:
                    if kept is not None:
                        _add(kept, next(grads))
        tensors = zip(total, ctx.saved_tensors, strict=True)
        return (None,) * 4 + tuple(None if t is None else t.to(x.dtype) for t, x in tensors)


RandomState = tuple[Tensor, dict[torch.device, Tensor]]


def _random_state(device: torch.device) -> RandomState:
    """Of torch's generator, and of the device's own where it has one."""
    states = {each: torch.cuda.get_rng_state(each) for each in random_devices(device)}
    return torch.get_rng_state(), states


@contextmanager
def _drawing_again(state: RandomState) -> Iterator[None]:
    """The generators as they were then; as they are now when it ends."""
    with torch.random.fork_rng(devices=list(state[1])):
        torch.set_rng_state(state[0])
        for device, own in state[1].items():
            torch.cuda.set_rng_state(own, device)
        yield


def _zeros_for(x: Tensor) -> Tensor:
    return torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))


def _add(total: Tensor | None, grad: Tensor | None) -> None:
    if total is not None and grad is not None:
        total += grad


def _add_at(total: Tensor | None, indices: Tensor, grad: Tensor | None) -> None:
    """Add rows of `grad` to rows `indices` of `total`; equal indices in their order."""
    if total is None or grad is None or not len(indices):
        return
    order = torch.argsort(indices, stable=True)
    places, counts = torch.unique_consecutive(indices[order], return_counts=True)
    indptr = torch.cat([counts.new_zeros(1), torch.cumsum(counts, dim=0)])
    sums = aggregate(_hop(indptr, order, len(grad)), grad, "sum")
    total[places.long()] += sums.to(total.dtype)


def _pieces(block: Block, width: int) -> Iterator[Piece]:
    """Pieces of whole rows, as near as that allows to `PIECE_ENTRIES`, which fit a cache."""
    step = _piece_edges(width, block.indptr.device)
    if block.num_edges <= step:
        yield _whole(block)
        return
    start, indptr = 0, block.indptr
    while start < block.num_dst:
        last = int(torch.searchsorted(indptr, int(indptr[start]) + step, right=True)) - 1
        end = min(max(last, start + 1), block.num_dst)
        yield _piece(block, start, end)
        start = end


def _piece_edges(width: int, device: torch.device) -> int:
    entries = PIECE_ENTRIES if device.type == "cpu" else DEVICE_PIECE_ENTRIES
    return max(entries // max(width, 1), 1)


def _whole(block: Block) -> Piece:
    return Piece(block, slice(0, block.num_dst), slice(0, block.num_edges))


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
    products = products if products.dtype == torch.float64 else products.float()
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
