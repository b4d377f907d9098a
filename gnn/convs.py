"""Which convolution stands where: from an architecture to the modules of its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import nn

from gnn.conv.gcn import GCNConv
from gnn.conv.lightgcn import LightGCNConv
from gnn.conv.protocol import Conv
from gnn.conv.sage import SAGEConv
from gnn.model_config import ModelConfig

__all__ = ["CONVS", "Layer", "make_convs"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One place in the stack.

    Attributes:
        i: its number, from 0.
        d_in: width of the rows that it reads.
        d_out: width that it is asked for.
        last: whether it is the last one.
    """

    i: int
    d_in: int
    d_out: int
    last: bool


CONVS: dict[str, Callable[[ModelConfig, Layer], nn.Module]] = {
    "sage": lambda config, at: SAGEConv(at.d_in, at.d_out, config.aggregator),
    "gcn": lambda config, at: GCNConv(at.d_in, at.d_out),
    "lightgcn": lambda config, at: LightGCNConv(at.d_in),
}


def make_convs(config: ModelConfig, d_in: int) -> list[Conv]:
    """The convolutions of an architecture whose first one reads rows of width `d_in`."""
    convs: list[Conv] = []
    for i in range(config.num_layers):
        last = i == config.num_layers - 1
        layer = Layer(i, d_in, config.d_last if last else config.d_hidden, last)
        convs.append(cast(Conv, CONVS[config.conv](config, layer)))
        d_in = convs[-1].d_out
    return convs
