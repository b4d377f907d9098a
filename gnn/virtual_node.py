"""A virtual node: one more node per graph that hears from all of its nodes and speaks to all.

    h_v ← h_v + s_G                    before layer i, for every node v of graph G
    s_G ← ReLU(MLP(Σ_v h_v + s_G))     for layer i + 1, from the rows that layer i reads

Gilmer, Schoenholz, Riley, Vinyals, Dahl: Neural Message Passing for Quantum Chemistry, 2017; in the
form of Hu et al.: Open Graph Benchmark, 2020, with dropout on what the perceptron gives. It carries
news across a graph in one step, where a layer carries it over one edge. The state starts equal for
all graphs, as learned zeros, and a sum does not look at the order of nodes: graphs side by side
get the answers that each gets alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.conv.mlp import MLP
from gnn.dropout import dropout
from gnn.readout import SumReadout

__all__ = ["VirtualNode"]


class VirtualNode(nn.Module):
    """The state of every graph, from layer to layer.

    Args:
        widths: of the rows that every layer reads, (num_layers,).
        norm: normalization inside of the perceptrons, over the graphs of a batch: "batch" or
            "none".
        dropped: share of a new state that is dropped in training.
    """

    def __init__(self, widths: Sequence[int], norm: str, dropped: float) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(widths[0]))
        self.updates = nn.ModuleList(MLP(a, 2 * b, b, norm) for a, b in pairwise(widths))
        self.sums = SumReadout(widths[0])
        self.dropped = dropped

    def start(self, num_graphs: int) -> Tensor:
        """The state of all graphs before the first layer, (num_graphs, widths[0])."""
        return self.first.expand(num_graphs, -1)

    def forward(self, i: int, x: Tensor, offsets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """What layer i reads, and the state for the layer after it.

        Args:
            i: layer, from 0.
            x: rows of the nodes, (n, widths[i]).
            offsets: first node of every graph and, last, n, (num_graphs + 1,).
            state: of every graph, (num_graphs, widths[i]).
        """
        x = x.to(state.dtype) + torch.repeat_interleave(state, offsets[1:] - offsets[:-1], dim=0)
        if i == len(self.updates):
            return x, state
        found = F.relu(self.updates[i](self.sums(x, offsets) + state))
        return x, dropout(found, self.dropped) if self.training else found
