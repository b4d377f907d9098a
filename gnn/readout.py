"""Readouts: one row per graph from the rows of its nodes, whatever their order.

    h_G = Σ h_v,  mean h_v,  max h_v
    h_G = Σ_v softmax_v(a(h_v)) · W h_v                       attention (after Li et al. 2016)
    q_t = LSTM([q_{t-1}, r_{t-1}]),  r_t = Σ_v softmax_v(h_v · q_t) h_v,  h_G = [q_T, r_T]
                                                              Set2Set (Vinyals et al. 2016)

Li, Tarlow, Brockschmidt, Zemel: Gated Graph Sequence Neural Networks, 2016 (its gate is a sigmoid;
a softmax keeps the size of a graph out of the scale of its row). Vinyals, Bengio, Kudlur: Order
Matters: Sequence to Sequence for Sets, 2016. A batch is read as a Block whose destinations are the
graphs and whose sources are the nodes, so the kernels of convolutions do the sums. Graphs without
nodes give zeros.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gnn.aggregate import aggregate
from gnn.attention import attention
from sampling import Block
from sampling.errors import InputError

__all__ = [
    "READOUTS",
    "AttentionReadout",
    "MaxReadout",
    "MeanReadout",
    "Set2Set",
    "SumReadout",
    "build_readout",
    "readout_block",
]


def readout_block(h: Tensor, graph_indptr: Tensor) -> Block:
    """The nodes of a batch as sources and its graphs as destinations.

    Args:
        h: rows of the nodes, (n, d).
        graph_indptr: first node of every graph and, last, n, (num_graphs + 1,) int64.

    Raises:
        InputError: the offsets do not span the rows.
    """
    if h.ndim != 2 or int(graph_indptr[-1]) != len(h) or int(graph_indptr[0]):
        raise InputError(f"h has shape {tuple(h.shape)} and graph_indptr spans "
                         f"{int(graph_indptr[-1])} nodes; give one row per node")  # fmt: skip
    nodes = torch.arange(len(h), device=h.device)
    return Block(nodes, graph_indptr, nodes.to(torch.int32))


class _Reduction(nn.Module):
    """A readout without weights."""

    reduce = ""

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.d_out = d_in

    def forward(self, h: Tensor, graph_indptr: Tensor) -> Tensor:
        """One row per graph, (num_graphs, d_out)."""
        return aggregate(readout_block(h, graph_indptr), h, self.reduce)


class SumReadout(_Reduction):
    """The sum over the nodes: tells graphs of different sizes apart.

    Args:
        d_in: width of the nodes' rows.
    """

    reduce = "sum"


class MeanReadout(_Reduction):
    """The mean over the nodes.

    Args:
        d_in: width of the nodes' rows.
    """

    reduce = "mean"


class MaxReadout(_Reduction):
    """The largest value of every column.

    Args:
        d_in: width of the nodes' rows.
    """

    reduce = "max"


class AttentionReadout(nn.Module):
    """A mean of transformed rows, weighted by a learned gate.

    Args:
        d_in: width of the nodes' rows.
        d_out: width of the graphs' rows; `d_in` when left out.
    """

    def __init__(self, d_in: int, d_out: int | None = None) -> None:
        super().__init__()
        self.d_out = d_in if d_out is None else d_out
        self.gate = nn.Sequential(nn.Linear(d_in, d_in), nn.ReLU(), nn.Linear(d_in, 1))
        self.value = nn.Linear(d_in, self.d_out)

    def forward(self, h: Tensor, graph_indptr: Tensor) -> Tensor:
        """One row per graph, (num_graphs, d_out)."""
        h = h.to(self.value.weight.dtype)
        return attention(readout_block(h, graph_indptr), self.value(h), self.gate(h))


class Set2Set(nn.Module):
    """Some rounds of attention over the nodes, each asked by what the rounds before found.

    Args:
        d_in: width of the nodes' rows.
        num_steps: rounds.
    """

    def __init__(self, d_in: int, num_steps: int = 3) -> None:
        super().__init__()
        self.d_in, self.d_out, self.num_steps = d_in, 2 * d_in, num_steps
        self.lstm = nn.LSTMCell(2 * d_in, d_in)

    def forward(self, h: Tensor, graph_indptr: Tensor) -> Tensor:
        """One row per graph, (num_graphs, 2 * d_in)."""
        h = h.to(self.lstm.weight_ih.dtype)
        block = readout_block(h, graph_indptr)
        sizes = block.in_degrees()
        found = h.new_zeros(block.num_dst, self.d_out)
        query = memory = h.new_zeros(block.num_dst, self.d_in)
        for _ in range(self.num_steps):
            query, memory = self.lstm(found, (query, memory))
            scores = (h * torch.repeat_interleave(query, sizes, dim=0)).sum(dim=1, keepdim=True)
            found = torch.cat([query, attention(block, h, scores).to(h.dtype)], dim=1)
        return found * (sizes > 0).to(h.dtype)[:, None]


READOUTS: dict[str, Callable[[int], nn.Module]] = {
    "attention": AttentionReadout,
    "max": MaxReadout,
    "mean": MeanReadout,
    "set2set": Set2Set,
    "sum": SumReadout,
}
"""Name → readout; each is made from the width of the nodes' rows and has `d_out`."""


def build_readout(name: str, d_in: int) -> nn.Module:
    """The readout of this name for rows of this width.

    Raises:
        InputError: there is none of this name.
    """
    if name not in READOUTS:
        raise InputError(f"readout {name!r} is unknown; choose one of {', '.join(READOUTS)}")
    return READOUTS[name](d_in)
