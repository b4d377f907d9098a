"""Importance neighborhoods after PinSAGE (Ying et al.: Graph Convolutional Neural Networks for
Web-Scale Recommender Systems, 2018).

The neighbors of a node are not those that it has an edge with, but the ones that short random
walks with restarts visit most often, weighted by how often:

    w_uv = visits of u by the walks from v / visits of all kept neighbors of v

Far but well connected nodes come in, and a hub's neighborhood stays as small as any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.csc import Graph, as_tensor
from sampling.kernels.reference import GOLDEN, MASK, mix
from sampling.sampler import checked_seeds
from sampling.walks import restart_threshold

__all__ = ["PinSAGESampler"]


class PinSAGESampler:
    """Takes the most visited nodes of random walks as neighbors, in every layer.

    Walks go along in-neighbors (see `random_walks`). A node is not its own neighbor; one whose
    walks meet nobody has none. Which neighbors a node has depends on (seed, layer, node) and the
    graph alone.

    Args:
        graph: where to walk.
        num_layers: number of Blocks.
        num_neighbors: most neighbors per node and layer; equally visited ones by node.
        num_walks: walks per node and layer.
        walk_length: steps of a walk.
        restart: probability that a step goes back to the node.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: a count is below 1, or `restart` is not a probability.

    Example:
        >>> graph = Graph.from_edges([1, 2, 2], [0, 0, 1], num_nodes=3)
        >>> [block] = PinSAGESampler(graph, 1, 2, num_walks=50, walk_length=2).sample([0])
        >>> sorted(block.src_nodes[block.indices].tolist()), float(block.edge_weight.sum())
        ([1, 2], 1.0)
    """

    def __init__(
        self,
        graph: Graph,
        num_layers: int,
        num_neighbors: int,
        num_walks: int = 200,
        walk_length: int = 3,
        restart: float = 0.5,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        counts = {"num_layers": num_layers, "num_neighbors": num_neighbors,
                  "num_walks": num_walks, "walk_length": walk_length}  # fmt: skip
        for name, count in counts.items():
            if count < 1:
                raise InputError(f"{name} is {count}; it must be at least 1")
        self.graph, self.num_layers, self.num_neighbors = graph, num_layers, num_neighbors
        self.num_walks, self.walk_length = num_walks, walk_length
        self.threshold = restart_threshold(restart)
        self.seed = seed
        self.num_threads = num_threads or kernels.default_threads()

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]:
        """Blocks for these seeds, as `NeighborSampler.sample` gives them.

        Their `edge_weight` holds the importance of every neighbor; each row sums to 1. Edges are
        not edges of the graph, so `edge_ids` and the graph's own edge data are left out.
        """
        nodes = checked_seeds(seeds, self.graph.num_nodes)
        blocks = []
        for layer in reversed(range(self.num_layers)):
            key = mix(((self.seed if seed is None else seed) + GOLDEN * (layer + 1)) & MASK)
            block, nodes = self._hop(nodes, key)
            blocks.append(block)
        return tuple(reversed(blocks))

    def _hop(self, nodes: NDArray[np.int64], key: int) -> tuple[Block, NDArray[np.int64]]:
        offsets, neighbors, visits = kernels.important_neighbors(
            self.graph.indptr,
            self.graph.indices,
            nodes,
            self.num_walks,
            self.walk_length,
            self.threshold,
            self.num_neighbors,
            key,
            self.num_threads,
        )
        src_nodes, local = kernels.relabel(kernels.Workspace(), nodes, neighbors)
        block = Block(
            src_nodes=torch.from_numpy(src_nodes),
            indptr=torch.from_numpy(offsets),
            indices=torch.from_numpy(local),
            graph_indptr=as_tensor(self.graph.indptr),
            edge_weight=torch.from_numpy(_shares(offsets, visits)),
            type_starts=self.graph.type_starts,
        )
        return block, src_nodes


def _shares(offsets: NDArray[np.int64], visits: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each row of visits divided by its sum, (num_edges,)."""
    until = np.concatenate([[0], np.cumsum(visits)])
    totals = until[offsets[1:]] - until[offsets[:-1]]
    shares: NDArray[Any] = visits / np.repeat(totals, np.diff(offsets))
    return shares.astype(np.float32)
