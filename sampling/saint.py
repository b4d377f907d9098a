"""GraphSAINT (Zeng et al.: GraphSAINT: Graph Sampling Based Inductive Learning Method, 2020).

A mini-batch is an induced subgraph, on which a full model runs. Nodes and edges are in it with
unequal probabilities, which two normalizations undo. With C_v and C_uv the number of N subgraphs,
drawn beforehand, that hold node v and edge u → v:

    message of u → v times    A_uv / α_uv,    α_uv = C_uv / C_v     (A_uv = 1 / in-degree of v)
    loss of v divided by      λ_v = |V| · C_v / N

so that the weighted sum of messages estimates the mean over the full neighborhood, and the
weighted sum of losses the mean loss over all nodes. As in the paper, the graph is meant to be
stored with every edge both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.csc import Graph
from sampling.subgraphs import Subgraph, induced_block
from sampling.walks import random_walks

__all__ = ["SAINTSampler"]

MASK = 0xFFFFFFFFFFFFFFFF
BEFOREHAND, TRAINING = 0, 1
Draw = Callable[[np.random.Generator], NDArray[np.int64]]


class SAINTSampler:
    """Draws subgraphs by number; subgraph i depends on (seed, i) and the graph alone.

    Args:
        graph: the graph.
        num_layers: number of Blocks.
        method: what is drawn, the subgraph being what is between the nodes met:
            "node": `budget` nodes, P(u) ∝ Σ { 1 / deg(v)² : u → v };
            "edge": `budget` edges, P(u → v) ∝ 1 / deg(u) + 1 / deg(v);
            "walk": `budget` uniform roots, and a uniform walk of `walk_length` steps from each.
            All with replacement. "node" never draws a node without out-edges, nor "edge" one
            without edges.
        budget: how many are drawn.
        walk_length: steps of a walk.
        coverage: subgraphs are drawn beforehand until they hold this many times as many nodes as
            the graph has. More make better normalization and take longer.
        seed: any integer.
        num_threads: all cores when left out.

    Raises:
        InputError: an argument is out of its range, or the graph has no edges to draw from.

    Example:
        >>> ring = Graph.from_edges([1, 2, 0], [0, 1, 2], num_nodes=3)
        >>> batch = SAINTSampler(ring, num_layers=2, method="walk", budget=1).sample(0)
        >>> batch.nodes.tolist(), batch.blocks[0].num_edges, batch.node_weight.tolist()
        ([0, 1, 2], 3, [0.3333333432674408, 0.3333333432674408, 0.3333333432674408])
    """

    def __init__(
        self,
        graph: Graph,
        num_layers: int,
        method: str,
        budget: int,
        *,
        walk_length: int = 2,
        coverage: float = 50,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        counts = {"num_layers": num_layers, "budget": budget, "walk_length": walk_length}
        for name, count in counts.items():
            if count < 1:
                raise InputError(f"{name} is {count}; it must be at least 1")
        if not coverage > 0:
            raise InputError(f"coverage is {coverage}; it must be above 0")
        if method not in DRAWS:
            raise InputError(f"method is {method!r}; choose one of {', '.join(DRAWS)}")
        if graph.num_edges == 0:
            raise InputError("the graph has no edges; GraphSAINT needs some to draw from")
        self.graph, self.num_layers = graph, num_layers
        self.seed, self.num_threads = seed & MASK, num_threads
        self._draw = DRAWS[method](graph, budget, walk_length)
        self.num_counted, self.node_counts, self.edge_counts = self._count(coverage)

    def sample(self, number: int) -> Subgraph:
        """Subgraph `number`; another number is another independent draw."""
        nodes, block = self._subgraph(TRAINING, number)
        blocks = (replace(block, edge_weight=self._edge_weight(nodes, block)),) * self.num_layers
        counts = np.maximum(self.node_counts[nodes], 1)
        weight = self.num_counted / (counts * float(self.graph.num_nodes))
        return Subgraph(block.src_nodes, blocks, torch.from_numpy(weight.astype(np.float32)))

    def _subgraph(self, purpose: int, number: int) -> tuple[NDArray[np.int64], Block]:
        nodes = np.unique(self._draw(np.random.default_rng((self.seed, purpose, number)))).astype(
            np.int64
        )
        return nodes, induced_block(self.graph, nodes, num_threads=self.num_threads)

    def _count(self, coverage: float) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """How many subgraphs were drawn, and how many of them hold each node and each edge."""
        node_counts = np.zeros(self.graph.num_nodes, np.int64)
        edge_counts = np.zeros(self.graph.num_edges, np.int64)
        drawn = number = 0
        while drawn < coverage * self.graph.num_nodes:
            nodes, block = self._subgraph(BEFOREHAND, number)
            assert block.edge_ids is not None
            node_counts[nodes] += 1
            edge_counts[block.edge_ids.numpy()] += 1
            drawn, number = drawn + len(nodes), number + 1
        return number, node_counts, edge_counts

    def _edge_weight(self, nodes: NDArray[np.int64], block: Block) -> Tensor:
        """A_uv / α_uv of every edge, times its own weight where the graph has weights.

        An edge that was in none of the subgraphs drawn beforehand counts as if it was in one.
        """
        assert block.edge_ids is not None
        dst = np.repeat(nodes, block.in_degrees().numpy())
        edge_counts = np.maximum(self.edge_counts[block.edge_ids.numpy()], 1)
        degrees = self.graph.indptr[dst + 1] - self.graph.indptr[dst]
        weight = np.maximum(self.node_counts[dst], 1) / (edge_counts * degrees)
        out = torch.from_numpy(weight.astype(np.float32))
        return out if block.edge_weight is None else out * block.edge_weight


def _node_draws(graph: Graph, budget: int, walk_length: int) -> Draw:
    degrees = graph.in_degrees()
    by_edge = np.repeat(1.0 / np.maximum(degrees, 1) ** 2, degrees)
    until = np.cumsum(np.bincount(graph.indices, by_edge, minlength=graph.num_nodes))
    return lambda rng: _weighted(rng, until, budget)


def _edge_draws(graph: Graph, budget: int, walk_length: int) -> Draw:
    degrees = graph.in_degrees()
    inverse = 1.0 / np.maximum(degrees, 1)
    until = np.cumsum(inverse[graph.indices] + np.repeat(inverse, degrees))

    def draw(rng: np.random.Generator) -> NDArray[np.int64]:
        edges = _weighted(rng, until, budget)
        dst = np.searchsorted(graph.indptr, edges, side="right") - 1
        return np.concatenate([graph.indices[edges], dst])

    return draw


def _walk_draws(graph: Graph, budget: int, walk_length: int) -> Draw:
    def draw(rng: np.random.Generator) -> NDArray[np.int64]:
        roots = rng.integers(0, graph.num_nodes, budget)
        seed = int(rng.integers(0, MASK, dtype=np.uint64))
        walks = random_walks(graph, roots, walk_length, seed=seed).numpy()
        visited: NDArray[np.int64] = walks[walks >= 0]
        return visited

    return draw


def _weighted(rng: np.random.Generator, until: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Places drawn with replacement, in proportion to the steps of the running sum `until`."""
    places: NDArray[np.int64] = np.searchsorted(until, rng.random(size) * until[-1], "right")
    return places.clip(max=len(until) - 1)  # a product may round up to the whole sum


DRAWS: dict[str, Callable[[Graph, int, int], Draw]] = {
    "node": _node_draws,
    "edge": _edge_draws,
    "walk": _walk_draws,
}
