"""How well a model predicts what comes next: every prediction from earlier edges alone.

Edges are visited in order of time, 200 at once, each against one random negative for average
precision and ROC AUC and among 20 for the reciprocal rank; a metric is the mean over batches by
their size, as temporal graph networks are compared (Rossi et al. 2020; Yu et al., DyGLib, 2023).
Nodes are predicted at their own times. Neighborhoods are drawn with a fixed seed, so that the same
model always gets the same metrics; the sampler reads the whole graph, whose edges before a time are
what is remembered at that time, of whichever part they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor

from gnn.errors import TrainingError
from gnn.inputs import with_inputs
from gnn.model import GNN
from gnn.temporal_split import TemporalParts
from gnn.transfer import moved
from sampling import Dataset, MiniBatchLoader, TemporalNeighborSampler
from sampling.errors import InputError
from sampling.temporal_links import TemporalLinkBatch, TemporalLinkLoader, TimedLinks

__all__ = [
    "EVAL_NEGATIVES",
    "TEMPORAL_MEASURED",
    "TemporalReading",
    "score_batch",
    "score_in_time",
    "temporal_link_metrics",
    "temporal_logits",
]

TEMPORAL_MEASURED = ("average_precision", "roc_auc", "mrr", "loss")
"""What is measured of edges in time."""
EVAL_SEED, EVAL_BATCH, EVAL_NEGATIVES = 20_200_213, 200, 20
TRAIN_SAMPLE = 10_000
ALL = -1


@dataclass(frozen=True, slots=True)
class TemporalReading:
    """What a model reads of the past of a node.

    Attributes:
        fanouts: neighbors per layer, -1 for all; all in every layer where it is None.
        strategy: "recent" for the latest, "uniform" for any.
        num_threads: threads that draw.
    """

    fanouts: Sequence[int] | None = None
    strategy: str = "recent"
    num_threads: int | None = None

    def sampler(self, model: GNN, data: Dataset, seed: int = EVAL_SEED) -> TemporalNeighborSampler:
        """What draws neighborhoods for this model.

        Raises:
            InputError: there are more or fewer fanouts than layers.
            TrainingError: the graph has no edge times.
        """
        if data.graph.edge_time is None:
            raise TrainingError(
                f"graph {data.meta.name!r} has no edge times, which temporal training reads; "
                "ingest a time column, or leave out --temporal"
            )
        fanouts = tuple(self.fanouts or (ALL,) * model.num_layers)
        if len(fanouts) != model.num_layers:
            raise InputError(
                f"fanouts are {list(fanouts)}; give one for each of the {model.num_layers} layers"
            )
        return TemporalNeighborSampler(
            data.graph, fanouts, self.strategy, seed=seed, num_threads=self.num_threads
        )


def temporal_link_metrics(
    model: GNN,
    data: Dataset,
    parts: TemporalParts,
    names: Sequence[str],
    reading: TemporalReading,
    *,
    num_negatives: int = EVAL_NEGATIVES,
    limit: int | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics of several parts; parts without edges are left out.

    Args:
        model: with a decoder; left as it was.
        data: the graph that `parts` was made of.
        parts: from `split_by_time`.
        names: of "train", "val", "test".
        reading: what the model reads of the past.
        num_negatives: destinations that an edge is ranked among; the first alone is for average
            precision, ROC AUC and the loss.
        limit: measure on at most this many edges of a part, evenly spaced in time.

    Raises:
        TrainingError: the model has no decoder.
        SchemaMismatchError: the graph is not one that the model can read.
    """
    data = with_inputs(data, model.config)
    found = {}
    for name in names:
        most = min(limit or TRAIN_SAMPLE, TRAIN_SAMPLE) if name == "train" else limit
        links = _spaced(parts.part(name), most)
        if not len(links):
            continue
        loader = TemporalLinkLoader(
            data,
            reading.sampler(model, data),
            links,
            parts.seen(name),
            EVAL_BATCH,
            num_negatives,
            seed=EVAL_SEED,
            resample=False,
        )
        found[name] = _metrics(list(score_in_time(model, loader)))
    return found


def score_in_time(model: GNN, loader: TemporalLinkLoader) -> list[tuple[Tensor, Tensor]]:
    """Logits of the edges and of their negatives, (n,) and (n, num_negatives), of every batch.

    Raises:
        TrainingError: the model has no decoder.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores = [score_batch(model, batch) for batch in moved(loader, model.device)]
            return [(positive.cpu(), negative.cpu()) for positive, negative in scores]
    finally:
        model.train(was_training)


def score_batch(model: GNN, batch: TemporalLinkBatch) -> tuple[Tensor, Tensor]:
    """Logits of the edges of a batch, (n,), and of their negatives, (n, num_negatives)."""
    if model.decoder is None:
        raise TrainingError('the model has no decoder; build it with one, as in decoder="mlp"')
    assert batch.x is not None, "with_inputs sees to it"
    h = model.encode(batch.blocks, batch.x)
    logits = model.score(h, batch.pairs, batch.relations)
    size = len(batch.links)
    return logits[:size], logits[size:].view(size, -1)


def temporal_logits(
    model: GNN, data: Dataset, nodes: NDArray[np.int64], reading: TemporalReading
) -> Tensor:
    """What the head gives for nodes at their own times, (len(nodes), d_out).

    Raises:
        TrainingError: the nodes have no times, or the edges have none.
    """
    sampler = reading.sampler(model, data).at_node_times(node_times(data))
    loader = MiniBatchLoader(data, sampler, nodes, EVAL_BATCH, resample=False)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batches = moved(loader, model.device)
            rows = [model(batch.blocks, batch.x).cpu() for batch in batches]
    finally:
        model.train(was_training)
    return torch.cat([*rows, torch.zeros(0, model.config.d_out)])


def node_times(data: Dataset) -> NDArray[np.int64]:
    """When each node is predicted, (num_nodes,).

    Raises:
        TrainingError: nobody said.
    """
    if data.node_time is None:
        raise TrainingError(
            f"the nodes of graph {data.meta.name!r} have no times to predict them at; ingest a "
            "time column of nodes, or leave out --temporal"
        )
    return data.node_time


def _spaced(links: TimedLinks, limit: int | None) -> TimedLinks:
    if limit is None or len(links) <= limit:
        return links
    return links.take(np.arange(limit) * len(links) // limit)


def _metrics(batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    sizes = [len(positive) for positive, _ in batches]
    rows = [_batch_metrics(positive, negative) for positive, negative in batches]
    return {name: float(np.average([row[name] for row in rows], weights=sizes)) for name in rows[0]}


def _batch_metrics(positive: Tensor, negative: Tensor) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    first = negative[:, 0]
    y = np.repeat([1, 0], len(positive))
    scores = torch.cat([positive, first]).double().numpy()
    better = (negative > positive[:, None]).sum(dim=1)
    equal = (negative == positive[:, None]).sum(dim=1)
    return {
        "average_precision": float(average_precision_score(y, scores)),
        "roc_auc": float(roc_auc_score(y, scores)),
        "mrr": float((1 / (1 + better.double() + equal.double() / 2)).mean()),
        "loss": float(F.softplus(-positive).mean() + F.softplus(first).mean()),
    }
