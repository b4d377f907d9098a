"""Training on links: batches of edges, negatives, and messages that do not hold the answer.

A graph that is small enough is encoded whole, once a step, and a large batch of edges is scored
on those rows; with fanouts, every node then hears from that many neighbors, drawn anew each step.
A larger graph is trained on the Blocks around each batch (`sampling.links`). Either way the edges
of a batch are no messages while they are predicted: a model that sees the answer among its
neighbors learns to copy it, and is lost on edges that it does not see.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from gnn.device import on_device_of
from gnn.dropout import dropout
from gnn.errors import DivergedError, TrainingError
from gnn.evaluate import using_threads
from gnn.inputs import with_inputs
from gnn.link_evaluate import link_metrics, link_tensors, protocol_of
from gnn.link_losses import candidate_loss, pair_loss
from gnn.link_split import LinkParts, Links, split_links
from gnn.model import GNN
from gnn.optimize import Stepper
from gnn.sessions.session import EpochResult
from gnn.sessions.whole import WholeGraph, fanouts_of, step_seed
from gnn.train_config import TrainConfig
from gnn.transfer import moved
from sampling import Dataset, LinkBatch, LinkLoader, NegativeSampler, NeighborSampler
from sampling.kernels.reference import MASK

__all__ = ["LinkSession"]

LOSSES = {"knowledge": "softmax", "recommendation": "bpr", "pairs": "bce"}
MONITORS = {"knowledge": "mrr", "recommendation": "recall@20", "pairs": "mrr"}


@dataclass(slots=True)
class LinkSession:
    """Training on the edges of one graph.

    Attributes:
        parts: messages and targets.
        protocol: of `gnn.link_evaluate`.
        loss: "bce", "bpr" or "softmax".
        whole: encodes the whole graph; None where batches have Blocks of their own.
        loader: makes those; None where the whole graph is encoded.
    """

    model: GNN
    config: TrainConfig
    parts: LinkParts
    protocol: str
    loss: str
    stepper: Stepper
    monitor: str
    negatives: NegativeSampler | None
    whole: WholeGraph | None
    loader: LinkLoader | None

    @classmethod
    def prepare(cls, model: GNN, data: Dataset, config: TrainConfig) -> LinkSession:
        if model.decoder is None:
            raise TrainingError('the model has no decoder; build it with one, as in decoder="dot"')
        parts = split_links(with_inputs(data, model.config), config.split, config.seed)
        protocol = protocol_of(parts)
        loss = LOSSES[protocol] if config.link_loss == "auto" else config.link_loss
        fanouts = fanouts_of(model, config)
        sampler = NeighborSampler(parts.data.graph, fanouts, config.seed, config.num_threads)
        is_whole = WholeGraph.fits(parts.data.graph, fanouts)
        ranks_all = loss == "softmax" and is_whole
        negatives = None if ranks_all else _negative_sampler(parts, config)
        return cls(
            model,
            config,
            parts,
            protocol,
            loss,
            Stepper.of(model, config),
            _monitor(config, parts, protocol),
            negatives,
            WholeGraph(model, parts.data, sampler) if is_whole else None,
            None if is_whole else _loader(parts, sampler, config, loss, negatives),
        )

    def run_epoch(self, epoch: int) -> EpochResult:
        """One pass over the training edges."""
        began = time.perf_counter()
        self.model.train()
        run = self._run_blocks if self.whole is None else self._run_whole
        losses, sizes, edges = run(epoch)
        mean = math.fsum(a * b for a, b in zip(losses, sizes, strict=True)) / sum(sizes)
        return EpochResult(mean, {}, edges, time.perf_counter() - began)

    def validate(self, epoch: int) -> dict[str, float]:
        """Metrics of the validation edges; empty without any."""
        if self.monitor == "none":
            return {}
        with using_threads(self.config.num_threads):
            found = link_metrics(
                self.model,
                self.parts,
                ("val",),
                limit=self.config.max_val_seeds,
                seed=self.config.seed,
            )["val"]
        if not all(math.isfinite(value) for value in found.values()):
            raise DivergedError(epoch + 1, None, math.nan)
        return {name: value for name, value in found.items() if name in ("loss", self.monitor)}

    def _run_whole(self, epoch: int) -> tuple[list[float], list[int], int]:
        assert self.whole is not None, "the caller looked"
        links, losses, sizes, edges = self._ordered(epoch), [], [], 0
        for i, start in enumerate(range(0, len(links), self.config.batch_size)):
            batch = links.take(slice(start, start + self.config.batch_size))
            hidden = self._hidden(batch)
            h, walked = self.whole.encode(step_seed(self.config.seed, epoch, i), hidden)
            loss = self._loss(h, batch, step_seed(self.config.seed, epoch, i))
            losses.append(self.stepper.step(loss, epoch, i))
            sizes.append(len(batch))
            edges += walked
        return losses, sizes, edges

    def _run_blocks(self, epoch: int) -> tuple[list[float], list[int], int]:
        assert self.loader is not None, "the caller looked"
        losses, sizes, edges = [], [], 0
        self.loader.epoch = epoch
        for i, batch in enumerate(moved(self.loader, self.model.device)):
            loss, size = self._block_loss(batch)
            losses.append(self.stepper.step(loss, epoch, i))
            sizes.append(size)
            edges += sum(block.num_edges for block in batch.blocks)
        return losses, sizes, edges

    def _block_loss(self, batch: LinkBatch) -> tuple[Tensor, int]:
        assert batch.x is not None, "prepare saw to it"
        size = int(batch.labels.sum())
        h = self.model.encode(batch.blocks, batch.x)
        logits = self.model.score(h, batch.pairs, batch.relations)
        return pair_loss(self.loss, logits[:size], logits[size:].view(size, -1)), size

    def _ordered(self, epoch: int) -> Links:
        """The training edges in the order of this epoch, undirected ones in a random direction."""
        rng = np.random.default_rng((self.config.seed & MASK, epoch))
        links = self.parts.train.take(rng.permutation(len(self.parts.train)))
        if self.protocol != "pairs" or not self.parts.symmetric:
            return _from_users(links, self.parts) if self.protocol == "recommendation" else links
        turned = rng.random(len(links)) < 0.5
        ends = np.where(turned, links.dst, links.src), np.where(turned, links.src, links.dst)
        return Links(*ends, links.types)

    def _hidden(self, batch: Links) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Edges that are no messages in this step: the batch's, and those that run back."""
        if not self.config.exclude_targets or self.model.config.conv == "identity":
            return None
        ends = batch.src, batch.dst
        return np.concatenate(ends), np.concatenate(ends[::-1])

    def _loss(self, h: Tensor, batch: Links, seed: int) -> Tensor:
        if self.negatives is None:
            return self._among_candidates(h, batch, seed)
        pairs, relations = link_tensors(batch)
        positive = self.model.score(h, pairs, relations)
        count = self.negatives.num_negatives
        drawn = self.negatives.pairs(batch.src, batch.dst, seed)
        again = None if relations is None else relations.repeat_interleave(count)
        negative = self.model.score(h, drawn, again)
        return pair_loss(self.loss, positive, negative.view(-1, count))

    def _among_candidates(self, h: Tensor, batch: Links, seed: int) -> Tensor:
        """Softmax of the destination among all nodes of its type; and, for triples, the source."""
        tail = self._one_end(h, batch, seed, is_head=False)
        if self.protocol != "knowledge":
            return tail
        return (tail + self._one_end(h, batch, seed + 1, is_head=True)) / 2

    def _one_end(self, h: Tensor, batch: Links, seed: int, *, is_head: bool) -> Tensor:
        """Loss of one end; entries of the given ends' rows are dropped, those asked for are whole.

        A row that is asked with is scored against many others at once, which no dropout inside
        the encoder makes less certain.
        """
        given, wanted = (batch.dst, batch.src) if is_head else (batch.src, batch.dst)
        start, end = _span(self.parts, wanted)
        drawn, count = self._candidates(end - start, seed, is_head), end - start
        drawn = None if drawn is None else drawn.to(h.device)
        relations, reverse = self._asked(batch, is_head)
        relations = None if relations is None else relations.to(h.device)
        own = dropout(h[on_device_of(h, given)], self.model.config.dropout)
        assert self.model.decoder is not None, "prepare checked it"
        rows = h[start:end] if drawn is None else h[drawn + start]
        scores = self.model.decoder.against(own, rows, relations, reverse=reverse)
        target = on_device_of(h, wanted - start)
        if drawn is None:
            return F.cross_entropy(scores, target)
        positive, itself = self._with(own, h, wanted, relations, reverse), None
        if _span(self.parts, given) == (start, end):
            places = on_device_of(h, given - start)
            itself = places, self._with(own, h, given, relations, reverse)
        return candidate_loss(positive, scores, target, drawn, count, itself)

    def _candidates(self, count: int, seed: int, is_head: bool) -> Tensor | None:
        """Places of drawn candidates among all `count`; None where all of them are taken."""
        if not 0 < self.config.num_negatives < count:
            return None
        rng = np.random.default_rng((seed & MASK, is_head))
        return torch.from_numpy(rng.integers(0, count, self.config.num_negatives))

    def _with(
        self,
        own: Tensor,
        h: Tensor,
        others: NDArray[np.int64],
        relations: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        """Logits of the given ends' rows with one other node each, (num_edges,)."""
        other = h[on_device_of(h, others)]
        ends = (other, own) if reverse else (own, other)
        assert self.model.decoder is not None, "prepare checked it"
        return self.model.decoder.pairs(*ends, relations)

    def _asked(self, batch: Links, is_head: bool) -> tuple[Tensor | None, bool]:
        """Relations to ask with, and whether candidates are sources: not of inverse edges."""
        if batch.types is None:
            return None, is_head
        back = self.parts.inverse[batch.types]
        if is_head and (back >= 0).all():
            return torch.from_numpy(back), False
        return torch.from_numpy(batch.types), is_head


def _monitor(config: TrainConfig, parts: LinkParts, protocol: str) -> str:
    if not len(parts.val) and config.monitor not in (None, "none"):
        raise TrainingError("there are no val edges to choose the best epoch with; ingest some, "
                            'or pass --monitor none (monitor="none")')  # fmt: skip
    return config.monitor or (MONITORS[protocol] if len(parts.val) else "none")


def _negative_sampler(parts: LinkParts, config: TrainConfig) -> NegativeSampler:
    """Destinations of the type that all edges lead to, edges only where every node is one.

    Where pairs are given that the model is measured on, sources are drawn as well. The ends of
    edges are mostly nodes of high degree; if sources were kept, no pair of two nodes of low degree
    would ever be a negative, all of those would be pushed away from the others in one direction,
    and inner products of two of them would be the highest of all.
    """
    graph = parts.data.graph
    start, end = _span(parts, parts.train.dst)
    out_degrees = np.bincount(graph.indices, minlength=graph.num_nodes)
    return NegativeSampler(
        graph,
        config.num_negatives,
        node_type=_type_name(parts, parts.train.dst),
        exclude_edges=int(out_degrees.max(initial=0)) < end - start,
        replace_sources=bool(parts.negatives),
        source_type=_type_name(parts, parts.train.src),
        num_threads=config.num_threads,
    )


def _type_name(parts: LinkParts, nodes: NDArray[np.int64]) -> str | None:
    """Name of the one type of these nodes; None where they are of several, or there is one."""
    types, span = parts.data.graph.node_types, _span(parts, nodes)
    if len(types) < 2:
        return None
    return next((t.name for t in types if (t.start, t.end) == span), None)


def _span(parts: LinkParts, nodes: NDArray[np.int64]) -> tuple[int, int]:
    """First and one past the last node of the type of these nodes; of all types where mixed."""
    for kind in parts.data.graph.node_types:
        if ((nodes >= kind.start) & (nodes < kind.end)).all():
            return kind.start, kind.end
    return 0, parts.data.graph.num_nodes


def _from_users(links: Links, parts: LinkParts) -> Links:
    """The edges of a recommendation, all from users to items as its val and test edges are."""
    asked = parts.test if len(parts.test) else parts.val
    if not len(asked):
        return links
    start, end = _span(parts, asked.dst)
    back = (links.src >= start) & (links.src < end)
    return Links(np.where(back, links.dst, links.src), np.where(back, links.src, links.dst))


def _loader(
    parts: LinkParts,
    sampler: NeighborSampler,
    config: TrainConfig,
    loss: str,
    negatives: NegativeSampler | None,
) -> LinkLoader:
    oriented = _from_users(parts.train, parts) if loss == "bpr" else parts.train
    return LinkLoader(
        parts.data,
        sampler,
        np.stack([oriented.src, oriented.dst]),
        config.batch_size,
        exclude="reverse" if config.exclude_targets else "none",
        relations=oriented.types,
        negatives=negatives,
        shuffle=True,
        seed=config.seed,
    )
