"""Scores of node pairs from their embeddings: how likely is the edge `u → v`?

    dot       h_u · h_v
    distmult  Σ_i h_u[i] r[i] h_v[i], a vector r per relation (Yang et al.: Embedding Entities and
              Relations for Learning and Inference in Knowledge Bases, 2015)
    bilinear  h_u · R h_v, a matrix R per relation (Nickel et al. 2011, RESCAL); also the
              discriminator of Deep Graph Infomax
    mlp       a perceptron of [h_u, h_v, h_u ∘ h_v], and r where there are relations
    hadamard  a perceptron of h_u ∘ h_v, or h_u ∘ r ∘ h_v, with two hidden layers and dropout, as
              the baselines of the Open Graph Benchmark have it (Hu et al. 2020)

Scores are logits. Dot, distmult and hadamard do not tell source from destination; with inverse
edge types, which have vectors of their own, the last two do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.dropout import dropout
from gnn.model_config import ModelConfig
from sampling.errors import InputError

__all__ = [
    "BilinearDecoder",
    "Decoder",
    "DistMultDecoder",
    "DotDecoder",
    "HadamardDecoder",
    "MLPDecoder",
    "check_relations",
    "make_decoder",
]

RELATION_DEVIATION = 0.1
PAIRS_AT_ONCE = 1 << 17


class Decoder(nn.Module, ABC):
    """Logits of pairs."""

    @abstractmethod
    def pairs(self, src: Tensor, dst: Tensor, relations: Tensor | None) -> Tensor:
        """Logits of rows of pairs, (num_pairs,).

        Args:
            src: embeddings of sources, (num_pairs, d).
            dst: embeddings of destinations, (num_pairs, d).
            relations: codes, (num_pairs,); None where there is one relation.
        """

    def against(
        self, h: Tensor, nodes: Tensor, relations: Tensor | None, *, reverse: bool = False
    ) -> Tensor:
        """Logits of every row with every candidate, (rows, num_candidates).

        Args:
            h: embeddings of sources; of destinations where `reverse`, (rows, d).
            nodes: embeddings of candidates for the other end, (num_candidates, d).
            relations: codes, (rows,), or None.
            reverse: the candidates are sources.
        """
        step = max(1, PAIRS_AT_ONCE // max(len(nodes), 1))
        out = [self._all_pairs(h, nodes, relations, slice(at, at + step), reverse)
               for at in range(0, len(h), step)]  # fmt: skip
        return torch.cat(out) if out else h.new_zeros(0, len(nodes))

    def _all_pairs(
        self, h: Tensor, nodes: Tensor, relations: Tensor | None, rows: slice, reverse: bool
    ) -> Tensor:
        count = len(nodes)
        one = h[rows].repeat_interleave(count, dim=0)
        other = nodes.repeat(len(one) // max(count, 1), 1)
        codes = None if relations is None else relations[rows].repeat_interleave(count)
        ends = (other, one) if reverse else (one, other)
        return self.pairs(*ends, codes).view(-1, count)


class DotDecoder(Decoder):
    """The inner product; relations are not looked at."""

    def pairs(self, src: Tensor, dst: Tensor, relations: Tensor | None) -> Tensor:
        return (src * dst).sum(dim=1)

    def against(
        self, h: Tensor, nodes: Tensor, relations: Tensor | None, *, reverse: bool = False
    ) -> Tensor:
        return h @ nodes.T


class DistMultDecoder(Decoder):
    """A diagonal bilinear form per relation.

    Args:
        num_relations: edge types.
        d: width of the embeddings.
    """

    def __init__(self, num_relations: int, d: int) -> None:
        super().__init__()
        self.relations = nn.Embedding(num_relations, d)
        # Around 0: around 1, every node would at first be its own best answer to every relation.
        nn.init.normal_(self.relations.weight, std=RELATION_DEVIATION)

    def pairs(self, src: Tensor, dst: Tensor, relations: Tensor | None) -> Tensor:
        return (self._scaled(src, relations) * dst).sum(dim=1)

    def against(
        self, h: Tensor, nodes: Tensor, relations: Tensor | None, *, reverse: bool = False
    ) -> Tensor:
        return self._scaled(h, relations) @ nodes.T

    def _scaled(self, h: Tensor, relations: Tensor | None) -> Tensor:
        codes = _codes(h, relations)
        scaled: Tensor = h * self.relations(codes)
        return scaled


class BilinearDecoder(Decoder):
    """A full bilinear form per relation.

    Args:
        num_relations: edge types.
        d: width of the embeddings.
    """

    def __init__(self, num_relations: int, d: int) -> None:
        super().__init__()
        self.relations = nn.Parameter(torch.empty(num_relations, d, d))
        for matrix in self.relations:
            nn.init.xavier_uniform_(matrix)

    def pairs(self, src: Tensor, dst: Tensor, relations: Tensor | None) -> Tensor:
        return (self._mapped(src, relations, False) * dst).sum(dim=1)

    def against(
        self, h: Tensor, nodes: Tensor, relations: Tensor | None, *, reverse: bool = False
    ) -> Tensor:
        return self._mapped(h, relations, reverse) @ nodes.T

    def _mapped(self, h: Tensor, relations: Tensor | None, reverse: bool) -> Tensor:
        """Rows times the matrix of their relation, (rows, d)."""
        maps = self.relations.transpose(1, 2) if reverse else self.relations
        if relations is None:
            return h @ maps[0]
        out = torch.zeros_like(h)
        for code in torch.unique(relations).tolist():
            rows = torch.nonzero(relations == code)[:, 0]
            out = out.index_copy(0, rows, h[rows] @ maps[code])
        return out


class MLPDecoder(Decoder):
    """A perceptron with one hidden layer.

    Args:
        num_relations: edge types; their vectors are read where there is more than one.
        d: width of the embeddings.
        d_hidden: width of the hidden layer.
    """

    def __init__(self, num_relations: int, d: int, d_hidden: int) -> None:
        super().__init__()
        self.relations = nn.Embedding(num_relations, d) if num_relations > 1 else None
        self.hidden = nn.Linear(3 * d if self.relations is None else 4 * d, d_hidden)
        self.out = nn.Linear(d_hidden, 1)

    def pairs(self, src: Tensor, dst: Tensor, relations: Tensor | None) -> Tensor:
        rows = [src, dst, src * dst]
        if self.relations is not None:
            codes = _codes(src, relations)
            rows.append(self.relations(codes))
        logits: Tensor = self.out(F.relu(self.hidden(torch.cat(rows, dim=1))))
        return logits[:, 0]


def _codes(rows: Tensor, relations: Tensor | None) -> Tensor:
    """A code per row, zeros where there is one relation."""
    if relations is not None:
        return relations
    return torch.zeros(len(rows), dtype=torch.long, device=rows.device)


class HadamardDecoder(Decoder):
    """A perceptron with two hidden layers over products of rows.

    Args:
        num_relations: edge types; their vectors are read where there is more than one.
        d: width of the embeddings.
        d_hidden: width of the hidden layers.
        dropped: share of the hidden entries that is dropped in training.
    """

    def __init__(self, num_relations: int, d: int, d_hidden: int, dropped: float) -> None:
        super().__init__()
        self.relations = nn.Embedding(num_relations, d) if num_relations > 1 else None
        self.hidden = nn.ModuleList([nn.Linear(d, d_hidden), nn.Linear(d_hidden, d_hidden)])
        self.out = nn.Linear(d_hidden, 1)
        self.dropped = dropped

    def pairs(self, src: Tensor, dst: Tensor, relations: Tensor | None) -> Tensor:
        rows = src * dst
        if self.relations is not None:
            rows = rows * self.relations(_codes(src, relations))
        for linear in self.hidden:
            rows = F.relu(linear(rows))
            rows = dropout(rows, self.dropped) if self.training else rows
        logits: Tensor = self.out(rows)
        return logits[:, 0]


def make_decoder(config: ModelConfig, d: int) -> Decoder | None:
    """The decoder of an architecture over embeddings of width `d`; None where it has none."""
    if config.decoder == "dot":
        return DotDecoder()
    if config.decoder == "distmult":
        return DistMultDecoder(config.num_relations, d)
    if config.decoder == "bilinear":
        return BilinearDecoder(config.num_relations, d)
    if config.decoder == "mlp":
        return MLPDecoder(config.num_relations, d, config.d_hidden)
    if config.decoder == "hadamard":
        return HadamardDecoder(config.num_relations, d, config.d_hidden, config.dropout)
    return None


def check_relations(relations: Tensor | None, num_relations: int) -> None:
    """Refuse codes that no relation has.

    Raises:
        InputError: names the code.
    """
    if relations is None or not len(relations):
        return
    low, high = int(relations.min()), int(relations.max())
    if low < 0 or high >= num_relations:
        raise InputError(f"relation {low if low < 0 else high} is none of the {num_relations} "
                         "that the model knows")  # fmt: skip
