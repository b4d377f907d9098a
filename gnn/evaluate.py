"""Metrics of a model on one part of a graph's labeled nodes.

Where it is cheaper, the whole graph is inferred exactly, layer by layer. Otherwise neighborhoods
are sampled with a fixed seed, so that the same model always gets the same metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict, Unpack

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.data import Data
from gnn.errors import TrainingError
from gnn.graph_evaluate import graph_part_logits
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.link_evaluate import link_metrics
from gnn.link_split import split_links
from gnn.model import GNN
from gnn.probe import probe_accuracy
from gnn.reduce import reduce_inputs
from gnn.splits import PARTS, split_nodes
from gnn.target_report import target_report
from gnn.tasks import WITHOUT_OUTPUTS, task_for
from gnn.temporal_evaluate import TemporalReading, temporal_link_metrics, temporal_logits
from gnn.temporal_split import split_by_time
from gnn.transfer import moved
from sampling import Dataset, MiniBatchLoader, NeighborSampler
from sampling.errors import InputError
from sampling.graph.collection import GraphCollection

__all__ = [
    "EXACT_EDGES",
    "EvaluateOptions",
    "evaluate",
    "evaluate_parts",
    "evaluate_with_targets",
    "logits_of",
    "part_logits",
    "using_threads",
]

Metrics = dict[str, float]
EXACT_EDGES = 5_000_000
"""Up to this many edges a pass over the whole graph is cheap, whatever it is for."""
EVAL_FANOUT = 20
EVAL_SEED = 20_170_607
BATCH_SIZE = 1024


def evaluate(
    model: GNN, data: Data, part: str = "test", **options: Unpack[EvaluateOptions]
) -> dict[str, float]:
    """All metrics of the task on the labeled nodes of one part.

    Args:
        model: a trained model.
        data: the graph.
        part: "train", "val" or "test".
        options: see `EvaluateOptions`.

    Raises:
        SchemaMismatchError: the graph's features are not those of the model.
        TrainingError: there are no labels, or none in this part.
    """
    return evaluate_with_targets(model, data, part, **options)[0]


def evaluate_with_targets(
    model: GNN, data: Data, part: str = "test", **options: Unpack[EvaluateOptions]
) -> tuple[Metrics, dict[str, Metrics]]:
    """As `evaluate`, and the same of every target by its name; none where there is one target."""
    if part not in PARTS:
        raise InputError(f"there is no part {part!r}; choose one of {', '.join(PARTS)}")
    metrics = _measured(model, data, (part,), **options)
    if part not in metrics:
        index = options.get("split_index", 0)
        if options.get("task") == "link-prediction":
            raise TrainingError(f"there are no {part} edges to evaluate on")
        raise TrainingError(f"split {index} has no labeled {part} nodes to evaluate on")
    return metrics[part]


class EvaluateOptions(TypedDict, total=False):
    """How a model is evaluated.

    Attributes:
        task: a key of `gnn.tasks.TASKS`; node classification when left out.
        split_index: which of the graph's splits; 0 when left out.
        split: shares that training used, where the graph has no splits.
        seed: seed that training used, where the graph has no splits.
        exact: infer with all neighbors, or with samples; whichever is cheaper when left out.
        fanouts: neighbors per layer where it is sampled.
        temporal: predict edges and nodes at their times, from strictly earlier edges.
        strategy: which of those, where there are more than the fanout; "recent" when left out.
        num_threads: threads; torch's own setting when left out.
    """

    task: str
    split_index: int
    split: tuple[float, float, float]
    seed: int
    exact: bool | None
    fanouts: Sequence[int] | None
    temporal: bool
    strategy: str
    num_threads: int | None


def evaluate_parts(
    model: GNN, data: Data, names: Sequence[str] = PARTS, **options: Unpack[EvaluateOptions]
) -> dict[str, dict[str, float]]:
    """All metrics of the task on several parts at once; parts without labeled nodes are left out.

    Raises:
        SchemaMismatchError: the graph's features are not those of the model.
        TrainingError: there are no labels.
    """
    measured = _measured(model, data, names, **options)
    return {name: metrics for name, (metrics, _) in measured.items()}


def _measured(
    model: GNN, data: Data, names: Sequence[str], **options: Unpack[EvaluateOptions]
) -> dict[str, tuple[Metrics, dict[str, Metrics]]]:
    """Metrics of several parts, and those of every target."""
    name = options.get("task", "node-classification")
    if name in WITHOUT_OUTPUTS and isinstance(data, Dataset):
        found = _without_outputs(model, data, names, name, **options)
        return {part: (metrics, {}) for part, metrics in found.items()}
    task = task_for(name, data)
    return {
        part: (task.metrics(*rows), target_report(task, data, *rows))
        for part, rows in part_logits(model, data, names, **options).items()
    }


def _without_outputs(
    model: GNN, data: Dataset, names: Sequence[str], name: str, **options: Unpack[EvaluateOptions]
) -> dict[str, dict[str, float]]:
    """Metrics of tasks whose models give embeddings and nothing else of a node."""
    seed, split = options.get("seed", 0), options.get("split", (0.6, 0.2, 0.2))
    with using_threads(options.get("num_threads")):
        if name == "link-prediction" and options.get("temporal", False):
            strategy = options.get("strategy", "recent")
            reading = TemporalReading(options.get("fanouts"), strategy, options.get("num_threads"))
            return temporal_link_metrics(model, data, split_by_time(data, split), names, reading)
        if name == "link-prediction":
            return link_metrics(model, split_links(data, split, seed), names, seed=seed)
        return probe_accuracy(model, data, names, options.get("split_index", 0), split, seed)


def part_logits(
    model: GNN,
    data: Data,
    names: Sequence[str] = PARTS,
    *,
    task: str = "node-classification",
    split_index: int = 0,
    split: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    exact: bool | None = None,
    fanouts: Sequence[int] | None = None,
    temporal: bool = False,
    strategy: str = "recent",
    num_threads: int | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """What the head gives for the labeled nodes or graphs of several parts, and their targets.

    Raises:
        SchemaMismatchError: the graph's features are not those of the model.
        TrainingError: there are no labels.
    """
    if isinstance(data, GraphCollection):
        with using_threads(num_threads):
            return graph_part_logits(model, data, names, task, split_index, split, seed)
    reading = TemporalReading(fanouts, strategy, num_threads)
    chosen = task_for(task, data)
    data = with_inputs(data, model.config)
    y, labeled = chosen.targets(data)
    found = split_nodes(
        data, labeled, split_index=split_index, split=split, seed=seed, by_time=temporal
    )
    parts = {name: found[name] for name in names if len(found[name])}
    if not parts:
        return {}
    nodes = np.concatenate(list(parts.values()))
    with using_threads(num_threads):
        if temporal:
            logits = temporal_logits(model, data, nodes, reading)
        else:
            logits = logits_of(model, data, nodes, exact, fanouts)
    ends = np.cumsum([len(part) for part in parts.values()]).tolist()
    rows = zip(parts, ends, [0, *ends], strict=False)
    targets = y[torch.from_numpy(nodes)]
    return {name: (logits[a:b], targets[a:b]) for name, b, a in rows}


def logits_of(
    model: GNN,
    data: Dataset,
    nodes: NDArray[np.int64],
    exact: bool | None = None,
    fanouts: Sequence[int] | None = None,
) -> Tensor:
    """What the head gives for these nodes, (len(nodes), d_out); leaves the model as it was."""
    fanouts = fanouts or [EVAL_FANOUT] * model.num_layers
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if _infers_all(model, data, len(nodes), fanouts) if exact is None else exact:
                rows = infer(model, data)[torch.from_numpy(nodes)]
                return model.head(rows.to(model.device)).cpu()
            return _sampled_logits(model, data, nodes, fanouts)
    finally:
        model.train(was_training)


def _infers_all(model: GNN, data: Dataset, num_nodes: int, fanouts: Sequence[int]) -> bool:
    """Whether one exact pass over the whole graph is cheaper than samples around some nodes."""
    if data.graph.num_edges <= EXACT_EDGES:
        return True
    per_node = 0
    for fanout in fanouts:
        per_node = max(fanout, 1) * (1 + per_node)
    rows_bytes = 3 * 4 * data.graph.num_nodes * max(model.widths)
    fits = rows_bytes < psutil.virtual_memory().total // 2
    return fits and data.graph.num_edges * model.num_layers < num_nodes * per_node


@contextmanager
def using_threads(num_threads: int | None) -> Iterator[None]:
    """Run with this many threads and restore the setting; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sampled_logits(
    model: GNN, data: Dataset, nodes: NDArray[np.int64], fanouts: Sequence[int]
) -> Tensor:
    sampler = NeighborSampler(data.graph, fanouts, EVAL_SEED, torch.get_num_threads())
    reduced = reduce_inputs(sampler, model, data)
    loader = MiniBatchLoader(data, reduced, nodes, BATCH_SIZE, resample=False)
    rows = []
    for batch in moved(loader, model.device):
        assert batch.x is not None, "callers check that there are features"
        rows.append(model(batch.blocks, batch.x).cpu())
    return torch.cat(rows)
