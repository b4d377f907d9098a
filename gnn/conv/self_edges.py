"""Self edges: some convolutions let every node attend to itself as to one more neighbor."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gnn.edges import destinations, sum_edges
from sampling import Block
from sampling.errors import InputError

__all__ = ["FILLS", "with_self_edges"]

FILLS = ("mean", "zeros")


def with_self_edges(block: Block, fill: str = "mean") -> Block:
    """The block with exactly one edge from every destination to itself, the last of its row.

    Self edges that are there are dropped first. A new one weighs 1 and has no id, type or time,
    so the result has none.

    Args:
        block: the hop.
        fill: features of a new edge: the "mean" of those that the destination receives, or
            "zeros".

    Raises:
        InputError: `fill` is unknown.

    Example:
        >>> block = Block(torch.arange(2), torch.tensor([0, 2, 2]), torch.tensor([0, 1]))
        >>> looped = with_self_edges(block)
        >>> looped.indptr.tolist(), looped.indices.tolist()
        ([0, 2, 3], [1, 0, 1])
    """
    if fill not in FILLS:
        raise InputError(f"fill is {fill!r}; choose {' or '.join(FILLS)}")
    dst = destinations(block)
    kept = torch.nonzero(block.indices != dst + block.dst_offset).flatten()
    dst, nodes = dst[kept], torch.arange(block.num_dst, device=block.indptr.device)
    indptr = torch.zeros_like(block.indptr)
    indptr[1:] = torch.cumsum(torch.bincount(dst, minlength=block.num_dst) + 1, dim=0)
    places = (torch.arange(len(kept), device=dst.device) + dst, indptr[1:] - 1)

    def placed(array: Tensor, own: Tensor) -> Tensor:
        out = array.new_empty(len(kept) + len(nodes), *array.shape[1:])
        out[places[0]], out[places[1]] = array[kept], own.to(array.dtype)
        return out

    looped = replace(
        block,
        indptr=indptr,
        indices=placed(block.indices, nodes + block.dst_offset),
        edge_ids=None,
        edge_type=None,
        edge_time=None,
    )
    if block.edge_weight is not None:
        weight = placed(block.edge_weight, torch.ones(len(nodes), device=nodes.device))
        looped = replace(looped, edge_weight=weight)
    if block.edge_features is not None:
        features = placed(block.edge_features, _own_features(block, kept, dst, fill))
        looped = replace(looped, edge_features=features)
    return looped


def _own_features(block: Block, kept: Tensor, dst: Tensor, fill: str) -> Tensor:
    """Features of the new edges, (num_dst, d_edge)."""
    assert block.edge_features is not None
    if fill == "zeros":
        return block.edge_features.new_zeros(block.num_dst, block.edge_features.shape[1])
    indptr = torch.zeros_like(block.indptr)
    indptr[1:] = torch.cumsum(torch.bincount(dst, minlength=block.num_dst), dim=0)
    others = Block(block.src_nodes, indptr, kept)
    return sum_edges(others, block.edge_features[kept], "mean")
