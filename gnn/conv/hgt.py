"""HGT (Hu, Dong, Wang, Sun: Heterogeneous Graph Transformer, 2020).

    α_uv  = softmax_u (K_τ(u) x_u) A_r · (Q_τ(v) x_v) μ_r / √d,        r the relation of u → v
    a_v   = ‖_h Σ_{u → v} α_uv (V_τ(u) x_u) M_r
    out_v = σ(s_τ(v)) W_τ(v) gelu(a_v) + (1 - σ(s_τ(v))) x_v

τ is the type of a node. The softmax runs over the edges of all relations together. The gated
residual is the authors' code's, and is left out where the widths differ. So is the normalization
of what comes out, which is an option. The matrices of a relation are applied once
per (source, relation) that occurs, not once per edge.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.conv.dot_attention import dot_attention
from gnn.conv.heads import attention_factors, head_width
from gnn.conv.relations import sources_by_relation
from gnn.conv.typed import TypedLinear
from gnn.edges import picked
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["HGTConv"]


class HGTConv(nn.Module):
    """One HGT layer; its nonlinearity and residual are inside.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows, `d_out / heads` for each head.
        num_node_types: number of node types.
        num_relations: number of edge types.
        heads: attentions side by side.
        attention_dropout: share of the coefficients that is dropped in training.
        normalizes: bring every output row to mean 0 and deviation 1 (Ba et al. 2016).

    Raises:
        InputError: the heads do not divide `d_out`, or there are no types.
    """

    sends_input = False
    activates = False
    linear_reduction = None

    def __init__(
        self,
        d_in: int,
        d_out: int,
        num_node_types: int,
        num_relations: int,
        heads: int = 1,
        attention_dropout: float = 0.0,
        normalizes: bool = False,
    ) -> None:
        super().__init__()
        width = head_width(d_out, heads)
        if num_relations < 1:
            raise InputError(f"num_relations is {num_relations}; it must be at least 1")
        self.d_out, self.heads, self.num_relations = d_out, heads, num_relations
        self.attention_dropout = attention_dropout
        self.query = TypedLinear(num_node_types, d_in, d_out)
        self.key = TypedLinear(num_node_types, d_in, d_out)
        self.value = TypedLinear(num_node_types, d_in, d_out)
        self.update = TypedLinear(num_node_types, d_out, d_out)
        self.relation_key = _per_relation(num_relations, heads, width)
        self.relation_value = _per_relation(num_relations, heads, width)
        self.prior = nn.Parameter(torch.ones(num_relations, heads))
        self.gate = nn.Parameter(torch.ones(num_node_types)) if d_in == d_out else None
        self.norm = nn.LayerNorm(d_out) if normalizes else nn.Identity()

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: [key | value], (rows, 2 * d_out).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to.

        Raises:
            InputError: a node has a type that the model does not know.
        """
        x, types = x.to(self.prior.dtype), nodes.types()
        return torch.cat([self.key(x, types), self.value(x, types)], dim=1)

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out).

        Raises:
            InputError: an edge or a node has a type that the model does not know.
        """
        types, x_dst = block.destinations.types(), x_dst.to(self.prior.dtype)
        pairs = sources_by_relation(block, self.num_relations)
        keys, values = picked(messages, pairs.sources).to(x_dst.dtype).chunk(2, dim=1)
        factors = attention_factors(block, self.heads, self.attention_dropout, self.training)
        received = dot_attention(
            pairs.block,
            self.query(x_dst, types),
            _by_relation(keys, self.relation_key * self.prior[:, :, None, None], pairs.counts),
            _by_relation(values, self.relation_value, pairs.counts),
            self.heads,
            factors=factors,
        )
        return self._update(x_dst, received, types)

    def _update(self, x_dst: Tensor, received: Tensor, types: Tensor) -> Tensor:
        out: Tensor = self.update(F.gelu(received), types)
        if self.gate is not None:
            codes = torch.arange(len(self.gate), device=types.device)
            is_type = (types[:, None] == codes).to(out.dtype)
            share = (is_type @ torch.sigmoid(self.gate))[:, None]
            out = share * out + (1 - share) * x_dst
        normalized: Tensor = self.norm(out)
        return normalized

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)


def _per_relation(num_relations: int, heads: int, width: int) -> nn.Parameter:
    """A matrix per relation and head, (num_relations, heads, d, d) (Glorot, Bengio 2010)."""
    bound = (3 / width) ** 0.5
    return nn.Parameter(torch.empty(num_relations, heads, width, width).uniform_(-bound, bound))


def _by_relation(x: Tensor, weight: Tensor, counts: list[int]) -> Tensor:
    """Heads of consecutive rows times the matrices of their relation, (rows, heads * d)."""
    heads, products = weight.shape[1], [x.new_zeros(0, x.shape[1])]
    # Unbound at once: the gradient of every weight[r] would be as large as the whole weight.
    for matrices, rows in zip(weight.unbind(), torch.split(x, counts), strict=True):
        if len(rows):
            per_head = rows.reshape(len(rows), heads, -1)
            products.append(torch.einsum("nhi,hij->nhj", per_head, matrices).flatten(1))
    return torch.cat(products)
