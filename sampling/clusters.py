"""Clusters of nodes, and mini-batches made of a few of them.

Cluster-GCN (Chiang et al.: Cluster-GCN: An Efficient Algorithm for Training Deep and Large Graph
Convolutional Networks, 2019) trains on the subgraph that some clusters induce: with few edges
between clusters, few messages are lost. A new draw of clusters each epoch brings the edges
between them in turn.

The clusters come from a multilevel scheme around size-constrained label propagation (Meyerhenke,
Sanders, Schulz: Partitioning Complex Networks via Size-Constrained Clustering, 2014): small
clusters are contracted to nodes until the graph is small, its nodes are divided into parts, and
the parts are refined on the way back. It looks along in-neighbors, so a graph is meant to be
stored with every edge both ways.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.csc import Graph
from sampling.subgraphs import Subgraph, induced_block

__all__ = ["ClusterLoader", "cluster_nodes", "edge_cut"]

MASK = 0xFFFFFFFFFFFFFFFF
ROUNDS = 5
COARSE_NODES = 16  # per cluster, where contracting stops


def cluster_nodes(
    graph: Graph, num_clusters: int, *, slack: float = 0.1, seed: int = 0
) -> NDArray[np.int64]:
    """A cluster 0 … num_clusters - 1 for every node, (num_nodes,), with few edges in between.

    The same graph and seed give the same clusters, and none holds more than
    ceil((1 + slack) · num_nodes / num_clusters) nodes.

    Args:
        graph: what to divide.
        num_clusters: how many; some may stay empty.
        slack: how much larger than the average a cluster may be.
        seed: any integer.

    Raises:
        InputError: there are fewer nodes than clusters, or a number is out of its range.

    Cost: a few passes over the edges in one thread, and memory for a second copy of them.

    Example:
        >>> pairs = Graph.from_edges([1, 0, 3, 2], [0, 1, 2, 3])
        >>> labels = cluster_nodes(pairs, 2, slack=0)
        >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
        True
    """
    if not 1 <= num_clusters <= graph.num_nodes:
        raise InputError(f"num_clusters is {num_clusters}; give a number from 1 to the "
                         f"{graph.num_nodes} nodes of the graph")  # fmt: skip
    if not slack >= 0:
        raise InputError(f"slack is {slack}; it must be at least 0")
    average = graph.num_nodes / num_clusters
    least, most = math.floor((1 - slack) * average), math.ceil((1 + slack) * average)
    rng = np.random.default_rng(seed & MASK)
    return _divide(_Level.of(graph), _Limits(num_clusters, least, most), rng)


def edge_cut(graph: Graph, labels: NDArray[np.int64]) -> float:
    """The fraction of edges whose ends have different labels.

    Raises:
        InputError: `labels` is not one non-negative integer per node.
    """
    _check_labels(graph, labels)
    across = labels[graph.indices] != np.repeat(labels, graph.in_degrees())
    return float(across.mean()) if len(across) else 0.0


class _Limits(NamedTuple):
    """How many labels there are, and the weights that one may not fall below or exceed."""

    num_labels: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class _Level:
    """A graph whose nodes stand for several; parallel edges stand for their number."""

    indptr: NDArray[np.int64]
    indices: NDArray[Any]
    weights: NDArray[np.int64]

    @classmethod
    def of(cls, graph: Graph) -> _Level:
        return cls(graph.indptr, graph.indices, np.ones(graph.num_nodes, np.int64))

    def propagate(
        self, labels: NDArray[np.int64], limits: _Limits, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Labels after some rounds over all nodes in random order, each round in another."""
        for _ in range(ROUNDS):
            order = rng.permutation(len(self.weights))
            labels = self.visit(labels, order, limits, rng)
        return labels

    def visit(
        self,
        labels: NDArray[np.int64],
        order: NDArray[np.int64],
        limits: _Limits,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Labels after one round in this order."""
        seed = int(rng.integers(0, MASK, dtype=np.uint64))
        return kernels.propagate_labels(
            self.indptr, self.indices, self.weights, labels, order, *limits, seed
        )

    def contract(self, labels: NDArray[np.int64]) -> tuple[_Level, NDArray[np.int64]]:
        """Every label as one node, and the node that each node became."""
        _, inverse = np.unique(labels, return_inverse=True)
        became = inverse.astype(self.indices.dtype)
        src, dst = became[self.indices], np.repeat(became, np.diff(self.indptr))
        kept, size = src != dst, int(became.max()) + 1
        indptr, indices = kernels.build_csc(src[kept], dst[kept], size, kernels.default_threads())
        weights = np.bincount(inverse, self.weights, minlength=size).astype(np.int64)
        return _Level(indptr, indices, weights), inverse


def _divide(level: _Level, limits: _Limits, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels of a level, from those of its contraction while that is smaller."""
    size, num_labels = len(level.weights), limits.num_labels
    if size > num_labels:
        # Large pieces fit together badly, so they are made of small ones that belong together.
        average = -(-int(level.weights.sum()) // num_labels)
        bound = limits.most if size <= COARSE_NODES * num_labels else max(average // 4, 1)
        pieces = level.propagate(np.arange(size), _Limits(size, 0, bound), rng)
        coarse, became = level.contract(pieces)
        if len(coarse.weights) < 0.95 * size:
            return level.propagate(_divide(coarse, limits, rng)[became], limits, rng)
    heaviest = np.argsort(-level.weights, kind="stable")
    labels = np.full(size, -1)
    labels[heaviest[:num_labels]] = np.arange(min(num_labels, size))
    labels = level.visit(labels, heaviest[num_labels:], limits, rng)
    return level.propagate(labels, limits, rng)


class ClusterLoader:
    """Passes over all clusters in batches of a few, each as the subgraph that they induce.

    Each pass is one epoch with its own draw of clusters, keyed by (seed, epoch).

    Args:
        graph: the graph.
        labels: cluster of every node, as `cluster_nodes` gives it.
        num_layers: number of Blocks of a batch.
        clusters_per_batch: how many clusters make one batch; the last may have fewer.
        seed: any integer.
        num_threads: all cores when left out.

    Raises:
        InputError: `labels` is not one non-negative integer per node, or a count is below 1.
    """

    def __init__(
        self,
        graph: Graph,
        labels: NDArray[np.int64],
        num_layers: int,
        clusters_per_batch: int = 1,
        *,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        for name, count in (("num_layers", num_layers), ("clusters_per_batch", clusters_per_batch)):
            if count < 1:
                raise InputError(f"{name} is {count}; it must be at least 1")
        _check_labels(graph, labels)
        self.graph, self.num_layers = graph, num_layers
        self.clusters_per_batch, self.seed, self.num_threads = clusters_per_batch, seed, num_threads
        self._members = np.argsort(labels, kind="stable")
        self._ends = np.cumsum(np.bincount(labels))
        self._clusters = np.flatnonzero(np.bincount(labels))
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self._clusters) // self.clusters_per_batch)

    def __iter__(self) -> Iterator[Subgraph]:
        rng = np.random.default_rng((self.seed & MASK, self.epoch))
        self.epoch += 1
        order = rng.permutation(self._clusters)
        for start in range(0, len(order), self.clusters_per_batch):
            yield self.batch(order[start : start + self.clusters_per_batch])

    def batch(self, clusters: NDArray[np.int64]) -> Subgraph:
        """The subgraph that these clusters induce, its nodes in ascending order."""
        starts = np.concatenate([[0], self._ends])
        members = [self._members[starts[c] : starts[c + 1]] for c in clusters]
        nodes = np.sort(np.concatenate(members))
        block = induced_block(self.graph, nodes, num_threads=self.num_threads)
        return Subgraph(block.src_nodes, (block,) * self.num_layers)


def _check_labels(graph: Graph, labels: NDArray[np.int64]) -> None:
    counts = labels.dtype.kind in "iu" and labels.min(initial=0) >= 0
    if labels.shape != (graph.num_nodes,) or not counts:
        raise InputError(f"labels are {labels.dtype} {labels.shape}; give one cluster from 0 "
                         f"on for each of the {graph.num_nodes} nodes")  # fmt: skip
