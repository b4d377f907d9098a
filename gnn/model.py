"""A stack of convolutions: from Blocks and input rows to rows for the seeds.

Between layers: normalization, ReLU, residual; before each layer dropout on its input, as Kipf
and Welling (2017) do. Nothing follows the last convolution, whose rows are the embedding; the
head turns them into outputs in the user's units. Weights start after Glorot and Bengio (2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gnn.conv.gcn import GCNConv
from gnn.conv.protocol import Conv
from gnn.conv.sage import SAGEConv
from gnn.dropout import dropout
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["CONVS", "GNN", "ModelConfig", "build_model"]

MAX_LAYERS = 64
MAX_WIDTH = 1 << 20

ConvName = Literal["sage", "gcn"]
Aggregator = Literal["mean", "sum", "max"]
HeadName = Literal["linear", "none"]
InputNorm = Literal["none", "row"]
Norm = Literal["none", "layer", "batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The architecture of a model.

    Attributes:
        conv: which convolution.
        d_in: width of the input features.
        d_hidden: width of the hidden rows, and of the embedding under a linear head.
        d_out: number of classes, or of regression targets.
        num_layers: convolutions, and so hops.
        aggregator: how "sage" reduces a neighborhood; "gcn" has its own weighting.
        dropout: share of every layer's input that is dropped in training.
        head: "none" makes the last convolution give the outputs; "linear" adds a linear map.
        input_norm: "row" divides each feature row by the sum of its magnitudes.
        norm: normalization between layers.
        residual: add a layer's input to its output where the widths agree.

    Raises:
        InputError: a value is unknown or out of range.
    """

    d_in: int
    d_hidden: int
    d_out: int
    conv: ConvName = "sage"
    num_layers: int = 2
    aggregator: Aggregator = "mean"
    dropout: float = 0.5
    head: HeadName = "linear"
    input_norm: InputNorm = "none"
    norm: Norm = "none"
    residual: bool = False

    def __post_init__(self) -> None:
        choices = {
            "conv": ConvName,
            "aggregator": Aggregator,
            "head": HeadName,
            "input_norm": InputNorm,
            "norm": Norm,
        }
        for name, kind in choices.items():
            known = get_args(kind)
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; choose {' or '.join(known)}")
        for name in ("d_in", "d_hidden", "d_out"):
            _check_range(name, getattr(self, name), 1, MAX_WIDTH)
        _check_range("num_layers", self.num_layers, 1, MAX_LAYERS)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @property
    def d_embedding(self) -> int:
        """Width of the embedding rows."""
        return self.d_hidden if self.head == "linear" else self.d_out

    @property
    def widths(self) -> list[int]:
        """Row widths from the input through every layer, (num_layers + 1,)."""
        return [self.d_in, *[self.d_hidden] * (self.num_layers - 1), self.d_embedding]


CONVS: dict[str, Callable[[ModelConfig, int, int], nn.Module]] = {
    "sage": lambda config, d_in, d_out: SAGEConv(d_in, d_out, config.aggregator),
    "gcn": lambda config, d_in, d_out: GCNConv(d_in, d_out),
}


class GNN(nn.Module):
    """A graph neural network over Blocks.

    Args:
        config: its architecture.

    Example:
        >>> model = build_model(ModelConfig(d_in=3, d_hidden=4, d_out=2, num_layers=1))
        >>> block = Block(torch.arange(2), torch.tensor([0, 1, 1]), torch.tensor([1]))
        >>> model([block], torch.ones(2, 3)).shape
        torch.Size([2, 2])
    """

    y_mean: Tensor
    y_std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        layers = list(pairwise(widths))
        self.convs = nn.ModuleList(CONVS[config.conv](config, a, b) for a, b in layers)
        self.norms = nn.ModuleList(_norm(config.norm, b) for _, b in layers[:-1])
        self.project = (
            nn.Linear(config.d_hidden, config.d_out) if config.head == "linear" else nn.Identity()
        )
        self.register_buffer("y_mean", torch.zeros(config.d_out))
        self.register_buffer("y_std", torch.ones(config.d_out))

    @property
    def num_layers(self) -> int:
        return self.config.num_layers

    def conv(self, i: int) -> Conv:
        """The convolution of layer i."""
        return cast(Conv, self.convs[i])

    def forward(self, blocks: Sequence[Block], x: Tensor) -> Tensor:
        """Outputs of the seeds, (num_dst of the last block, d_out), in the user's units."""
        return self.head(self.encode(blocks, x))

    def encode(self, blocks: Sequence[Block], x: Tensor) -> Tensor:
        """Embeddings of the seeds, (num_dst of the last block, d_embedding).

        Args:
            blocks: one per layer, in the order the layers run.
            x: input rows of `blocks[0].src_nodes`, (num_src, d_in).

        Raises:
            InputError: the blocks or the rows do not fit this model.
        """
        self._check(blocks, x)
        for i, block in enumerate(blocks):
            x = self.layer(i, block, x)
        return x

    def head(self, h: Tensor) -> Tensor:
        """Outputs from embeddings, (rows, d_out)."""
        if self.training and self.config.head == "linear":
            h = dropout(h, self.config.dropout)
        out: Tensor = self.project(h) * self.y_std + self.y_mean
        return out

    def layer(self, i: int, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Layer i with what follows it, (num_dst, width).

        Args:
            i: layer, from 0.
            block: the hop.
            x: rows of the source nodes, (num_src, …); only those of the destinations are read
                when `messages` is given.
            messages: what `messages` gave for all source nodes, where the caller has it.
        """
        if block.received is not None:
            x_dst = self._input(i, x)
            h = self.conv(i).combine_received(block, x_dst, block.received)
        elif messages is None:
            x = self._input(i, x)
            messages = self.conv(i).messages(x, block.sources)
            x_dst = block.dst_rows(x)
            h = self.conv(i).combine(block, x_dst, messages)
        else:
            x_dst = self._input(i, block.dst_rows(x))
            h = self.conv(i).combine(block, x_dst, messages)
        return h if i == self.num_layers - 1 else self._between(i, h, x_dst)

    def messages(self, i: int, x: Tensor, nodes: NodeView) -> Tensor:
        """What layer i sends from these rows of these nodes."""
        return self.conv(i).messages(self._input(i, x), nodes)

    def sends_input(self, i: int) -> bool:
        """Whether the messages of layer i are its input rows, unchanged."""
        normalizes = i == 0 and self.config.input_norm == "row"
        return self.conv(i).sends_input and not normalizes

    def _input(self, i: int, x: Tensor) -> Tensor:
        if i == 0 and self.config.input_norm == "row":
            x = x.to(self.y_std.dtype)
            x = F.normalize(x, p=1.0, dim=1)
        return dropout(x, self.config.dropout) if self.training else x

    def _between(self, i: int, h: Tensor, x_dst: Tensor) -> Tensor:
        h = F.relu(self.norms[i](h))
        return h + x_dst if self.config.residual and h.shape == x_dst.shape else h

    def _check(self, blocks: Sequence[Block], x: Tensor) -> None:
        if len(blocks) != self.num_layers:
            raise InputError(
                f"got {len(blocks)} blocks; this model has {self.num_layers} layers and takes "
                "one block for each"
            )
        if x.ndim != 2 or x.shape[1] != self.config.d_in or x.shape[0] != blocks[0].num_src:
            raise InputError(
                f"x has shape {tuple(x.shape)}; this model takes ({blocks[0].num_src}, "
                f"{self.config.d_in}), a row for every source node of the first block"
            )
        if blocks[0].received is not None and self.training and self.config.dropout:
            raise InputError(
                "a reduced hop has no input rows left to drop out; sample with a plain "
                "NeighborSampler, or train without dropout"
            )
        for i in range(1, len(blocks)):
            if blocks[i].num_src != blocks[i - 1].num_dst:
                raise InputError(
                    f"block {i} has {blocks[i].num_src} source nodes, but block {i - 1} gives "
                    f"{blocks[i - 1].num_dst} rows; take the blocks of one sample, in order"
                )


def build_model(config: ModelConfig) -> GNN:
    """A model with fresh weights, drawn from torch's generator: seed it to repeat them."""
    model = GNN(config)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model.eval()


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "layer":
        return nn.LayerNorm(width)
    return nn.BatchNorm1d(width) if kind == "batch" else nn.Identity()


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it must be an integer in {low} … {high}")
