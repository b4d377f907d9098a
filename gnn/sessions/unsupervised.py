"""Training without labels: GraphSAGE's loss on random walks, or Deep Graph Infomax.

    sage   -log σ(z_u·z_v) - Σ_n log σ(-z_u·z_n)   v met on a walk from u, n drawn by degree^0.75
           (Hamilton, Ying, Leskovec: Inductive Representation Learning on Large Graphs, 2017)
    dgi    -log D(h_u, s) - log (1 - D(h̃_u, s))    s = σ(mean h), h̃ from rows that were shuffled
           (Velickovic et al.: Deep Graph Infomax, 2019)

D is the model's decoder, bilinear in the paper; it reads rectified embeddings. Small graphs are
encoded whole; of larger ones the Blocks around each batch of nodes. Where processes share a batch,
walks, shuffled rows and the summary s are those of the whole batch.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor

from gnn.distributed import Ranks
from gnn.errors import DivergedError, TrainingError
from gnn.inputs import with_inputs
from gnn.model import GNN
from gnn.monitors import monitor_of
from gnn.optimize import Stepper
from gnn.probe import probe_accuracy, probed_parts
from gnn.sessions.session import EpochResult
from gnn.sessions.whole import WholeGraph, fanouts_of, step_seed
from gnn.train_config import TrainConfig
from gnn.transfer import Mover
from sampling import Dataset, NegativeSampler, NeighborSampler, random_walks
from sampling.kernels.reference import MASK

__all__ = ["UnsupervisedSession"]

PROBE = "probe_accuracy"
WALK_LENGTH = 5
POWER = 0.75
SLOPE = 0.25
"""Of the rectifier behind the encoder, where the paper's learned one starts."""


@dataclass(slots=True)
class UnsupervisedSession:
    """Training on all nodes of one graph."""

    model: GNN
    data: Dataset
    config: TrainConfig
    stepper: Stepper
    monitor: str
    sampler: NeighborSampler
    negatives: NegativeSampler
    whole: WholeGraph | None
    loss: float = field(default=math.inf)
    mover: Mover = field(init=False)

    def __post_init__(self) -> None:
        self.mover = Mover(self.model.device)

    @classmethod
    def prepare(cls, model: GNN, data: Dataset, config: TrainConfig) -> UnsupervisedSession:
        if model.decoder is None:
            raise TrainingError('the model has no decoder; build it with one, as in decoder="dot"')
        if data.features is None and config.objective == "dgi":
            raise TrainingError(f"graph {data.meta.name!r} has no features, and dgi tells them "
                                "from shuffled ones; choose the objective sage")  # fmt: skip
        data = with_inputs(data, model.config)
        if not data.graph.num_edges:
            raise TrainingError(f"graph {data.meta.name!r} has no edges to learn from")
        fanouts = fanouts_of(model, config)
        sampler = NeighborSampler(data.graph, fanouts, config.seed, config.num_threads)
        whole = WholeGraph(model, data, sampler) if WholeGraph.fits(data.graph, fanouts) else None
        negatives = NegativeSampler(
            data.graph,
            max(config.num_negatives, 1),
            power=POWER,
            exclude_edges=False,
            num_threads=config.num_threads,
        )
        measured = ("loss", PROBE) if _can_be_probed(data, config) else ("loss",)
        monitor = monitor_of(config, "loss", measured)
        return cls(
            model, data, config, Stepper.of(model, config), monitor, sampler, negatives, whole
        )

    def run_epoch(self, epoch: int) -> EpochResult:
        """One pass over all nodes."""
        began = time.perf_counter()
        self.model.train()
        rng = np.random.default_rng((self.config.seed & MASK, epoch))
        order = rng.permutation(self.data.graph.num_nodes)
        step = self._infomax if self.config.objective == "dgi" else self._walks
        losses, sizes, edges = [], [], 0
        for i, start in enumerate(range(0, len(order), self.config.batch_size)):
            nodes = order[start : start + self.config.batch_size]
            loss, walked = step(nodes, step_seed(self.config.seed, epoch, i))
            losses.append(self.stepper.step(loss, epoch, i, len(nodes)))
            sizes.append(len(nodes))
            edges += walked
        self.loss = Ranks.current().epoch_mean(losses, sizes)
        return EpochResult(self.loss, {}, edges, time.perf_counter() - began)

    def validate(self, epoch: int) -> dict[str, float]:
        """The training loss, and how well the embeddings tell the labels apart where asked."""
        if self.monitor == "none":
            return {}
        if not math.isfinite(self.loss):
            raise DivergedError(epoch + 1, None, self.loss)
        if self.monitor == "loss":
            return {"loss": self.loss}
        config = self.config
        found = probe_accuracy(
            self.model, self.data, ("val",), config.split_index, config.split, config.seed
        )
        return {"loss": self.loss, **found.get("val", {})}

    def _walks(self, nodes: NDArray[np.int64], seed: int) -> tuple[Tensor, int]:
        """Every node with those met on one walk from it, and with as many drawn by degree."""
        walks = random_walks(
            self.data.graph, nodes, WALK_LENGTH, seed=seed, num_threads=self.config.num_threads
        ).numpy()
        part = Ranks.current().part(len(nodes))
        met, own = walks[:, 1:], walks[part, 1:]
        src = np.repeat(nodes[part], WALK_LENGTH)[own.ravel() >= 0]
        dst = own.ravel()[own.ravel() >= 0]
        drawn = self.negatives.sample(src, dst, seed).numpy()
        asked, rows = np.unique(np.concatenate([src, dst, drawn.ravel()]), return_inverse=True)
        h, walked = self._encode(asked, seed)
        if not len(src):
            return h.sum() * 0.0, walked
        one, other, none = np.split(rows, [len(src), 2 * len(src)])
        pairs = torch.from_numpy(np.stack([one, other]))
        away = torch.from_numpy(np.stack([np.repeat(one, drawn.shape[1]), none]))
        positive, negative = self.model.score(h, pairs), self.model.score(h, away)
        loss = F.softplus(-positive).mean() + F.softplus(negative).mean() * drawn.shape[1]
        usual = (met >= 0).sum() * len(own) / len(met)
        return loss * float(len(src) / usual), walked

    def _infomax(self, nodes: NDArray[np.int64], seed: int) -> tuple[Tensor, int]:
        """Rows of a graph told from rows of the same graph with shuffled features."""
        assert self.model.decoder is not None, "prepare checked it"
        ranks = Ranks.current()
        own = nodes[ranks.part(len(nodes))]
        h, walked = self._encode(own, seed)
        shuffled, again = self._encode(own, seed, shuffled_among=nodes)
        # Linear rows have the mean of the shuffled ones, and nothing would tell them apart.
        h, shuffled = F.leaky_relu(h, SLOPE), F.leaky_relu(shuffled, SLOPE)
        summary = torch.sigmoid(ranks.mean(h.mean(dim=0), len(nodes))).expand(len(h), -1)
        positive = self.model.decoder.pairs(h, summary, None)
        negative = self.model.decoder.pairs(shuffled, summary, None)
        loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
        return loss / 2, walked + again

    def _encode(
        self,
        nodes: NDArray[np.int64],
        seed: int,
        shuffled_among: NDArray[np.int64] | None = None,
    ) -> tuple[Tensor, int]:
        """Embeddings of these nodes, and how many edges were walked.

        Args:
            nodes: this process's own.
            seed: randomness of the neighbors.
            shuffled_among: give every node the features of another that this batch reads.
        """
        assert self.data.features is not None, "prepare saw to it"
        rows = torch.from_numpy(nodes)
        if self.whole is not None:
            x = None
            if shuffled_among is not None:
                order = self._permutation(self.data.graph.num_nodes, seed)
                x = self.data.features.gather(order)
            h, walked = self.whole.encode(seed, x=x)
            return h[rows.to(h.device)], walked
        blocks = self.sampler.sample(rows, seed)
        nodes_read = blocks[0].src_nodes
        if shuffled_among is not None:
            nodes_read = self._shuffled(nodes_read, shuffled_among, seed)
        h = self.model.encode(*self.mover((blocks, self.data.features.gather(nodes_read))))
        return h, sum(block.num_edges for block in blocks)

    def _shuffled(self, read: Tensor, batch: NDArray[np.int64], seed: int) -> Tensor:
        """Whose features each of these nodes has, where those that a batch reads are shuffled.

        What is drawn for a node does not depend on the batch, so a part of it reads no others.
        """
        among = read
        if Ranks.current().size > 1:
            among = self.sampler.sample(torch.from_numpy(batch), seed)[0].src_nodes
        mixed = among[self._permutation(len(among), seed)]
        order = torch.argsort(among)
        return mixed[order[torch.searchsorted(among[order], read)]]

    def _permutation(self, count: int, seed: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(seed & MASK).permutation(count))


def _can_be_probed(data: Dataset, config: TrainConfig) -> bool:
    """Whether validation nodes have classes, looked at only where they are to choose."""
    if config.monitor != PROBE:
        return False
    return "val" in probed_parts(data, config.split_index, config.split, config.seed)[0]
