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
from numpy.typing import NDArray
from torch import Tensor

from gnn.decoders import DistMultDecoder, DotDecoder
from gnn.distributed import Ranks
from gnn.errors import DivergedError, TrainingError
from gnn.evaluate import using_threads
from gnn.inputs import with_inputs
from gnn.link_evaluate import LINKS_MEASURED, link_metrics, protocol_of
from gnn.link_losses import pair_loss, rows_for
from gnn.link_split import LinkParts, Links, split_links
from gnn.model import GNN
from gnn.monitors import monitor_of
from gnn.optimize import Stepper
from gnn.sessions.link_whole import WholeLinkLoss, penalty_of, span_of
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
        targets: the edges that are trained on.
        protocol: of `gnn.link_evaluate`.
        loss: "bce", "bpr" or "softmax".
        whole: losses on rows of the whole graph; None where batches have Blocks of their own.
        loader: makes those; None where the whole graph is encoded.
    """

    model: GNN
    config: TrainConfig
    parts: LinkParts
    targets: Links
    protocol: str
    loss: str
    stepper: Stepper
    monitor: str
    whole: WholeLinkLoss | None
    loader: LinkLoader | None

    @classmethod
    def prepare(cls, model: GNN, data: Dataset, config: TrainConfig) -> LinkSession:
        if model.decoder is None:
            raise TrainingError('the model has no decoder; build it with one, as in decoder="dot"')
        _check_decoder(model, config)
        parts = split_links(with_inputs(data, model.config), config.split, config.seed)
        targets, protocol = _some(parts.train, config), protocol_of(parts)
        loss = LOSSES[protocol] if config.link_loss == "auto" else config.link_loss
        fanouts = fanouts_of(model, config)
        sampler = NeighborSampler(parts.data.graph, fanouts, config.seed, config.num_threads)
        is_whole = WholeGraph.fits(parts.data.graph, fanouts)
        ranks_all = loss == "softmax" and is_whole
        negatives = None if ranks_all else _negative_sampler(parts, config)
        graph = WholeGraph(model, parts.data, sampler)
        whole = WholeLinkLoss(model, config, parts, protocol, loss, graph, negatives)
        return cls(
            model,
            config,
            parts,
            targets,
            protocol,
            loss,
            Stepper.of(model, config),
            _monitor(config, parts, protocol),
            whole if is_whole else None,
            None if is_whole else _loader(parts, targets, sampler, config, loss, negatives),
        )

    def run_epoch(self, epoch: int) -> EpochResult:
        """One pass over the training edges."""
        began = time.perf_counter()
        self.model.train()
        run = self._run_blocks if self.whole is None else self._run_whole
        losses, sizes, edges = run(epoch)
        mean = Ranks.current().epoch_mean(losses, sizes)
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
            loss, walked = self.whole.of(batch, step_seed(self.config.seed, epoch, i))
            losses.append(self.stepper.step(loss, epoch, i, len(batch)))
            sizes.append(len(batch))
            edges += walked
        return losses, sizes, edges

    def _run_blocks(self, epoch: int) -> tuple[list[float], list[int], int]:
        assert self.loader is not None, "the caller looked"
        losses, sizes, edges = [], [], 0
        self.loader.epoch = epoch
        for i, batch in enumerate(moved(self.loader, self.model.device)):
            sizes.append(self.loader.size_of(i))
            losses.append(self.stepper.step(self._block_loss(batch), epoch, i, sizes[-1]))
            edges += sum(block.num_edges for block in batch.blocks)
        return losses, sizes, edges

    def _block_loss(self, batch: LinkBatch) -> Tensor:
        assert batch.x is not None, "prepare saw to it"
        size = int(batch.labels.sum())
        h = self.model.encode(batch.blocks, batch.x)
        read = rows_for(self.config.temperature, h)
        logits = self.model.score(read, batch.pairs, batch.relations)
        loss = pair_loss(self.loss, logits[:size], logits[size:].view(size, -1))
        if self.config.n3_decay:
            types = None if batch.relations is None else batch.relations[:size].cpu().numpy()
            ends = h[batch.pairs[0, :size]], h[batch.pairs[1, :size]]
            loss = loss + penalty_of(self.model.decoder, self.config, self.parts, ends, types)
        return loss

    def _ordered(self, epoch: int) -> Links:
        """The training edges in the order of this epoch, undirected ones in a random direction."""
        rng = np.random.default_rng((self.config.seed & MASK, epoch))
        links = self.targets.take(rng.permutation(len(self.targets)))
        if self.protocol != "pairs" or not self.parts.symmetric:
            return _from_users(links, self.parts) if self.protocol == "recommendation" else links
        turned = rng.random(len(links)) < 0.5
        ends = np.where(turned, links.dst, links.src), np.where(turned, links.src, links.dst)
        return Links(*ends, links.types)


def _check_decoder(model: GNN, config: TrainConfig) -> None:
    if config.n3_decay and not isinstance(model.decoder, DotDecoder | DistMultDecoder):
        raise TrainingError(
            f"n3_decay is {config.n3_decay} and the decoder {model.config.decoder}; it is for "
            "the factors of dot and distmult, so choose one of these or leave it out"
        )
    if config.temperature is not None and not isinstance(model.decoder, DotDecoder):
        raise TrainingError(
            f"temperature is {config.temperature} and the decoder {model.config.decoder}; it is "
            "for cosines in place of the inner products of dot, so choose that or leave it out"
        )


def _monitor(config: TrainConfig, parts: LinkParts, protocol: str) -> str:
    if not len(parts.val) and config.monitor not in (None, "none"):
        raise TrainingError("there are no val edges to choose the best epoch with; ingest some, "
                            'or pass --monitor none (monitor="none")')  # fmt: skip
    own = MONITORS[protocol] if len(parts.val) else "none"
    return monitor_of(config, own, LINKS_MEASURED[protocol])


def _negative_sampler(parts: LinkParts, config: TrainConfig) -> NegativeSampler:
    """Destinations of the type that all edges lead to, edges only where every node is one.

    Where pairs are given that the model is measured on, sources are drawn as well. The ends of
    edges are mostly nodes of high degree; if sources were kept, no pair of two nodes of low degree
    would ever be a negative, all of those would be pushed away from the others in one direction,
    and inner products of two of them would be the highest of all.
    """
    graph = parts.data.graph
    start, end = span_of(parts, parts.train.dst)
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
    types, span = parts.data.graph.node_types, span_of(parts, nodes)
    if len(types) < 2:
        return None
    return next((t.name for t in types if (t.start, t.end) == span), None)


def _from_users(links: Links, parts: LinkParts) -> Links:
    """The edges of a recommendation, all from users to items as its val and test edges are."""
    asked = parts.test if len(parts.test) else parts.val
    if not len(asked):
        return links
    start, end = span_of(parts, asked.dst)
    back = (links.src >= start) & (links.src < end)
    return Links(np.where(back, links.dst, links.src), np.where(back, links.src, links.dst))


def _some(links: Links, config: TrainConfig) -> Links:
    """At most as many of them as are to be trained on, chosen at random."""
    most = config.max_train_seeds
    if most is None or most >= len(links):
        return links
    rng = np.random.default_rng((config.seed & MASK, most))
    return links.take(np.sort(rng.choice(len(links), most, replace=False)))


def _loader(
    parts: LinkParts,
    targets: Links,
    sampler: NeighborSampler,
    config: TrainConfig,
    loss: str,
    negatives: NegativeSampler | None,
) -> LinkLoader:
    oriented = _from_users(targets, parts) if loss == "bpr" else targets
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
        part=Ranks.current().part,
    )
