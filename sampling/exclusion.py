"""Taking edges out of Blocks: what is to be predicted must not be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling.block import Block

__all__ = ["without_edges"]


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
    kept = ~_listed(block, src, dst)
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
