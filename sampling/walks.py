"""Random walks: the corpus of DeepWalk and node2vec, and what importance neighborhoods count.

A walk goes from a node to one of its in-neighbors, against the direction in which messages flow:
the nodes that it visits are nodes that can send something to its start. In an undirected graph,
stored with every edge both ways, this is the usual walk. Where a walk goes depends on (seed,
start, how many walks of the same call left from that start before) and the graph, and on nothing
else: not on the other starts, their order or the number of threads.

Uniform walks are those of DeepWalk (Perozzi, Al-Rfou, Skiena 2014). Walks of second order are
node2vec's (Grover, Leskovec 2016): from t over v to x with a probability in proportion to

    1/p if x = t,    1 if t has an in-edge from x,    1/q otherwise.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.csc import Graph
from sampling.sampler import checked_seeds

__all__ = ["random_walks", "restart_threshold", "rows_are_sorted"]

ONE = 1 << 32


def random_walks(
    graph: Graph,
    starts: ArrayLike | Tensor,
    length: int,
    *,
    restart: float = 0.0,
    p: float = 1.0,
    q: float = 1.0,
    seed: int = 0,
    num_threads: int | None = None,
) -> Tensor:
    """One walk per start, (len(starts), length + 1) int64 nodes; -1 after a dead end.

    Args:
        graph: where to walk; edge weights and types are not looked at.
        starts: dense nodes, (num_walks,) integers; a node given twice is left on two walks.
        length: steps of every walk.
        restart: probability that a step goes back to the start instead, from any node, one
            without in-neighbors included.
        p: node2vec's return parameter; below 1 a walk turns back more often.
        q: node2vec's in-out parameter; below 1 a walk moves away more often.
        seed: any integer.
        num_threads: all cores when left out.

    Raises:
        InputError: a start is not a node, or a number is out of its range.

    Cost: a uniform step is two reads of memory. With p or q it is about max/min of (1/p, 1, 1/q)
        times that, and a search in the row of the node before, which is a bisection unless the
        graph has edge types or times, a scan of the row where it has.

    Example:
        >>> ring = Graph.from_edges([1, 2, 0], [0, 1, 2], num_nodes=3)
        >>> random_walks(ring, [0, 2], 4).tolist()
        [[0, 1, 2, 0, 1], [2, 0, 1, 2, 0]]
    """
    nodes = checked_seeds(starts, graph.num_nodes)
    if length < 0:
        raise InputError(f"length is {length}; a walk has no fewer than 0 steps")
    threshold, biases = restart_threshold(restart), _biases(p, q)
    threads = num_threads or kernels.default_threads()
    adjacency = (graph.indptr, graph.indices, nodes, length)
    seed &= 0xFFFFFFFFFFFFFFFF
    if p == q == 1:
        walks = kernels.random_walks(*adjacency, threshold, seed, threads)
    elif restart:
        raise InputError(f"restart is {restart} with p={p} and q={q}; walks of second order "
                         "do not restart, so leave restart at 0 or p and q at 1")  # fmt: skip
    else:
        sorted_rows = rows_are_sorted(graph)
        walks = kernels.biased_walks(*adjacency, biases, sorted_rows, seed, threads)
    return torch.from_numpy(walks)


def restart_threshold(restart: float) -> int:
    """The probability `restart` in units of 2^-32.

    Raises:
        InputError: it is not a probability.
    """
    if not 0 <= restart <= 1:
        raise InputError(f"restart is {restart}; give a probability from 0 to 1")
    return int(restart * ONE)


def rows_are_sorted(graph: Graph) -> bool:
    """Whether every row is sorted by source alone, so that an edge is found by bisection."""
    return graph.edge_type is None and graph.edge_time is None


def _biases(p: float, q: float) -> tuple[int, int, int]:
    """node2vec's biases in units of 2^-32 of the largest, none of them 0."""
    for name, value in (("p", p), ("q", q)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}; give a positive number")
    weights: NDArray[np.float64] = np.array([1 / p, 1.0, 1 / q])
    back, near, far = np.rint(weights / weights.max() * ONE).astype(np.int64).clip(1).tolist()
    return back, near, far
