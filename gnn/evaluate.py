"""Metrics of a model on one part of a graph's labeled nodes.

Graphs of moderate size are inferred exactly, layer by layer. Larger ones are sampled with a
fixed seed, so that the same model always gets the same metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.errors import SchemaMismatchError, TrainingError
from gnn.layerwise import infer
from gnn.model import GNN
from gnn.splits import PARTS, split_nodes
from gnn.tasks import task_named
from sampling import Dataset, MiniBatchLoader, NeighborSampler
from sampling.errors import InputError

__all__ = ["EXACT_EDGES", "check_schema", "evaluate", "logits_of", "using_threads"]

EXACT_EDGES = 5_000_000
"""Up to this many edges a whole-graph pass is cheaper than sampling around many nodes."""
EVAL_FANOUT = 20
EVAL_SEED = 20_170_607
BATCH_SIZE = 1024


def evaluate(
    model: GNN,
    data: Dataset,
    part: str = "test",
    *,
    task: str = "node-classification",
    split_index: int = 0,
    split: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    exact: bool | None = None,
    fanouts: Sequence[int] | None = None,
    num_threads: int | None = None,
) -> dict[str, float]:
    """All metrics of the task on the labeled nodes of `part`.

    Args:
        model: a trained model.
        data: the graph.
        part: "train", "val" or "test".
        task: a key of `gnn.tasks.TASKS`.
        split_index: which of the graph's splits.
        split: shares that training used, where the graph has no splits.
        seed: seed that training used, where the graph has no splits.
        exact: infer with all neighbors, or with samples; by the graph's size when left out.
        fanouts: neighbors per layer where it is sampled.
        num_threads: threads; torch's own setting when left out.

    Raises:
        SchemaMismatchError: the graph's features are not those of the model.
        TrainingError: there are no labels, or none in this part.
    """
    if part not in PARTS:
        raise InputError(f"there is no part {part!r}; choose one of {', '.join(PARTS)}")
    chosen = task_named(task)
    check_schema(model, data)
    y, labeled = chosen.targets(data)
    parts = split_nodes(data, labeled, split_index=split_index, split=split, seed=seed)
    nodes = parts[part]
    if not len(nodes):
        raise TrainingError(f"split {split_index} has no labeled {part} nodes to evaluate on")
    with using_threads(num_threads):
        logits = logits_of(model, data, nodes, exact, fanouts)
    return chosen.metrics(logits, y[torch.from_numpy(nodes)])


def logits_of(
    model: GNN,
    data: Dataset,
    nodes: NDArray[np.int64],
    exact: bool | None = None,
    fanouts: Sequence[int] | None = None,
) -> Tensor:
    """What the head gives for these nodes, (len(nodes), d_out); leaves the model as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if data.graph.num_edges <= EXACT_EDGES if exact is None else exact:
                return model.head(infer(model, data)[torch.from_numpy(nodes)])
            return _sampled_logits(model, data, nodes, fanouts or [EVAL_FANOUT] * model.num_layers)
    finally:
        model.train(was_training)


def check_schema(model: GNN, data: Dataset) -> None:
    """Refuse a graph whose features this model cannot read.

    Raises:
        SchemaMismatchError: there are none, or of another width.
    """
    d_in = model.config.d_in
    if data.features is None:
        raise SchemaMismatchError("features of width", d_in, "none")
    if data.features.dim != d_in:
        raise SchemaMismatchError("features of width", d_in, data.features.dim)


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
    loader = MiniBatchLoader(data, sampler, nodes, BATCH_SIZE, resample=False)
    rows = []
    for batch in loader:
        assert batch.x is not None, "callers check that there are features"
        rows.append(model(batch.blocks, batch.x))
    return torch.cat(rows)
