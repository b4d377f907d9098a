"""Taking edges out of Blocks: what is to be predicted must not be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling.block import Block

__all__ = ["EdgePlaces", "keep_edges", "without_edges"]


def without_edges(block: Block, src: NDArray[np.int64], dst: NDArray[np.int64]) -> Block:
    """The block without any edge `src[i] → dst[i]`, its nodes unchanged.

    All edges between such a pair go, parallel ones and those of every type included.

    Args:
        block: a hop.
        src: dense nodes, (num_pairs,).
        dst: dense nodes, (num_pairs,).

    Example:
        >>> block = Block(torch.tensor([7, 8, 9]), torch.tensor([0, 2]), torch.tensor([1, 2]))
        >>> without_edges(block, np.array([8]), np.array([7])).indices.tolist()
        [2]
    """
    return keep_edges(block, ~_listed(block, src, dst))


def keep_edges(block: Block, kept: NDArray[np.bool_]) -> Block:
    """The block with some of its edges, its nodes unchanged.

    Args:
        block: a hop.
        kept: which edges stay, (num_edges,).
    """
    if kept.all():
        return block
    mask, until = torch.from_numpy(kept), np.concatenate([[0], np.cumsum(kept)])

    def edges(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[mask]

    return replace(
        block,
        indptr=torch.from_numpy(until)[block.indptr],
        indices=block.indices[mask],
        edge_ids=edges(block.edge_ids),
        edge_type=edges(block.edge_type),
        edge_weight=edges(block.edge_weight),
        edge_time=edges(block.edge_time),
        edge_features=edges(block.edge_features),
    )


class EdgePlaces:
    """Where the edges between two nodes stand in a block that does not change, found by bisection.

    Args:
        block: a hop, with few enough nodes that a pair of them is one 64-bit number.

    Example:
        >>> block = Block(torch.tensor([7, 8, 9]), torch.tensor([0, 2]), torch.tensor([1, 2]))
        >>> EdgePlaces(block).absent(np.array([8]), np.array([7])).tolist()
        [False, True]
    """

    def __init__(self, block: Block) -> None:
        sources = block.src_nodes.numpy()[block.indices.numpy()]
        targets = np.repeat(block.dst_nodes.numpy(), block.in_degrees().numpy())
        pairs = _pairs(sources, targets)
        is_sorted = bool((pairs[1:] >= pairs[:-1]).all())
        self._order = None if is_sorted else np.argsort(pairs, kind="stable")
        self._pairs = pairs if self._order is None else pairs[self._order]

    def absent(self, src: NDArray[np.int64], dst: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which edges are not one of the pairs `src[i] → dst[i]`, (num_edges,)."""
        asked = np.unique(_pairs(src, dst))
        steps = np.zeros(len(self._pairs) + 1, np.int64)
        np.add.at(steps, np.searchsorted(self._pairs, asked, "left"), 1)
        np.add.at(steps, np.searchsorted(self._pairs, asked, "right"), -1)
        absent: NDArray[np.bool_] = np.cumsum(steps[:-1]) == 0
        if self._order is None:
            return absent
        out = np.empty_like(absent)
        out[self._order] = absent
        return out


def _listed(block: Block, src: NDArray[np.int64], dst: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each edge of the block is one of the pairs, (num_edges,)."""
    dst_nodes = block.dst_nodes.numpy()
    rows = np.isin(dst_nodes, dst)
    degrees = block.in_degrees().numpy()
    # Few rows lead to a listed destination, and only their edges are compared.
    edges = np.flatnonzero(np.repeat(rows, degrees))
    sources = block.src_nodes.numpy()[block.indices.numpy()[edges]]
    listed = np.zeros(block.num_edges, bool)
    targets = np.repeat(dst_nodes[rows], degrees[rows])
    listed[edges] = np.isin(_pairs(sources, targets), _pairs(src, dst))
    return listed


def _pairs(src: NDArray[np.int64], dst: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Both nodes as one number, different for different pairs of nodes below 2^32."""
    pairs: NDArray[np.uint64] = dst.astype(np.uint64) << np.uint64(32) | src.astype(np.uint64)
    return pairs
