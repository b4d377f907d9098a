"""The edges of a block by relation, in one pass for all relations.

A relation is an edge type. Both views list only pairs that occur: (destination, relation) to
reduce before a relation's matrix is applied, (source, relation) to apply it before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnn.edges import destinations
from sampling import Block
from sampling.errors import InputError

__all__ = [
    "RelationRows",
    "RelationSources",
    "by_relation",
    "relation_codes",
    "sources_by_relation",
]


@dataclass(frozen=True, slots=True)
class RelationRows:
    """Pairs of a relation and a destination, sorted.

    Attributes:
        received: the hop from the sources to the pairs.
        joined: the hop from the pairs to the destinations.
        counts: pairs of every relation.
    """

    received: Block
    joined: Block
    counts: list[int]


@dataclass(frozen=True, slots=True)
class RelationSources:
    """Pairs of a relation and a source, sorted.

    Attributes:
        block: the hop from the pairs to the destinations; edges stay in their order.
        sources: source of every pair.
        counts: pairs of every relation.
    """

    block: Block
    sources: Tensor
    counts: list[int]


def relation_codes(block: Block, num_relations: int) -> Tensor:
    """Relation of every edge, (num_edges,) int64; 0 where the graph has one edge type.

    Raises:
        InputError: a code is not in 0 … num_relations - 1.
    """
    if block.edge_type is None:
        return torch.zeros(block.num_edges, dtype=torch.int64, device=block.indptr.device)
    codes = block.edge_type.long()
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < num_relations:
        raise InputError(
            f"edge types here run from {int(codes.min())} to {int(codes.max())}; this model knows "
            f"{num_relations} edge types, from 0 on"
        )
    return codes


def by_relation(block: Block, num_relations: int) -> RelationRows:
    """The pairs of a relation and a destination that have edges.

    Raises:
        InputError: an edge type is not one of the relations.
    """
    keys = relation_codes(block, num_relations) * block.num_dst + destinations(block)
    order = torch.argsort(keys, stable=True)
    pairs, counts = torch.unique_consecutive(keys[order], return_counts=True)
    received = Block(block.src_nodes, _offsets(counts), block.indices[order].contiguous())
    dst = pairs % max(block.num_dst, 1)
    back = torch.argsort(dst, stable=True)
    per_dst = torch.bincount(dst, minlength=block.num_dst)
    joined = Block(torch.arange(len(pairs), device=pairs.device), _offsets(per_dst), back)
    return RelationRows(received, joined, _counts(pairs, block.num_dst, num_relations))


def sources_by_relation(block: Block, num_relations: int) -> RelationSources:
    """The pairs of a relation and a source that have edges.

    Raises:
        InputError: an edge type is not one of the relations.
    """
    keys = relation_codes(block, num_relations) * block.num_src + block.indices.long()
    pairs, places = torch.unique(keys, return_inverse=True)
    hop = Block(torch.arange(len(pairs), device=pairs.device), block.indptr, places)
    sources = pairs % max(block.num_src, 1)
    return RelationSources(hop, sources, _counts(pairs, block.num_src, num_relations))


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), torch.cumsum(counts, dim=0)])


def _counts(pairs: Tensor, num_nodes: int, num_relations: int) -> list[int]:
    relations = pairs // max(num_nodes, 1)
    counts: list[int] = torch.bincount(relations, minlength=num_relations).tolist()
    return counts
