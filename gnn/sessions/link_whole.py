"""Losses of edges on rows of the whole graph, encoded once a step.

The few nodes that a step reads (ends of the batch's edges, negatives, candidates) are drawn before
it encodes, so that their rows are picked once; where nothing is propagated only they are encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gnn.decoders import Decoder, DistMultDecoder
from gnn.device import on_device_of
from gnn.distributed import Ranks
from gnn.dropout import dropout
from gnn.link_losses import candidate_loss, n3_penalty, pair_loss, rows_for
from gnn.link_split import LinkParts, Links
from gnn.model import GNN
from gnn.sessions.whole import NodeRows, WholeGraph
from gnn.train_config import TrainConfig
from sampling import NegativeSampler

__all__ = ["WholeLinkLoss", "penalty_of", "span_of"]

SCORES_AT_ONCE = 1 << 20
Ints = NDArray[np.int64]
Pairs = tuple[Ints, Ints]
Rows = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class WholeLinkLoss:
    """The loss of batches of edges.

    Attributes:
        model: with a decoder.
        parts: messages and targets.
        protocol: of `gnn.link_evaluate`.
        loss: "bce", "bpr" or "softmax".
        whole: encodes the graph.
        negatives: draws pairs that are no edges; None where edges are compared with candidates.
    """

    model: GNN
    config: TrainConfig
    parts: LinkParts
    protocol: str
    loss: str
    whole: WholeGraph
    negatives: NegativeSampler | None

    def of(self, batch: Links, seed: int) -> tuple[Tensor, int]:
        """The mean loss of this process's part of a batch, a scalar, and how many edges it walked.

        What is drawn, and what is hidden, is that of the whole batch.
        """
        part = Ranks.current().part(len(batch))
        own, hidden = batch.take(part), self._hidden(batch)
        if self.negatives is None:
            loss, rows, walked = self._against_candidates(own, hidden, seed)
        else:
            drawn = self.negatives.pairs(batch.src, batch.dst, seed).numpy()
            drawn = drawn.reshape(2, len(batch), -1)[:, part]
            loss, rows, walked = self._against_negatives(own, hidden, drawn, seed)
        if self.config.n3_decay:
            ends = rows.of(own.src), rows.of(own.dst)
            loss = loss + penalty_of(self._decoder, self.config, self.parts, ends, own.types)
        return loss, walked

    @property
    def _decoder(self) -> Decoder:
        assert self.model.decoder is not None, "the session checked it"
        return self.model.decoder

    def _against_negatives(
        self, batch: Links, hidden: Pairs | None, drawn: Ints, seed: int
    ) -> tuple[Tensor, NodeRows, int]:
        """Edges against pairs that are none, (2, num_edges, negatives of each)."""
        count = drawn.shape[2]
        src, dst = drawn.reshape(2, -1)
        rows, walked = self.whole.rows(seed, hidden, [batch.src, batch.dst, src, dst])
        relations = None if batch.types is None else on_device_of(rows.h, batch.types)
        again = None if relations is None else relations.repeat_interleave(count)
        read = self._read(rows)
        positive = self._decoder.pairs(read.of(batch.src), read.of(batch.dst), relations)
        negative = self._decoder.pairs(read.of(src), read.of(dst), again)
        return pair_loss(self.loss, positive, negative.view(-1, count)), rows, walked

    def _against_candidates(
        self, batch: Links, hidden: Pairs | None, seed: int
    ) -> tuple[Tensor, NodeRows, int]:
        """Softmax of the destination among all nodes of its type; and, for triples, the source."""
        ends = (False, True) if self.protocol == "knowledge" else (False,)
        drawn = [self._candidates(batch, seed + is_head, is_head) for is_head in ends]
        some = [nodes for nodes in drawn if nodes is not None]
        read = [batch.src, batch.dst, *some] if len(some) == len(drawn) else None
        rows, walked = self.whole.rows(seed, hidden, read)
        asked, seen = zip(drawn, ends, strict=True), self._read(rows)
        losses = [self._one_end(seen, batch, *end) for end in asked]
        return torch.stack(losses).mean(), rows, walked

    def _read(self, rows: NodeRows) -> NodeRows:
        """The rows as the loss reads them."""
        return replace(rows, h=rows_for(self.config.temperature, rows.h))

    def _hidden(self, batch: Links) -> Pairs | None:
        """Edges that are no messages in this step: the batch's, and those that run back."""
        if not self.config.exclude_targets or self.model.config.conv == "identity":
            return None
        ends = batch.src, batch.dst
        return np.concatenate(ends), np.concatenate(ends[::-1])

    def _one_end(self, rows: NodeRows, batch: Links, drawn: Ints | None, is_head: bool) -> Tensor:
        """Loss of one end; entries of the given ends' rows are dropped, beside the model's own.

        A row that is asked with is scored against many others at once, which no dropout inside
        the encoder makes less certain.
        """
        given, wanted = (batch.dst, batch.src) if is_head else (batch.src, batch.dst)
        (start, end), size = span_of(self.parts, wanted), len(batch)
        own = dropout(rows.of(given), self.model.config.dropout)
        others = rows.between(start, end) if drawn is None else rows.of(drawn)
        step = max(1, SCORES_AT_ONCE // len(others))
        pieces = zip(
            *(torch.split(r, step) for r in (own, rows.of(wanted), rows.of(given))), strict=True
        )
        losses = [
            self._in_piece((*some, others), batch.take(slice(at, at + step)), drawn, is_head, size)
            for at, some in zip(range(0, size, step), pieces, strict=True)
        ]
        return torch.stack(losses).sum()

    def _in_piece(
        self, rows: Rows, batch: Links, drawn: Ints | None, is_head: bool, whole: int
    ) -> Tensor:
        """The part of a loss that some edges have; scores are computed again in the backward pass.

        What is of the size edges x candidates then stays in the cache, and is there once.
        """

        def loss(*rows: Tensor) -> Tensor:
            return self._piece(rows, batch, drawn, is_head) * (len(batch) / whole)

        if len(batch) == whole:
            return loss(*rows)
        found: Tensor = checkpoint(loss, *rows, use_reentrant=False, preserve_rng_state=False)
        return found

    def _piece(self, rows: Rows, batch: Links, drawn: Ints | None, is_head: bool) -> Tensor:
        """Mean loss of one end; rows of it as asked with, of the wanted, the given, candidates."""
        given, wanted = (batch.dst, batch.src) if is_head else (batch.src, batch.dst)
        (start, end), (own, true, itself, others) = span_of(self.parts, wanted), rows
        relations, reverse = self._asked(batch, is_head)
        relations = None if relations is None else relations.to(own.device)
        scores = self._decoder.against(own, others, relations, reverse=reverse)
        target = on_device_of(own, wanted - start)
        if drawn is None:
            return F.cross_entropy(scores, target)
        positive, against_own = self._with(own, true, relations, reverse), None
        if span_of(self.parts, given) == (start, end):
            logits = self._with(own, itself, relations, reverse)
            against_own = on_device_of(own, given - start), logits
        places = on_device_of(own, drawn - start)
        return candidate_loss(positive, scores, target, places, end - start, against_own)

    def _candidates(self, batch: Links, seed: int, is_head: bool) -> Ints | None:
        """Drawn nodes of the wanted ends' type; None where all of them are taken."""
        start, end = span_of(self.parts, batch.src if is_head else batch.dst)
        if not 0 < self.config.num_negatives < end - start:
            return None
        rng = np.random.default_rng((seed, is_head))
        return rng.integers(start, end, self.config.num_negatives)

    def _with(self, own: Tensor, other: Tensor, relations: Tensor | None, reverse: bool) -> Tensor:
        """Logits of the given ends' rows with one other row each, (num_edges,)."""
        ends = (other, own) if reverse else (own, other)
        return self._decoder.pairs(*ends, relations)

    def _asked(self, batch: Links, is_head: bool) -> tuple[Tensor | None, bool]:
        """Relations to ask with, and whether candidates are sources: not of inverse edges."""
        if batch.types is None:
            return None, is_head
        back = self.parts.inverse[batch.types]
        if is_head and (back >= 0).all():
            return torch.from_numpy(back), False
        return torch.from_numpy(batch.types), is_head


def penalty_of(
    decoder: Decoder | None,
    config: TrainConfig,
    parts: LinkParts,
    ends: tuple[Tensor, Tensor],
    types: Ints | None,
) -> Tensor:
    """The N3 penalty of edges that are asked about from both ends, a scalar.

    Args:
        decoder: "distmult", whose relations are factors, or "dot".
        config: has its strength.
        parts: tell which relation asks for a source.
        ends: rows of sources and of destinations, each (num_edges, d).
        types: relations, (num_edges,); None where there is one.
    """
    factors = [*ends]
    if isinstance(decoder, DistMultDecoder):
        codes = np.zeros(len(ends[0]), np.int64) if types is None else types
        back = parts.inverse[codes]
        asked = np.stack([codes, np.where(back >= 0, back, codes)], axis=1)
        factors.append(decoder.relations(on_device_of(ends[0], asked.ravel())))
    return config.n3_decay * n3_penalty(factors)


def span_of(parts: LinkParts, nodes: Ints) -> tuple[int, int]:
    """First and one past the last node of the type of these nodes; of all types where mixed."""
    for kind in parts.data.graph.node_types:
        if ((nodes >= kind.start) & (nodes < kind.end)).all():
            return kind.start, kind.end
    return 0, parts.data.graph.num_nodes
