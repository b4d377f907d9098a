"""A stack of convolutions: from Blocks and input rows to rows for the seeds.

Every model is an encoder of the input where one is wanted, equivariant layers with nonlinearities
between them, an invariant readout where whole graphs are asked about, and a head. Between layers:
normalization, nonlinearity, residual; before each layer dropout on its input, as Kipf and Welling
(2017) do, and the normalization before that dropout instead with `norm_first`. Nothing follows the
last convolution, whose rows are the embedding, unless norms come first; the head turns them into
outputs in the user's units. Weights start after Glorot and Bengio (2010).

Rows carry what later layers need of a node: with jumping knowledge the rows of earlier layers
stand behind the active columns, so that a tile of a whole-graph run and a mini-batch are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.conv.egnn import EGNNConv
from gnn.conv.protocol import Conv
from gnn.convs import CONVS, make_convs
from gnn.decoders import check_relations, make_decoder
from gnn.dropout import dropout
from gnn.encoder import LinearEncoder, make_encoder
from gnn.model_config import UNDROPPED, ModelConfig, is_brought
from gnn.norms import normalized
from gnn.parts import (
    carried_widths,
    make_column_norm,
    make_head,
    make_norms,
    make_pools,
    make_readout,
    make_residual_maps,
    make_virtual_node,
)
from gnn.sparse import dropped_rows, is_sparse, mapped, row_normalized
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["CONVS", "GNN", "ModelConfig", "build_model", "unfilled_model"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
}


class GNN(nn.Module):
    """A graph neural network over Blocks.

    Args:
        config: its architecture.

    Attributes:
        precision: what the dense maps of the encoder read in training; None for their own type.
        active: widths of the rows that the layers work on, from the input of the first through
            every layer, (num_layers + 1,).
        widths: the same with what rows carry besides.

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
        encoded = config.d_last if config.conv == "appnp" else config.d_hidden
        self.columns = make_column_norm(config)
        self.encoder = make_encoder(config, encoded)
        d_in = config.d_in if self.encoder is None else encoded + config.d_position
        convs = make_convs(config, d_in)
        self.convs = nn.ModuleList(cast(nn.Module, conv) for conv in convs)
        self.active = [d_in, *(conv.d_out for conv in convs)]
        self.norms = nn.ModuleList(make_norms(config, convs, self.active))
        self.residual_maps = nn.ModuleList(
            make_residual_maps(config, convs[: config.num_followed], d_in)
        )
        if config.jumping == "mean" and len(set(self.active)) > 1:
            raise InputError(f"the rows of the layers have the widths {self.active}; a mean over "
                             "layers needs one width for all")  # fmt: skip
        self.widths = carried_widths(config.jumping, self.active)
        self.readout = make_readout(config, self.widths[-1])
        self.pools = nn.ModuleList(make_pools(config, self.active))
        self.virtual = make_virtual_node(config, self.active)
        self.project = make_head(config, self.d_embedding)
        self.decoder = make_decoder(config, self.d_embedding)
        self.precision: torch.dtype | None = None
        self.register_buffer("y_mean", torch.zeros(config.d_out))
        self.register_buffer("y_std", torch.ones(config.d_out))

    @property
    def device(self) -> torch.device:
        """Where its weights are, and where batches have to be."""
        return self.y_mean.device

    @property
    def num_layers(self) -> int:
        return self.config.num_layers

    @property
    def d_embedding(self) -> int:
        """Width of the embedding rows: of nodes, or of graphs where there is a readout."""
        return self.widths[-1] if self.readout is None else int(cast(Any, self.readout).d_out)

    def conv(self, i: int) -> Conv:
        """The convolution of layer i."""
        return cast(Conv, self.convs[i])

    @property
    def first(self) -> nn.Module:
        """The map that reads the input."""
        if isinstance(self.encoder, LinearEncoder):
            return self.encoder.maps[0]
        return self.encoder if self.encoder is not None else self.convs[0]

    def forward(self, blocks: Sequence[Block], x: Tensor) -> Tensor:
        """Outputs in the user's units, (num_dst of the last block, d_out).

        With a readout the block of a batch of graphs is given for every layer, and the outputs
        are those of the graphs, (num_graphs, d_out).
        """
        if self.readout is not None:
            return self.head(self.encode_graphs(blocks[0], x))
        return self.head(self.encode(blocks, x))

    def encode_graphs(self, block: Block, x: Tensor) -> Tensor:
        """Embeddings of graphs, (num_graphs, d_embedding).

        Args:
            block: all edges of the graphs; without `graph_offsets` they are one graph.
            x: input rows of all nodes, (num_nodes, d_in).

        Raises:
            InputError: the rows do not fit this model.
        """
        assert self.readout is not None, "only models with a readout embed graphs"
        self._check([block] * self.num_layers, x)
        offsets, levels = block.graph_offsets, []
        if offsets is None:
            offsets = torch.tensor([0, block.num_src], device=self.device)
            block = replace(block, graph_offsets=offsets)
        with self._mixed():
            x = self.prepare(x, block.sources)
            state = None if self.virtual is None else self.virtual.start(len(offsets) - 1)
            for i in range(self.num_layers):
                if state is not None:
                    x, state = self._hear(i, block, x, state)
                x = self.layer(i, block, x)
                if i < len(self.pools):
                    levels.append(self.readout(x, block.graph_offsets))
                    pooled = self.pools[i](block, x, block.graph_offsets)
                    block, x = replace(pooled.block, graph_offsets=pooled.graph_indptr), pooled.x
            levels.append(self.readout(x, block.graph_offsets))
        rows = torch.stack(levels).sum(dim=0)
        return rows.to(torch.promote_types(rows.dtype, torch.float32))

    def _mixed(self) -> AbstractContextManager[Any]:
        """Dense maps in `precision` inside, in training."""
        if self.precision is None or not self.training:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def _hear(self, i: int, block: Block, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of all nodes with the virtual nodes' in their active columns, and its new state."""
        assert self.virtual is not None and block.graph_offsets is not None
        own, carried = self.split(i, x)
        own, state = self.virtual(i, own, block.graph_offsets, state)
        return (own if carried is None else torch.cat([own, carried], dim=1)), state

    def encode(self, blocks: Sequence[Block], x: Tensor) -> Tensor:
        """Embeddings of the seeds, (num_dst of the last block, d_embedding).

        Args:
            blocks: one per layer, in the order the layers run.
            x: input rows of `blocks[0].src_nodes`, (num_src, d_in).

        Raises:
            InputError: the blocks or the rows do not fit this model.
        """
        self._check(blocks, x)
        with self._mixed():
            x = self.prepare(x, blocks[0].sources)
            for i, block in enumerate(blocks):
                x = self.layer(i, block, x)
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def head(self, h: Tensor) -> Tensor:
        """Outputs from embeddings, (rows, d_out)."""
        if self.training and self.config.head != "none":
            h = dropout(h, self.config.dropout)
        out: Tensor = self.project(h) * self.y_std + self.y_mean
        return out

    def score(self, h: Tensor, pairs: Tensor, relations: Tensor | None = None) -> Tensor:
        """Logits of pairs, (num_pairs,).

        Args:
            h: embeddings, (rows, d_embedding).
            pairs: rows of `h`: sources, destinations, (2, num_pairs).
            relations: codes of edge types, (num_pairs,); None where there is one.

        Raises:
            InputError: the model has no decoder, or does not know a relation.
        """
        if self.decoder is None:
            raise InputError("this model has no decoder and scores no pairs; build one with a "
                             'decoder, as in decoder="dot"')  # fmt: skip
        check_relations(relations, self.config.num_relations)
        pairs = pairs.to(h.device)
        relations = None if relations is None else relations.to(h.device)
        return self.decoder.pairs(h[pairs[0]], h[pairs[1]], relations)

    @property
    def prepares(self) -> bool:
        """Whether `prepare` makes other rows of the input."""
        return self.encoder is not None or self.config.input_norm != "none"

    def prepare(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What the first convolution reads, from input rows and the nodes that they belong to."""
        if not self.prepares:
            return x
        x, position = self._split_position(x)
        if self.config.input_norm == "row":
            x = row_normalized(x, self.y_std.dtype)
        if self.columns is not None:
            x = self.columns(x)
        if self.encoder is not None:
            x = self.encoder(x, nodes)
        return x if position is None else torch.cat([x, position.to(x.dtype)], dim=1)

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
            x_dst = self.input(i, x)
            h = self.conv(i).combine_received(block, x_dst, block.received)
        elif messages is None:
            rows = self.input(i, self._active(i, x))
            messages = self.conv(i).messages(rows, block.sources)
            x_dst = rows if is_sparse(rows) else block.dst_rows(rows)
            h = self.conv(i).combine(block, x_dst, messages)
        else:
            x_dst = self.input(i, self._active(i, block.dst_rows(x)))
            h = self.conv(i).combine(block, x_dst, messages)
        own = block.dst_rows(self._active(i, x)) if self.normalizes_first(i) else x_dst
        return self.after(i, block, h, own, self._carried(i, block, x))

    def after(
        self, i: int, block: Block, h: Tensor, x_dst: Tensor, carried: Tensor | None
    ) -> Tensor:
        """What follows the convolution of layer i, and what rows carry on.

        Args:
            i: layer, from 0.
            block: the hop.
            h: what the convolution gave, (num_dst, d_out).
            x_dst: active columns of the destinations' rows that the layer got, (num_dst, d_in).
            carried: the other columns; None where there are none.
        """
        if i < self.config.num_followed and self.conv(i).activates:
            h = self._between(i, block, h, x_dst)
        if self.config.jumping == "mean" and carried is None:
            carried = x_dst
        return self._carry(i, h, carried)

    def messages(self, i: int, x: Tensor, nodes: NodeView) -> Tensor:
        """What layer i sends from these rows of these nodes."""
        return self.conv(i).messages(self.input(i, self._active(i, x)), nodes)

    def sends_input(self, i: int) -> bool:
        """Whether the messages of layer i are the rows that it reads, unchanged."""
        is_whole = self.widths[i] == self.active[i] and not self.normalizes_first(i)
        return self.conv(i).sends_input and is_whole

    def normalizes_first(self, i: int) -> bool:
        """Whether the convolution of layer i reads other rows than the layer got."""
        return self.config.norm_first and not isinstance(self.norms[i], nn.Identity)

    def split(self, i: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The active columns of the rows that layer i reads, and those that it carries on."""
        width = self.active[i]
        return (x, None) if self.widths[i] == width else (x[:, :width], x[:, width:])

    def _active(self, i: int, x: Tensor) -> Tensor:
        return self.split(i, x)[0]

    def _carried(self, i: int, block: Block, x: Tensor) -> Tensor | None:
        carried = self.split(i, x)[1]
        return None if carried is None else block.dst_rows(carried)

    def _carry(self, i: int, h: Tensor, carried: Tensor | None) -> Tensor:
        """The rows of layer i with those of earlier layers, as the last layer gives them."""
        last = i == self.num_layers - 1
        if self.config.jumping == "cat":
            kept = h if carried is None else torch.cat([carried, h], dim=1)
            return kept if last else torch.cat([h, kept], dim=1)
        if self.config.jumping == "mean":
            assert carried is not None, "the rows of the input are carried"
            total = carried + h
            return total / (self.num_layers + 1) if last else torch.cat([h, total], dim=1)
        if self.config.jumping == "max":
            kept = h if carried is None else torch.maximum(carried, h)
            return kept if last else torch.cat([h, kept], dim=1)
        return h

    def _split_position(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.config.d_position:
            return x, None
        return x[:, : -self.config.d_position], x[:, -self.config.d_position :]

    def input(self, i: int, x: Tensor) -> Tensor:
        """What the convolution of layer i reads, from active columns of rows that the layer got."""
        if self.normalizes_first(i):
            x = self.norms[i](x.to(torch.promote_types(x.dtype, torch.float32)))
        drops = self.training and self.config.conv not in UNDROPPED
        return dropped_rows(x, self.config.dropout) if drops else x

    def _between(self, i: int, block: Block, h: Tensor, x_dst: Tensor) -> Tensor:
        if not self.config.norm_first:
            h = normalized(self.norms[i], h, block)
        h = ACTIVATIONS[self.config.activation](h)
        if not self.adds(i):
            return h
        added = self.residual(i, x_dst)
        return h + (added if len(added) == len(h) else block.dst_rows(added))

    def adds(self, i: int) -> bool:
        """Whether the input of layer i, or a map of it, is added to its output."""
        same_width = self.active[i] == self.active[i + 1]
        return self.config.residual_map or (self.config.residual and same_width)

    def residual(self, i: int, x: Tensor) -> Tensor:
        """What is added to the output of layer i, from rows that it reads, (rows, d_out)."""
        return mapped(cast(nn.Linear, self.residual_maps[i]), x) if self.config.residual_map else x

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
    """A model with fresh weights, drawn from torch's generator: seed it to repeat them.

    Convolutions that the user brings keep the weights that they were made with.
    """
    model = GNN(config)
    brought = set(model.convs.modules()) if is_brought(config.conv) else set()
    for module in model.modules():
        if isinstance(module, nn.Linear) and module not in brought:
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for conv in model.convs:
        if isinstance(conv, EGNNConv):
            conv.start_still()
    return model.eval()


def unfilled_model(config: ModelConfig) -> GNN:
    """A model whose weights are still to come, as by `load_state_dict(…, assign=True)`.

    Code of the user's runs with real tensors, and draws nothing from torch's generator.
    """
    if is_brought(config.conv):
        with torch.random.fork_rng(devices=[]):
            return GNN(config)
    with torch.device("meta"):
        return GNN(config)
