"""What stands before the first convolution: rows of one width from whatever the input is.

A linear map, a small perceptron, one map per node type (types may have features of different
widths, or none and a learned embedding for every node), or the sum of embeddings of codes (as for
atoms; Hu et al., Open Graph Benchmark, 2020).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.model_config import InputType, ModelConfig
from gnn.sparse import dropped_rows, mapped
from sampling import NodeView
from sampling.errors import InputError

__all__ = ["CategoricalEncoder", "Encoder", "LinearEncoder", "TypedEncoder", "make_encoder"]

EMBEDDING_DEVIATION = 0.1
MAX_COMBINATIONS = 4096


class Encoder(nn.Module, ABC):
    """Rows of width d_out from input rows and the nodes that they belong to."""

    @abstractmethod
    def forward(self, x: Tensor, nodes: NodeView) -> Tensor:
        """(rows, d_out) from x, (rows, d_in)."""


class LinearEncoder(Encoder):
    """Linear maps with a ReLU between them.

    Args:
        widths: d_in, any hidden widths, d_out.
        dropped: share of every map's input that is dropped in training.
    """

    def __init__(self, widths: Sequence[int], dropped: float) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.dropped = dropped

    def forward(self, x: Tensor, nodes: NodeView) -> Tensor:
        for i, linear in enumerate(self.maps):
            x = F.relu(x) if i else x
            x = mapped(cast(nn.Linear, linear), self._dropped(x))
        return x

    def _dropped(self, x: Tensor) -> Tensor:
        return dropped_rows(x, self.dropped) if self.training else x


class TypedEncoder(Encoder):
    """One linear map, or one learned embedding per node, for every node type.

    Args:
        types: node types, in the order of their nodes.
        d_out: width of the rows that it gives.
    """

    def __init__(self, types: Sequence[InputType], d_out: int) -> None:
        super().__init__()
        self.types, self.d_out = types, d_out
        self.maps = nn.ModuleList(
            nn.Linear(t.d_in, d_out) if t.d_in else _embedding(t.end - t.start, d_out)
            for t in types
        )

    def forward(self, x: Tensor, nodes: NodeView) -> Tensor:
        weight = next(self.parameters())
        out = torch.zeros(len(nodes.nodes), self.d_out, dtype=weight.dtype, device=weight.device)
        for kind, module in zip(self.types, self.maps, strict=True):
            rows = torch.nonzero((nodes.nodes >= kind.start) & (nodes.nodes < kind.end))[:, 0]
            if len(rows):
                own = x[rows, : kind.d_in].to(weight.dtype)
                inputs = own if kind.d_in else nodes.nodes[rows] - kind.start
                out = out.index_copy(0, rows, module(inputs))
        return out


class CategoricalEncoder(Encoder):
    """The sum of one embedding per column of codes.

    Where there are few combinations of codes, as of bonds, each is summed once and looked up.

    Args:
        cardinalities: number of codes of every column.
        d_out: width of the rows that it gives.
    """

    def __init__(self, cardinalities: Sequence[int], d_out: int) -> None:
        super().__init__()
        self.columns = nn.ModuleList(_embedding(count, d_out) for count in cardinalities)
        self.cardinalities = tuple(cardinalities)

    def forward(self, x: Tensor, nodes: NodeView | None = None) -> Tensor:
        codes = x.long()
        for i, count in enumerate(self.cardinalities):
            column = codes[:, i]
            if len(column) and not 0 <= int(column.min()) <= int(column.max()) < count:
                raise InputError(
                    f"column {i} holds the code {int(column.max())} or {int(column.min())}; the "
                    f"model knows 0 … {count - 1}"
                )
        count = math.prod(self.cardinalities)
        if count > min(MAX_COMBINATIONS, len(codes) // 2):
            return self._sum(codes)
        table = self._sum(self._combinations())
        place = torch.zeros_like(codes[:, 0])
        for i, own in enumerate(self.cardinalities):
            place = place * own + codes[:, i]
        return F.embedding(place, table)

    def _sum(self, codes: Tensor) -> Tensor:
        rows = [embed(codes[:, i]) for i, embed in enumerate(self.columns)]
        return torch.stack(rows).sum(dim=0)

    def _combinations(self) -> Tensor:
        """All rows of codes in order, (product of cardinalities, columns)."""
        device = next(self.parameters()).device
        every = [torch.arange(count, device=device) for count in self.cardinalities]
        return torch.cartesian_prod(*every).view(-1, len(every))


def make_encoder(config: ModelConfig, d_out: int) -> Encoder | None:
    """The encoder of an architecture, or None where convolutions read the input as it is."""
    columns = config.d_in - config.d_position
    if config.encoder == "linear":
        return LinearEncoder([columns, d_out], 0.0)
    if config.encoder == "mlp":
        return LinearEncoder([columns, config.d_hidden, d_out], config.dropout)
    if config.encoder == "typed":
        return TypedEncoder(config.input_types, d_out)
    if config.encoder == "categorical":
        return CategoricalEncoder(config.cardinalities, d_out)
    return None


def _embedding(count: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(count, width)
    nn.init.normal_(embedding.weight, std=EMBEDDING_DEVIATION)
    return embedding
