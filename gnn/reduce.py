"""Which models can have their outermost hop reduced while it is drawn, and when that pays.

A first layer that takes a sum, a mean or GCN's weighted sum of input rows commutes with its own
linear map, so the reduction can be made from raw rows, before the model is asked. Row
normalization is a factor of each source, and so part of the reduction.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gnn.model import GNN
from sampling import Dataset, InputReduction, NeighborSampler, ReducedNeighborSampler
from sampling.graph.sparse_features import SparseTable
from sampling.sampler import Sampler

__all__ = ["input_reduction", "reduce_inputs"]

MOST_REPEATS = 4.0
"""Edges per distinct source up to which reading every edge's row beats relabeling them."""
PROBE_SEEDS = 256
EPSILON = 1e-12


def reduce_inputs(
    sampler: NeighborSampler, model: GNN, data: Dataset, *, training: bool = False
) -> Sampler:
    """A sampler that reduces the outermost hop, or `sampler` itself where that is no gain.

    Args:
        sampler: what is drawn.
        model: for which model.
        data: the graph, with features.
        training: the model is going to be trained with the Blocks.
    """
    reduction = input_reduction(model, data, training=training)
    if reduction is None or data.features is None or _repeats(sampler) > MOST_REPEATS:
        return sampler
    return ReducedNeighborSampler(sampler, data.features, reduction)


def input_reduction(model: GNN, data: Dataset, *, training: bool = False) -> InputReduction | None:
    """What the first layer does with input rows; None where it is not linear in them."""
    kind = model.conv(0).linear_reduction
    is_raw = data.features is not None and model.encoder is None and model.columns is None
    is_raw = is_raw and not isinstance(data.features, SparseTable)
    if kind is None or not is_raw or (training and model.config.dropout):
        return None
    weight = _inverse_roots(data) if kind == "gcn" else None
    if model.config.input_norm == "row":
        norm = _inverse_norms(data)
        weight = norm if weight is None else weight * norm
    return InputReduction("mean" if kind == "mean" else "sum", weight)


def _repeats(sampler: NeighborSampler) -> float:
    """Edges per distinct source in the outermost hop around some nodes of the graph."""
    count = sampler.graph.num_nodes
    seeds = np.arange(min(count, PROBE_SEEDS), dtype=np.int64) * max(1, count // PROBE_SEEDS)
    block = sampler.sample(seeds, 0)[0]
    return block.num_edges / max(1, block.num_src)


def _inverse_roots(data: Dataset) -> NDArray[np.float32]:
    degrees = torch.from_numpy(data.graph.in_degrees())
    roots: NDArray[np.float32] = (degrees + 1).to(torch.float32).rsqrt().numpy()
    return roots


def _inverse_norms(data: Dataset) -> NDArray[np.float32]:
    """One over the sum of magnitudes of every row, as `torch.nn.functional.normalize` has it."""
    assert data.features is not None, "the caller looked"
    out = np.empty(data.features.num_rows, np.float32)
    step = max(1, (1 << 24) // max(data.features.dim, 1))
    for start in range(0, len(out), step):
        rows = data.features.rows(start, min(start + step, len(out)))
        out[start : start + len(rows)] = (1 / rows.abs().sum(dim=1).clamp(min=EPSILON)).numpy()
    return out
