"""Layers that are linear in what they send, as one compiled pass over the whole graph.

    out_v = W_n · reduce { x_u : u → v } + W_s x_v + b               GraphSAGE
    out_v = W · (Σ x_u + x_v) / (d + 1) + b                          GraphSAGE, "gcn"
    out_v = W · n_v (Σ n_u x_u + n_v x_v) + b                        GCN, n = (d + 1)^(-1/2)

A product commutes with a sum over edges, so W_n is applied on whichever side moves fewer bytes:
before, every node's product is written and read along the edges; after, the rows are read along the
edges as they are and the sums are multiplied while they lie in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gnn.conv.gcn import GCNConv
from gnn.conv.sage import SAGEConv
from gnn.model import GNN
from gnn.storage import dtype_of
from sampling import FeatureTable, Graph, kernels
from sampling.graph.sparse_features import SPARSE

__all__ = ["LinearLayer", "inverse_root_degrees", "join_own", "linear_layer"]

LINE_BYTES = 64
STREAMED_LINE = 3.0
"""Cost of writing a line in order and reading it again, in lines that are read along an edge."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """What the kernels need of a layer.

    Attributes:
        reduce: "sum", "mean", "max", or "gcn" for the mean of a node and its neighbors.
        weight: (d_out, d_in), for what the edges bring.
        own_weight: (d_out, d_in), for the row of the destination itself, or None.
        bias: (d_out,).
        norm: GCN's n, (num_nodes,), or None.
        relu: whether a ReLU follows at once.
        transforms_first: whether `weight` is applied before the edges are walked.
    """

    reduce: str
    weight: Array
    own_weight: Array | None
    bias: Array
    norm: Array | None
    relu: bool
    transforms_first: bool

    def messages(
        self, x: FeatureTable, start: int, out: FeatureTable, num_threads: int
    ) -> tuple[int, float]:
        """Fill `out` with what nodes from `start` on send; returns as `kernels.dense_rows`."""
        return kernels.dense_rows(
            start, None, None, x.array, x.scale, self.weight, None, False,
            out.array, out.scale, num_threads,
        )  # fmt: skip

    def rows(
        self,
        graph: Graph,
        x: FeatureTable,
        messages: FeatureTable,
        start: int,
        out: FeatureTable,
        num_threads: int,
    ) -> tuple[int, float]:
        """Fill `out` with output rows of nodes from `start` on; returns as `kernels.layer_rows`."""
        if self.reduce == "gcn":
            received = _sums(graph, messages, start, start + out.num_rows, num_threads)
            join_own(received, graph, messages, start)
            return self.finish(x, received, start, out, num_threads)
        return kernels.layer_rows(
            graph.indptr, graph.indices, start, messages.array, messages.scale, self.norm,
            self.reduce, None if self.transforms_first else self.weight, *self._own(x), self.bias,
            self.relu, out.array, out.scale, num_threads,
        )  # fmt: skip

    def finish(
        self, x: FeatureTable, received: Array, start: int, out: FeatureTable, num_threads: int
    ) -> tuple[int, float]:
        """The same from what the edges brought, (len(out), …) float32."""
        return kernels.dense_rows(
            start, received, None if self.transforms_first else self.weight, *self._own(x),
            self.bias, self.relu, out.array, out.scale, num_threads,
        )  # fmt: skip

    def _own(self, x: FeatureTable) -> tuple[Array | None, Array | None, Array | None]:
        if self.own_weight is None:
            return None, None, None
        return x.array, x.scale, self.own_weight


def linear_layer(
    model: GNN, i: int, graph: Graph, stored: str, storage: str, norm: Array | None
) -> LinearLayer | None:
    """Layer i for the kernels; None where its convolution is of another kind.

    Args:
        model: in evaluation mode.
        i: layer, from 0.
        graph: the whole graph.
        stored: storage type of the layer's input rows.
        storage: storage type that its messages would have.
        norm: `inverse_root_degrees` of the graph, where a layer needs them.
    """
    conv, config = model.convs[i], model.config
    if config.jumping != "none" or config.norm_first or stored == SPARSE:
        return None
    plain = i < model.num_layers - 1 and isinstance(model.norms[i], nn.Identity)
    relu = plain and config.activation == "relu"
    d_in, d_out = model.widths[i], model.widths[i + 1]
    first = _pays_to_transform(graph, _row_bytes(d_in, stored), _row_bytes(d_out, storage))
    if isinstance(conv, SAGEConv) and conv.aggregator != "weighted":
        first = first and conv.aggregator != "max"
        own = None if conv.own is None else _array(conv.own.weight)
        weight = _array(conv.neighbors.weight)
        bias = _array(conv.neighbors.bias if conv.own is None else conv.own.bias)
        return LinearLayer(conv.aggregator, weight, own, bias, None, relu, first)
    if isinstance(conv, GCNConv):
        weight, bias = _array(conv.linear.weight), _array(conv.bias)
        return LinearLayer("sum", weight, None, bias, norm, relu, first)
    return None


def inverse_root_degrees(graph: Graph) -> NDArray[np.float32]:
    """(d + 1)^(-1/2) of every node, d its in-degree, (num_nodes,)."""
    norm: NDArray[np.float32] = (1.0 / np.sqrt(graph.in_degrees() + 1.0)).astype(np.float32)
    return norm


def join_own(received: Array, graph: Graph, messages: FeatureTable, start: int) -> None:
    """Make sums over neighbors into means of them and the node itself, in place.

    Args:
        received: sums of nodes from `start` on, (rows, d) float32.
        graph: the whole graph.
        messages: what every node sends.
        start: the first node.
    """
    end = start + len(received)
    counts = torch.from_numpy(np.diff(graph.indptr[start : end + 1]) + 1)
    torch.from_numpy(received).add_(messages.rows(start, end)).div_(counts[:, None])


def _sums(graph: Graph, messages: FeatureTable, start: int, end: int, num_threads: int) -> Array:
    """Sums of what the edges bring to the nodes `start … end`, (end - start, d) float32."""
    indptr = graph.indptr[start : end + 1]
    sums, _ = kernels.aggregate(
        indptr - indptr[0], graph.indices[indptr[0] : indptr[-1]], messages.array, messages.scale,
        None, None, "sum", num_threads,
    )  # fmt: skip
    return sums


def _pays_to_transform(graph: Graph, before: int, after: int) -> bool:
    """Whether products of `after` bytes, written once per node, save reading `before` per edge."""
    lines_before, lines_after = -(-before // LINE_BYTES), -(-after // LINE_BYTES)
    saved = graph.num_edges * (lines_before - lines_after)
    return saved > graph.num_nodes * lines_after * STREAMED_LINE


def _row_bytes(width: int, storage: str) -> int:
    return width * dtype_of(storage).itemsize


def _array(weight: Tensor) -> Array:
    array: Array = weight.detach().float().contiguous().numpy()
    return array
