"""Layers of PyG, of DGL and of plain torch as convolutions of this library.

What travels along the edges are the input rows; the wrapped module does the rest. It sees every
hop with the destinations first among the sources, as a sampled block has them, also where the hop
is a tile of a whole graph, so layers that add self edges by position find the right rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnn.bridges.dgl import to_dgl_blocks
from gnn.edges import destinations, picked
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["DGLConv", "EdgeData", "PyGConv", "destinations_first"]

EdgeData = Literal["features", "weight", "type", "time"]


def destinations_first(block: Block, rows: Tensor) -> tuple[Block, Tensor]:
    """The hop and its sources' rows, with the destinations as the first sources.

    Sources that no edge leaves from are left out where a hop has many of them, as a tile has.

    Args:
        block: any hop that lists its edges.
        rows: (num_src, d).
    """
    if block.dst_offset == 0 and block.num_src <= block.num_dst + block.num_edges:
        return block, rows
    first, end = block.dst_offset, block.dst_offset + block.num_dst
    indices = block.indices.long()
    own = (indices >= first) & (indices < end)
    others = torch.unique(indices[~own])
    places = block.num_dst + torch.searchsorted(others, indices)
    sources = torch.cat([torch.arange(first, end), others])
    hop = replace(
        block,
        src_nodes=block.src_nodes[sources],
        indices=torch.where(own, indices - first, places),
        dst_offset=0,
    )
    return hop, picked(rows, sources)


class WrappedConv(nn.Module, ABC):
    """A module that reads source and destination rows, as a convolution.

    Args:
        module: the layer; its weights are trained and saved.
        d_out: width of its rows.
        reads: argument of the module to what it is given of the edges: "features", "weight",
            "type" or "time", in the order of the edges.
        activates: normalization, nonlinearity and residual of the model follow it between layers;
            False for a module that has its own.
    """

    sends_input = True
    linear_reduction = None

    def __init__(
        self,
        module: nn.Module,
        d_out: int,
        *,
        reads: Mapping[str, EdgeData] | None = None,
        activates: bool = True,
    ) -> None:
        super().__init__()
        self.module, self.d_out = module, d_out
        self.reads, self.activates = dict(reads or {}), activates

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """The input rows, unchanged, (rows, d_in)."""
        return x

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and those of all sources, (num_dst, d_out).

        Raises:
            InputError: the edges have not what the module reads.
        """
        hop, rows = destinations_first(block, messages)
        dtype = next((p.dtype for p in self.parameters()), torch.float32)
        given = {name: _edge_data(hop, kind, dtype) for name, kind in self.reads.items()}
        out = self.run(hop, rows.to(dtype), x_dst.to(dtype), given)
        return out.flatten(1) if isinstance(out, Tensor) and out.ndim > 2 else out

    @abstractmethod
    def run(self, hop: Block, x_src: Tensor, x_dst: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Call the module as its library does."""

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)


class PyGConv(WrappedConv):
    """A bipartite layer of `torch_geometric.nn`, or any module that is called as they are.

    `module((x_src, x_dst), edge_index, …)` gives (num_dst, d_out); `edge_index` holds positions of
    sources and of destinations.

    Example:
        >>> class Sum(nn.Module):
        ...     def forward(self, x, edge_index):
        ...         return x[1].index_add(0, edge_index[1], x[0][edge_index[0]])
        >>> block = Block(torch.arange(2), torch.tensor([0, 1, 1]), torch.tensor([1]))
        >>> PyGConv(Sum(), 1)(block, torch.tensor([[1.0], [2.0]])).tolist()
        [[3.0], [2.0]]
    """

    def run(self, hop: Block, x_src: Tensor, x_dst: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Call the module as PyG does."""
        edge_index = torch.stack([hop.indices.long(), destinations(hop)])
        out: Tensor = self.module((x_src, x_dst), edge_index, **given)
        return out


class DGLConv(WrappedConv):
    """A layer of `dgl.nn`, called with a DGL block: `module(block, (x_src, x_dst), …)`.

    Attention heads, (num_dst, heads, d), come out side by side, so `d_out` is heads times d.
    """

    def run(self, hop: Block, x_src: Tensor, x_dst: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Call the module as DGL does."""
        [block] = to_dgl_blocks([hop])
        out: Tensor = self.module(block, (x_src, x_dst), **given)
        return out


def _edge_data(block: Block, kind: str, dtype: torch.dtype) -> Tensor:
    found: dict[str, Any] = {
        "features": block.edge_features,
        "weight": block.edge_weight,
        "type": block.edge_type,
        "time": block.edge_time,
    }
    if kind not in found:
        raise InputError(f"reads names {kind!r}; choose one of {', '.join(found)}")
    if found[kind] is None:
        raise InputError(f"the convolution reads the {kind} of edges, and the edges here have none")
    data: Tensor = found[kind]
    return data.long() if kind in ("type", "time") else data.to(dtype)
