"""Whole-graph inference, layer outside, tiles of rows inside.

Every node is computed once per layer, where mini-batches would compute it once for every seed
that it reaches (GraphSAGE's batched inference; Hamilton et al. 2017, appendix). The rows that a
layer sends are computed once for all nodes and then read along the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gnn.model import GNN
from sampling import Dataset, Graph

__all__ = ["infer", "layer_rows", "message_rows", "tile_rows_for", "tile_starts"]

TILE_BYTES = 16 << 20
MAX_TILE_ROWS = 1 << 18
MIN_TILE_ROWS = 1 << 9


def infer(model: GNN, data: Dataset) -> Tensor:
    """Embeddings of all nodes in memory, (num_nodes, d_embedding) float32.

    Args:
        model: in evaluation mode.
        data: a graph with features.
    """
    assert data.features is not None, "callers check that there are features"
    graph, src_nodes = data.graph, torch.arange(data.graph.num_nodes)
    step = tile_rows_for(model)
    x = data.features.tensor()
    if x is None:
        x = data.features.rows(0, graph.num_nodes)
    with torch.no_grad():
        for i in range(model.num_layers):
            messages = _messages(model, graph, i, x, step)
            x = _all_rows(
                graph.num_nodes, step, _layer_tile(model, graph, i, x, messages, src_nodes)
            )
    return x


def message_rows(model: GNN, graph: Graph, i: int, x: Tensor, start: int, end: int) -> Tensor:
    """What nodes `start … end` send in layer i, from x (num_nodes, …)."""
    degrees = torch.from_numpy(graph.indptr[start + 1 : end + 1] - graph.indptr[start:end])
    return model.messages(i, x[start:end], degrees)


def layer_rows(
    model: GNN,
    graph: Graph,
    i: int,
    x: Tensor,
    messages: Tensor,
    src_nodes: Tensor,
    start: int,
    end: int,
) -> Tensor:
    """Output rows of nodes `start … end` in layer i, from x and the messages of all nodes."""
    return model.layer(i, graph.block(start, end, src_nodes=src_nodes), x, messages)


def tile_rows_for(model: GNN) -> int:
    """Rows per tile that keep one tile of the widest layer near `TILE_BYTES`."""
    rows = TILE_BYTES // (4 * max(model.config.widths))
    return max(MIN_TILE_ROWS, min(MAX_TILE_ROWS, rows))


def tile_starts(num_rows: int, step: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of every tile from row `first` on."""
    for start in range(first, num_rows, step):
        yield start, min(start + step, num_rows)


def _messages(model: GNN, graph: Graph, i: int, x: Tensor, step: int) -> Tensor:
    if model.sends_input(i):
        return x
    return _all_rows(graph.num_nodes, step, lambda a, b: message_rows(model, graph, i, x, a, b))


def _layer_tile(
    model: GNN, graph: Graph, i: int, x: Tensor, messages: Tensor, src_nodes: Tensor
) -> Callable[[int, int], Tensor]:
    return lambda a, b: layer_rows(model, graph, i, x, messages, src_nodes, a, b)


def _all_rows(num_rows: int, step: int, tile: Callable[[int, int], Tensor]) -> Tensor:
    first = tile(0, min(step, num_rows))
    out = torch.empty(num_rows, first.shape[1])
    out[: len(first)] = first
    for start, end in tile_starts(num_rows, step, len(first) or step):
        out[start:end] = tile(start, end)
    return out
