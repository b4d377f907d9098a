"""Encoding a whole graph in one step of training, for losses over many pairs of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.device import on_device_of
from gnn.edges import picked
from gnn.evaluate import EXACT_EDGES
from gnn.model import GNN
from gnn.train_config import TrainConfig
from gnn.transfer import Mover
from sampling import Block, Dataset, Graph, NeighborSampler, without_edges
from sampling.errors import InputError
from sampling.exclusion import EdgePlaces, keep_edges
from sampling.kernels.reference import GOLDEN, MASK, mix

__all__ = ["NodeRows", "WholeGraph", "fanouts_of", "step_seed"]

ALL = -1
Ints = NDArray[np.int64]
Pairs = tuple[Ints, Ints]


@dataclass(frozen=True, slots=True)
class NodeRows:
    """Embeddings of the nodes that a step reads, every one picked once.

    A pick costs a gradient of the size of all rows; losses pick their rows many times, so they do
    it among the few that the step reads.

    Attributes:
        h: (len(nodes), d_embedding).
        nodes: ascending; None where all nodes are there.
    """

    h: Tensor
    nodes: Ints | None

    def of(self, nodes: Ints) -> Tensor:
        """Rows of nodes, each of them one that is there, (len(nodes), d_embedding)."""
        places = nodes if self.nodes is None else np.searchsorted(self.nodes, nodes)
        return picked(self.h, on_device_of(self.h, places))

    def between(self, start: int, end: int) -> Tensor:
        """Rows of the nodes `start … end`, all nodes being there, (end - start, d_embedding)."""
        assert self.nodes is None, "the caller asked for all nodes"
        return self.h[start:end]


@dataclass(slots=True)
class WholeGraph:
    """All nodes of a graph, through a model that is trained.

    Args:
        model: what encodes.
        data: the graph of messages with input rows.
        sampler: neighbors per layer; all of them need no drawing.
    """

    model: GNN
    data: Dataset
    sampler: NeighborSampler
    _blocks: tuple[Block, ...] = field(default=())
    _places: EdgePlaces | None = field(default=None)
    _x: Tensor | None = field(default=None)
    _mover: Mover = field(init=False)

    def __post_init__(self) -> None:
        self._mover = Mover(self.model.device)

    @staticmethod
    def fits(graph: Graph, fanouts: tuple[int, ...]) -> bool:
        """Whether a step over the whole graph is cheap."""
        widest = graph.num_edges if ALL in fanouts else graph.num_nodes * max(fanouts)
        return min(widest, graph.num_edges) <= EXACT_EDGES and graph.num_nodes <= EXACT_EDGES

    def encode(
        self, seed: int, hidden: Pairs | None = None, x: Tensor | None = None
    ) -> tuple[Tensor, int]:
        """Embeddings of all nodes, (num_nodes, d_embedding), and how many edges were walked.

        Args:
            seed: randomness of the neighbors, where any are drawn.
            hidden: edges that are no messages in this step: sources, destinations.
            x: input rows in place of the graph's own.
        """
        blocks = self.blocks(seed)
        if hidden is not None:
            blocks = self._without(blocks, hidden)
        edges = sum(block.num_edges for block in blocks)
        x = self._inputs() if x is None else self._mover(x)
        return self.model.encode(self._mover(blocks), x), edges

    def _inputs(self) -> Tensor:
        """The graph's own rows where the model is; kept there, if that is not the CPU."""
        assert self.data.features is not None, "with_inputs sees to it"
        if self._x is None:
            x = self._mover(self.data.features.rows(0, self.data.graph.num_nodes))
            if x.device.type == "cpu":
                return x
            self._x = x
        return self._x

    def rows(
        self, seed: int, hidden: Pairs | None, read: Sequence[Ints] | None
    ) -> tuple[NodeRows, int]:
        """Embeddings of the nodes that are read, and how many edges were walked.

        Args:
            seed: randomness of the neighbors, where any are drawn.
            hidden: edges that are no messages in this step.
            read: nodes that are read, in any order, repeats allowed; None for all.
        """
        if read is None or sum(map(len, read)) >= self.data.graph.num_nodes:
            h, walked = self.encode(seed, hidden)
            return NodeRows(h, None), walked
        nodes = np.unique(np.concatenate(list(read)))
        if self.model.config.conv == "identity":
            return NodeRows(self._unheard(torch.from_numpy(nodes)), nodes), 0
        h, walked = self.encode(seed, hidden)
        return NodeRows(picked(h, on_device_of(h, nodes)), nodes), walked

    def _unheard(self, nodes: Tensor) -> Tensor:
        """Embeddings of some nodes through layers that hear nothing of others."""
        assert self.data.features is not None, "with_inputs sees to it"
        empty = torch.zeros(len(nodes) + 1, dtype=torch.int64)
        whole = self.data.graph.block(0, 0)
        block = replace(whole, src_nodes=nodes, indptr=empty)
        block, x = self._mover((block, self.data.features.gather(nodes)))
        return self.model.encode([block] * self.model.num_layers, x)

    def _without(self, blocks: tuple[Block, ...], hidden: Pairs) -> tuple[Block, ...]:
        """The hops without these edges; a whole graph is searched, drawn neighbors are compared."""
        if self._draws:
            return tuple(without_edges(block, *hidden) for block in blocks)
        if self._places is None:
            self._places = EdgePlaces(blocks[0])
        return (keep_edges(blocks[0], self._places.absent(*hidden)),) * len(blocks)

    @property
    def _draws(self) -> bool:
        return any(fanout != ALL for fanout in self.sampler.fanouts)

    def blocks(self, seed: int) -> tuple[Block, ...]:
        """One per layer, over all nodes."""
        if self._draws:
            return self.sampler.sample(torch.arange(self.data.graph.num_nodes), seed)
        if not self._blocks:
            self._blocks = (self.data.graph.block(),) * self.model.num_layers
        return self._blocks


def fanouts_of(model: GNN, config: TrainConfig) -> tuple[int, ...]:
    """Neighbors per layer, all where nothing is said.

    Raises:
        InputError: there are more or fewer than layers.
    """
    fanouts = config.fanouts or (ALL,) * model.num_layers
    if len(fanouts) != model.num_layers:
        raise InputError(
            f"fanouts are {list(fanouts)}; give one for each of the {model.num_layers} layers"
        )
    return fanouts


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Randomness of one step, for any number of steps per epoch."""
    return mix((mix((seed + GOLDEN * (epoch + 1)) & MASK) + GOLDEN * (step + 1)) & MASK)
