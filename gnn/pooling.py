"""Pooling: the best-scored nodes of every graph of a batch, and the edges between them.

    s = x p / ‖p‖                      TopKPool (Gao, Ji: Graph U-Nets, 2019)
    s = GCN(A, x)                      SAGPool (Lee, Lee, Kang: Self-Attention Graph Pooling, 2019)
    kept = the ⌈ratio · n⌉ best of every graph,   x' = x[kept] · tanh(s[kept])

Nodes keep their order. Equal scores are decided by the rows of the nodes and only among equal rows
by the order of nodes, so that renumbering the nodes renumbers the result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gnn.conv.gcn import GCNConv
from sampling import Block
from sampling.errors import InputError

__all__ = ["Pooled", "SAGPool", "TopKPool", "best_nodes", "check_whole", "keep_nodes"]


class Pooled(NamedTuple):
    """What is left of a batch.

    Attributes:
        block: the edges between kept nodes; its nodes are 0 … num_kept - 1.
        x: their rows, (num_kept, d).
        graph_indptr: first kept node of every graph and, last, their number, (num_graphs + 1,).
        kept: their places among the nodes before, of merged ones the first, ascending, (num_kept,).
    """

    block: Block
    x: Tensor
    graph_indptr: Tensor
    kept: Tensor


class _ScorePool(nn.Module, ABC):
    """Keeps the best nodes by a score."""

    def __init__(self, d_in: int, ratio: float) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise InputError(f"ratio is {ratio}; give the share of nodes to keep, above 0 up to 1")
        self.d_out, self.ratio = d_in, ratio

    @abstractmethod
    def score(self, block: Block, x: Tensor) -> Tensor:
        """A number for every node, (n,)."""

    def forward(self, block: Block, x: Tensor, graph_indptr: Tensor) -> Pooled:
        """The best nodes of every graph.

        Args:
            block: all edges of the batch; sources and destinations are all its nodes.
            x: rows of the nodes, (n, d_in).
            graph_indptr: first node of every graph and, last, n, (num_graphs + 1,).
        """
        score = self.score(block, x)
        kept, indptr = best_nodes(score.detach(), x.detach(), graph_indptr, self.ratio)
        rows = x[kept] * torch.tanh(score[kept])[:, None]
        return Pooled(keep_nodes(block, kept), rows, indptr, kept)


class TopKPool(_ScorePool):
    """Scores by a learned direction.

    Args:
        d_in: width of the rows.
        ratio: share of the nodes of a graph that stays, rounded up.

    Raises:
        InputError: the ratio is not above 0 and at most 1.
    """

    def __init__(self, d_in: int, ratio: float = 0.5) -> None:
        super().__init__(d_in, ratio)
        self.direction = nn.Parameter(torch.empty(d_in))
        nn.init.normal_(self.direction)

    def score(self, block: Block, x: Tensor) -> Tensor:
        """x p / ‖p‖, (n,)."""
        # Row by row and no matrix product: equal rows get equal scores wherever they stand.
        scores: Tensor = (x * (self.direction / self.direction.norm())).sum(dim=1)
        return scores


class SAGPool(_ScorePool):
    """Scores by a graph convolution, so that they know the neighbors.

    Args:
        d_in: width of the rows.
        ratio: share of the nodes of a graph that stays, rounded up.
        conv: a convolution to one column; GCN when left out.

    Raises:
        InputError: the ratio is not above 0 and at most 1.
    """

    def __init__(self, d_in: int, ratio: float = 0.5, conv: nn.Module | None = None) -> None:
        super().__init__(d_in, ratio)
        self.conv = GCNConv(d_in, 1) if conv is None else conv

    def score(self, block: Block, x: Tensor) -> Tensor:
        """The convolution's only column, (n,)."""
        scores: Tensor = self.conv(block, x)
        return scores[:, 0]


def best_nodes(
    score: Tensor, x: Tensor, graph_indptr: Tensor, ratio: float
) -> tuple[Tensor, Tensor]:
    """The ⌈ratio · n⌉ best nodes of every graph, ascending, and their offsets by graph.

    Args:
        score: (n,).
        x: rows that decide between equal scores, (n, d).
        graph_indptr: first node of every graph and, last, n.
        ratio: share that stays.
    """
    sizes = graph_indptr[1:] - graph_indptr[:-1]
    # Rounded first: 0.1 · 30 is a little above 3 and must not keep 4.
    counts = (sizes.double() * ratio).mul(1e9).round().div(1e9).ceil().long()
    indptr = torch.cat([graph_indptr.new_zeros(1), counts.cumsum(0)])
    graphs = torch.repeat_interleave(torch.arange(len(sizes), device=score.device), sizes)
    order = _stable_order(score, x, graphs)
    rank = torch.arange(len(score), device=score.device) - graph_indptr[graphs]
    kept = order[rank < counts[graphs]]
    return kept.sort().values, indptr


def _stable_order(score: Tensor, x: Tensor, graphs: Tensor) -> Tensor:
    """Nodes by graph, then best score first, then by the order of their rows."""
    order = _sorted_by(torch.arange(len(score), device=score.device), -score, graphs)
    ranked = score[order]
    equal = (ranked[1:] == ranked[:-1]) & (graphs[order[1:]] == graphs[order[:-1]])
    if not equal.any():
        return order
    _, row_rank = torch.unique(x, dim=0, return_inverse=True)
    return _sorted_by(torch.argsort(row_rank, stable=True), -score, graphs)


def _sorted_by(order: Tensor, *keys: Tensor) -> Tensor:
    """An order sorted by keys, the last one first."""
    for key in keys:
        order = order[torch.argsort(key[order], stable=True)]
    return order


def check_whole(block: Block) -> None:
    """Refuse what pooling cannot read.

    Raises:
        InputError: the block is a hop of a sample and not a whole graph.
    """
    if block.num_src != block.num_dst:
        raise InputError(f"the block has {block.num_src} sources and {block.num_dst} destinations; "
                         "pooling needs a block of whole graphs")  # fmt: skip


def keep_nodes(block: Block, kept: Tensor) -> Block:
    """The edges of a block between some of its nodes, which become 0 … len(kept) - 1.

    Args:
        block: sources and destinations are the same nodes.
        kept: their places, ascending, each once.

    Raises:
        InputError: the block is a hop of a sample and not a whole graph.
    """
    check_whole(block)
    place = torch.full((block.num_src,), -1, dtype=torch.int64, device=kept.device)
    place[kept] = torch.arange(len(kept), device=kept.device)
    nodes = torch.arange(block.num_dst, device=kept.device)
    dst = place[torch.repeat_interleave(nodes, block.in_degrees())]
    src = place[block.indices.long()]
    edges = torch.nonzero((src >= 0) & (dst >= 0))[:, 0]
    counts = torch.bincount(dst[edges], minlength=len(kept))

    def of(array: Tensor | None) -> Tensor | None:
        return None if array is None else array[edges]

    return replace(
        block,
        src_nodes=torch.arange(len(kept), device=kept.device),
        indptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        indices=src[edges].to(block.indices.dtype),
        dst_offset=0,
        graph_indptr=None,
        edge_ids=of(block.edge_ids),
        edge_type=of(block.edge_type),
        edge_weight=of(block.edge_weight),
        edge_time=of(block.edge_time),
        edge_features=of(block.edge_features),
    )
