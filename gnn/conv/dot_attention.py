"""Scaled dot-product attention over edges (Vaswani et al.: Attention Is All You Need, 2017).

    out_v = Σ_u α_uv (value_u + W_value e_uv)
    α_uv  = softmax_u query_v · (key_u + W_key e_uv) / √d

Rows e of the edges are never widened to the columns of the values: a query is folded into W_key
first, and W_value is applied to what every destination received of e.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnn.attention import attention
from gnn.edges import edge_block, edge_dots
from sampling import Block

__all__ = ["EdgeRows", "dot_attention"]


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """What edges add to the keys and values of their sources.

    Attributes:
        rows: (num_edges, d_edge).
        key: W_key, (heads * d, d_edge).
        value: W_value, (heads * d, d_edge).
    """

    rows: Tensor
    key: Tensor
    value: Tensor


def dot_attention(
    block: Block,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    heads: int,
    edges: EdgeRows | None = None,
    factors: Tensor | None = None,
) -> Tensor:
    """Rows of the destinations, (num_dst, heads * d); zeros where there are no edges.

    Args:
        block: the hop.
        queries: (num_dst, heads * d).
        keys: (num_src, heads * d).
        values: (num_src, heads * d).
        heads: attentions side by side.
        edges: what the edges add.
        factors: factors of the coefficients, (num_edges, heads).
    """
    logits = edge_dots(block, queries, keys, heads)
    if edges is not None:
        logits = logits + _edge_logits(block, queries, edges, heads)
    logits = logits / (queries.shape[1] / heads) ** 0.5
    out = attention(block, values, logits, factors)
    return out if edges is None else out + _edge_values(block, logits, edges, heads, factors)


def _edge_logits(block: Block, queries: Tensor, edges: EdgeRows, heads: int) -> Tensor:
    """query_v · W_key e_uv, (num_edges, heads)."""
    hop = edge_block(block)
    parts = zip(queries.chunk(heads, dim=1), edges.key.chunk(heads), strict=True)
    dots = [edge_dots(hop, query @ weight, edges.rows, 1) for query, weight in parts]
    return torch.cat(dots, dim=1)


def _edge_values(
    block: Block, logits: Tensor, edges: EdgeRows, heads: int, factors: Tensor | None
) -> Tensor:
    """Σ α W_value e, (num_dst, heads * d)."""
    hop, parts = edge_block(block), []
    for h, weight in enumerate(edges.value.chunk(heads)):
        kept = None if factors is None else factors[:, h : h + 1]
        received = attention(hop, edges.rows, logits[:, h : h + 1], kept)
        parts.append(received @ weight.T)
    return torch.cat(parts, dim=1)
