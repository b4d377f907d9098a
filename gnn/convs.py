"""Which convolution stands where: from an architecture to the modules of its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from gnn.brought import factory_of
from gnn.conv.appnp import APPNPConv
from gnn.conv.egnn import EGNNConv
from gnn.conv.gat import GATConv
from gnn.conv.gatv2 import GATv2Conv
from gnn.conv.gcn import GCNConv
from gnn.conv.gin import GINConv
from gnn.conv.gine import GINEConv
from gnn.conv.hgt import HGTConv
from gnn.conv.identity import IdentityConv
from gnn.conv.lightgcn import LightGCNConv
from gnn.conv.pna import PNAConv
from gnn.conv.protocol import Conv
from gnn.conv.rgcn import RGCNConv
from gnn.conv.sage import SAGEConv
from gnn.conv.sgc import SGCConv
from gnn.conv.tgat import TGATConv
from gnn.conv.transformer import TransformerConv
from gnn.encoder import CategoricalEncoder
from gnn.model_config import ModelConfig, is_brought

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


def _edge_encoder(config: ModelConfig, width: int) -> nn.Module | None:
    """Embeddings of edge codes; None where edge features are real numbers, or are not there."""
    codes = config.edge_cardinalities
    return CategoricalEncoder(codes, width) if codes else None


def _attention(config: ModelConfig, at: Layer) -> dict[str, Any]:
    """Heads side by side; averaged where the layer gives the outputs themselves."""
    direct = at.last and at.d_out != config.d_hidden
    return {
        "heads": config.out_heads if direct else config.heads,
        "concat": not direct,
        "attention_dropout": config.attention_dropout,
    }


def _heads(config: ModelConfig, at: Layer) -> int:
    """One head where the layer gives the outputs themselves, whose number heads may not divide."""
    return config.heads if at.d_out == config.d_hidden else 1


def _mlp_norm(config: ModelConfig) -> str:
    return "batch" if config.norm == "batch" else "none"


CONVS: dict[str, Callable[[ModelConfig, Layer], nn.Module]] = {
    "sage": lambda config, at: SAGEConv(at.d_in, at.d_out, config.aggregator),
    "gcn": lambda config, at: GCNConv(at.d_in, at.d_out),
    "lightgcn": lambda config, at: LightGCNConv(at.d_in),
    "identity": lambda config, at: IdentityConv(at.d_in),
    "gat": lambda config, at: GATConv(
        at.d_in, at.d_out, **_attention(config, at), message_dropout=config.message_dropout
    ),
    "gatv2": lambda config, at: GATv2Conv(at.d_in, at.d_out, **_attention(config, at)),
    "gin": lambda config, at: GINConv(at.d_in, at.d_out, norm=_mlp_norm(config)),
    "gine": lambda config, at: GINEConv(
        at.d_in, at.d_out, config.d_edge, norm=_mlp_norm(config),
        edge_encoder=_edge_encoder(config, at.d_in),
    ),
    "rgcn": lambda config, at: RGCNConv(
        at.d_in, at.d_out, config.num_relations, config.num_bases or None
    ),
    "appnp": lambda config, at: APPNPConv(config.d_last, config.alpha, at.i == 0, at.last),
    "sgc": lambda config, at: SGCConv(at.d_in),
    "pna": lambda config, at: PNAConv(at.d_in, at.d_out, config.mean_log_degree),
    "hgt": lambda config, at: HGTConv(
        at.d_in, at.d_out, config.num_node_types, config.num_relations, _heads(config, at),
        config.attention_dropout, config.norm == "layer" and at.d_out == config.d_hidden,
    ),
    "egnn": lambda config, at: EGNNConv(at.d_in, at.d_out, config.d_edge, last=at.last),
    "transformer": lambda config, at: TransformerConv(
        at.d_in, at.d_out, _heads(config, at), config.d_edge, config.attention_dropout
    ),
    "tgat": lambda config, at: TGATConv(
        at.d_in, at.d_out, _heads(config, at), config.d_time, config.d_edge, config.time_scale,
        config.attention_dropout,
    ),
}  # fmt: skip


def make_convs(config: ModelConfig, d_in: int) -> list[Conv]:
    """The convolutions of an architecture whose first one reads rows of width `d_in`."""
    make = factory_of(config.conv) if is_brought(config.conv) else CONVS[config.conv]
    convs: list[Conv] = []
    for i in range(config.num_layers):
        last = i == config.num_layers - 1
        layer = Layer(i, d_in, config.d_last if last else config.d_hidden, last)
        convs.append(cast(Conv, make(config, layer)))
        d_in = convs[-1].d_out
    return convs
