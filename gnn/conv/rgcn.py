"""R-GCN (Schlichtkrull et al.: Modeling Relational Data with Graph Convolutional Networks, 2018).

    out_v = W_0 x_v + Σ_r W_r · mean { x_u : u → v of relation r } + b,      W_r = Σ_b a_rb V_b

The relation of an edge is its type. Rows are averaged per (destination, relation) that occurs,
all relations in one pass, and only then transformed. With bases V_b, relations with few edges
share what they learn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnn.aggregate import aggregate
from gnn.conv.relations import by_relation
from gnn.conv.typed import product_by_segments
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["RGCNConv"]


class RGCNConv(nn.Module):
    """One R-GCN layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        num_relations: number of edge types.
        num_bases: matrices that the relations share; each has its own when left out.

    Raises:
        InputError: `num_relations` or `num_bases` is below 1.
    """

    sends_input = True
    activates = True
    linear_reduction = None

    def __init__(
        self, d_in: int, d_out: int, num_relations: int, num_bases: int | None = None
    ) -> None:
        super().__init__()
        for name, value in (("num_relations", num_relations), ("num_bases", num_bases)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        self.d_out, self.num_relations = d_out, num_relations
        self.own = nn.Linear(d_in, d_out)
        self.weight = _glorot(num_bases or num_relations, d_in, d_out)
        self.coefficients = None if num_bases is None else _glorot(num_relations, num_bases)

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: the row, (rows, d_in).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        return x

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out).

        Raises:
            InputError: an edge type is not one of the relations.
        """
        pairs = by_relation(block, self.num_relations)
        means = aggregate(pairs.received, messages, "mean").to(self.weight.dtype)
        rows = product_by_segments(means, self._matrices(), pairs.counts)
        out: Tensor = self.own(x_dst.to(self.weight.dtype)) + aggregate(pairs.joined, rows, "sum")
        return out

    def _matrices(self) -> Tensor:
        """W of every relation, (num_relations, d_in, d_out)."""
        if self.coefficients is None:
            return self.weight
        return torch.einsum("rb,bio->rio", self.coefficients, self.weight)

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)


def _glorot(*shape: int) -> nn.Parameter:
    """Uniform in ±√(6 / (rows + columns)) of a matrix (Glorot, Bengio 2010)."""
    bound = (6 / (shape[-2] + shape[-1])) ** 0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
