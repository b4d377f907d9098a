"""Local pooling by heavy-edge matching: both ends of a heavy edge become one node.

    weight of {u, v} = Σ w_uv / (1 + ‖x_u - x_v‖² / (‖x_u‖² + ‖x_v‖²))     over all edges between
    x' = mean of the rows,   w' = Σ of the weights of merged edges, or their number

Coarsening by matching is that of Karypis, Kumar (A Fast and High Quality Multilevel Scheme for
Partitioning Irregular Graphs, 1998) and Dhillon, Guan, Kulis (Weighted Graph Cuts without
Eigenvectors: A Multilevel Approach, 2007: Graclus); between convolutions it is that of Defferrard,
Bresson, Vandergheynst (Convolutional Neural Networks on Graphs with Fast Localized Spectral
Filtering, 2016). They break ties by the numbers of nodes or by chance. Here renumbering the nodes
renumbers the result: the rows decide which edges are heavy, and edges of one weight that meet are
merged together, so that a ring of equal rows becomes one node. Weights count as one within a
thousandth, since rounding sets apart what is equal; a model can still see the order of nodes where
the ratio of two weights lies within rounding of that bound.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from gnn.pooling import Pooled, check_whole
from sampling import Block

__all__ = ["MatchingPool", "match_nodes", "merge_nodes"]

SAME_WEIGHT = 1e-3
MAX_ROUNDS = 64
"""Usual graphs need about ten; in chains of rising weights the lightest edges are left."""
PAIRS_AT_ONCE = 1 << 16


class MatchingPool(nn.Module):
    """Merges matched nodes; has no weights of its own."""

    def forward(self, block: Block, x: Tensor, graph_indptr: Tensor) -> Pooled:
        """The merged nodes of every graph, in the order of their first nodes.

        Args:
            block: all edges of the batch; sources and destinations are all its nodes.
            x: rows of the nodes, (n, d).
            graph_indptr: first node of every graph and, last, n, (num_graphs + 1,).

        Raises:
            InputError: the block is a hop of a sample and not a whole graph.
        """
        first = match_nodes(block, x)
        is_first = first == torch.arange(len(x), device=x.device)
        kept = torch.nonzero(is_first)[:, 0]
        before = torch.cat([kept.new_zeros(1), is_first.cumsum(0)])
        cluster = before[first]
        sums = torch.zeros(len(kept), x.shape[1], dtype=x.dtype, device=x.device)
        sizes = torch.bincount(cluster, minlength=len(kept))
        rows = sums.index_add(0, cluster, x) / sizes[:, None].to(x.dtype)
        return Pooled(merge_nodes(block, cluster, len(kept)), rows, before[graph_indptr], kept)


def match_nodes(block: Block, x: Tensor) -> Tensor:
    """The first of the nodes that every node is merged with, (n,) int64; itself where it is that.

    Edges are taken from the heaviest to the lightest where both nodes are still free: in rounds,
    all that are the heaviest free ones at both ends.

    Args:
        block: all edges; sources and destinations are the same nodes.
        x: rows of the nodes, (n, d); no gradient flows through the choice.

    Raises:
        InputError: the block is a hop of a sample and not a whole graph.

    Cost: a sort of the edges, and a pass over those that are left per round.
    """
    check_whole(block)
    low, high, weight = _pairs(block, x.detach())
    first = torch.arange(block.num_src, device=x.device)
    for _ in range(MAX_ROUNDS):
        if not len(weight):
            break
        ends = torch.cat([low, high])
        best = weight.new_full((block.num_src,), -torch.inf)
        best.scatter_reduce_(0, ends, weight.repeat(2), "amax")
        least = best - SAME_WEIGHT * best.abs()
        taken = (weight >= least[low]) & (weight >= least[high])
        _join(first, low[taken], high[taken])
        is_free = torch.ones_like(first, dtype=torch.bool)
        is_free[ends[taken.repeat(2)]] = False
        left = is_free[low] & is_free[high]
        low, high, weight = low[left], high[left], weight[left]
    return first


def merge_nodes(block: Block, cluster: Tensor, num_nodes: int) -> Block:
    """The edges between clusters of nodes, parallel ones as one, without those inside a cluster.

    Args:
        block: sources and destinations are the same nodes.
        cluster: of every node, (n,) int64 below `num_nodes`.
        num_nodes: how many clusters there are.

    Returns:
        Edges with the sum of the weights of the edges that they stand for, or their number; what
        else edges carry is left out.
    """
    src, dst = _ends(block)
    dst, src, weight = _merged(cluster[dst], cluster[src], block.edge_weight, num_nodes)
    counts = torch.bincount(dst, minlength=num_nodes)
    return replace(
        block,
        src_nodes=torch.arange(num_nodes, device=cluster.device),
        indptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        indices=src.to(block.indices.dtype),
        dst_offset=0,
        graph_indptr=None,
        edge_ids=None,
        edge_type=None,
        edge_weight=weight.float(),
        edge_time=None,
        edge_features=None,
        type_starts=None,
    )


def _ends(block: Block) -> tuple[Tensor, Tensor]:
    nodes = torch.arange(block.num_dst, device=block.indptr.device)
    return block.indices.long(), torch.repeat_interleave(nodes, block.in_degrees())


def _merged(
    first: Tensor, second: Tensor, weight: Tensor | None, num_nodes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct pairs of different nodes, ascending, and the weight of each in float64."""
    between = first != second
    key, place = torch.unique((first * num_nodes + second)[between], return_inverse=True)
    own = torch.ones_like(place) if weight is None else weight[between]
    total = torch.zeros(len(key), dtype=torch.float64, device=key.device)
    count = max(1, num_nodes)
    return key // count, key % count, total.index_add(0, place, own.double())


def _pairs(block: Block, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbors once, the lower first, and the weight of all edges between them, (pairs,) each."""
    src, dst = _ends(block)
    first, second = torch.minimum(src, dst), torch.maximum(src, dst)
    low, high, weight = _merged(first, second, block.edge_weight, block.num_src)
    size = x.double().square().sum(dim=1)
    for start in range(0, len(low), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        a, b = low[part], high[part]
        away = (x[a].double() - x[b].double()).square().sum(dim=1)
        weight[part] /= 1 + away / (size[a] + size[b]).clamp(min=torch.finfo(size.dtype).tiny)
    return low, high, torch.nan_to_num(weight)


def _join(first: Tensor, low: Tensor, high: Tensor) -> None:
    """Set `first` of all nodes that these edges connect to the smallest of them, in place."""
    while True:
        one, other = first[low], first[high]
        if torch.equal(one, other):
            return
        smaller = torch.minimum(one, other).repeat(2)
        first.scatter_reduce_(0, torch.cat([one, other]), smaller, "amin")
        first.copy_(first[first])
