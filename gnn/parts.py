"""The parts of a model around its convolutions, from an architecture to modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from gnn.column_norm import ColumnNorm
from gnn.conv.protocol import Conv
from gnn.matching import MatchingPool
from gnn.model_config import ModelConfig
from gnn.norms import make_norm
from gnn.pooling import SAGPool, TopKPool
from gnn.readout import build_readout
from gnn.virtual_node import VirtualNode

__all__ = [
    "carried_widths",
    "make_column_norm",
    "make_head",
    "make_norms",
    "make_pools",
    "make_readout",
    "make_residual_maps",
    "make_virtual_node",
]


def carried_widths(jumping: str, active: list[int]) -> list[int]:
    """Widths of the rows with what they carry, (num_layers + 1,)."""
    if jumping == "none":
        return list(active)
    widths, kept = [active[0]], 0
    for i, width in enumerate(active[1:], 1):
        kept = kept + width if jumping == "cat" else width
        widths.append(kept if i == len(active) - 1 else width + kept)
    return widths


def make_column_norm(config: ModelConfig) -> ColumnNorm | None:
    """What brings features to mean 0 and deviation 1, where that is asked for."""
    is_wanted = config.input_norm == "column"
    return ColumnNorm(config.d_in - config.d_position) if is_wanted else None


def make_norms(
    config: ModelConfig, convs: Sequence[Conv], active: Sequence[int]
) -> list[nn.Module]:
    """What normalizes around every layer: the rows that a layer reads with `norm_first`, those of
    the features left out, else what comes out of the convolutions that a nonlinearity follows.

    Args:
        config: the architecture.
        convs: its convolutions.
        active: widths of the rows that the layers read, and of the last output.
    """
    kinds = [config.norm if c.activates else "none" for c in convs]
    if not config.norm_first:
        followed = convs[: config.num_followed]
        return [make_norm(kind, c.d_out) for kind, c in zip(kinds, followed, strict=False)]
    if config.encoder == "none":
        kinds[0] = "none"
    return [make_norm(kind, width) for kind, width in zip(kinds, active, strict=False)]


def make_residual_maps(config: ModelConfig, convs: Sequence[Conv], d_in: int) -> list[nn.Module]:
    """The map of a layer's input that is added to its output, for the layers that end in a
    nonlinearity; none without `residual_map`.
    """
    if not config.residual_map:
        return []
    widths = [d_in, *(conv.d_out for conv in convs)]
    pairs = zip(widths, convs, strict=False)
    return [nn.Linear(width, c.d_out, bias=False) for width, c in pairs if c.activates]


def make_readout(config: ModelConfig, width: int) -> nn.Module | None:
    """Rows of nodes to a row per graph; None for tasks on nodes and links."""
    return None if config.readout == "none" else build_readout(config.readout, width)


def make_pools(config: ModelConfig, active: Sequence[int]) -> list[nn.Module]:
    """One pooling between every two layers, of rows as wide as the layer before gives them; none
    where the architecture has none.
    """
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "topk": TopKPool,
        "sag": SAGPool,
        "matching": lambda width: MatchingPool(),
    }
    widths = [] if config.pooling == "none" else active[1:-1]
    return [kinds[config.pooling](width) for width in widths]


def make_virtual_node(config: ModelConfig, active: list[int]) -> VirtualNode | None:
    """One more node per graph, where that is asked for."""
    if not config.virtual_node:
        return None
    norm = "batch" if config.norm == "batch" else "none"
    return VirtualNode(active[:-1], norm, config.dropout)


def make_head(config: ModelConfig, d_in: int) -> nn.Module:
    """The map from embeddings to outputs."""
    if config.head == "linear":
        return nn.Linear(d_in, config.d_out)
    if config.head == "mlp":
        hidden = nn.Linear(d_in, config.d_hidden)
        return nn.Sequential(hidden, nn.ReLU(), nn.Linear(config.d_hidden, config.d_out))
    return nn.Identity()
