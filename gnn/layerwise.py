"""Whole-graph inference, layer outside, tiles of rows inside.

Every node is computed once per layer, where mini-batches would compute it once for every seed
that it reaches (GraphSAGE's batched inference; Hamilton et al. 2017, appendix). Linear layers run
as one compiled pass (`gnn.linear`); any other convolution runs tile by tile as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gnn.linear import LinearLayer, inverse_root_degrees, linear_layer
from gnn.model import ACTIVATIONS, GNN
from gnn.storage import Fill, Outcome, check_fits, empty_rows, encode, part, sampled_scale
from gnn.transfer import Mover
from sampling import Block, Dataset, FeatureTable, FullNeighborSampler, Graph
from sampling.graph.sparse_features import SPARSE, SparseTable

__all__ = ["Passes", "infer", "tile_rows_for", "tile_starts", "without_scale"]

TILE_BYTES = 16 << 20
MAX_TILE_ROWS = 1 << 18
MIN_TILE_ROWS = 1 << 9


def infer(model: GNN, data: Dataset, storage: str = "float32") -> Tensor:
    """Embeddings of all nodes in memory, (num_nodes, d_embedding) float32.

    Args:
        model: in evaluation mode.
        data: a graph with features.
        storage: type of the rows between layers.

    Raises:
        InputError: a row between layers does not fit its storage type.
    """
    passes = Passes.of(model, data, storage)
    x = passes.features
    with torch.no_grad():
        if passes.prepares:
            x = passes.all_rows(passes.input_storage, passes.width(0), partial(passes.prepare, x))
        for i in range(model.num_layers):
            messages, last = x, i == model.num_layers - 1
            if passes.sends(i):
                fill = partial(passes.messages, i, x)
                messages = passes.all_rows(passes.row_storage(i), passes.message_width(i), fill)
            stored = "float32" if last else passes.row_storage(i + 1)
            x = passes.all_rows(stored, passes.width(i + 1), partial(passes.rows, i, x, messages))
    return torch.from_numpy(x.array)


@dataclass(frozen=True, slots=True)
class Passes:
    """The layers of a model as passes over one graph.

    Attributes:
        model: in evaluation mode.
        graph: the whole graph.
        features: input rows.
        storage: type of the rows between layers, where their reader takes it.
        layers: linear form of every layer, None where it has none.
        src_nodes: 0 … num_nodes - 1, for blocks.
        mover: to where the model is; what is not there yet goes with every tile.
    """

    model: GNN
    graph: Graph
    features: FeatureTable
    storage: str
    layers: tuple[LinearLayer | None, ...]
    src_nodes: Tensor
    mover: Mover

    @classmethod
    def of(cls, model: GNN, data: Dataset, storage: str) -> Passes:
        """Decide how every layer runs."""
        assert data.features is not None, "callers check that there are features"
        graph, features = data.graph, data.features
        first = without_scale(storage) if model.prepares else features.storage
        if isinstance(features, SparseTable) and model.encoder is None:
            first = SPARSE
            if model.config.input_norm == "row":
                features = features.row_normalized()
        norm = inverse_root_degrees(graph) if model.config.conv == "gcn" else None
        inputs = [first, *[storage] * (model.num_layers - 1)]
        compiled = model.device.type == "cpu"
        layers = tuple(
            linear_layer(model, i, graph, stored, storage, norm) if compiled else None
            for i, stored in enumerate(inputs)
        )
        nodes, mover = torch.arange(graph.num_nodes), Mover(model.device)
        return cls(model, graph, features, storage, layers, nodes, mover)

    @property
    def prepares(self) -> bool:
        """Whether the features become other rows before the first layer."""
        if self.features.storage == SPARSE and self.model.encoder is None:
            return False  # its rows stay sparse, and were normalized as they are stored
        decodes = self.features.storage == "int8" and self.layers[0] is None
        return decodes or self.model.prepares

    @property
    def input_storage(self) -> str:
        """Type of the prepared features, which have no scale of their own."""
        return without_scale(self.storage)

    def row_storage(self, i: int) -> str:
        """Type of the rows, and of the messages, that layer i reads."""
        return self.storage if self.layers[i] is not None else without_scale(self.storage)

    def width(self, i: int) -> int:
        """Width of the rows that layer i reads, or that come out at the end."""
        return self.model.widths[i]

    def message_width(self, i: int) -> int:
        """Width of the messages of layer i."""
        if self.layers[i] is not None:
            return self.width(i + 1)
        with torch.no_grad():
            one = torch.zeros(1, self.width(i))
            return int(self.model.messages(i, *self.mover((one, self.graph.view(0, 1)))).shape[1])

    @property
    def widest(self) -> int:
        """Width of the widest rows or messages."""
        sent = [self.message_width(i) for i in range(self.model.num_layers) if self.sends(i)]
        return max([*self.model.widths, *sent])

    def sends(self, i: int) -> bool:
        """Whether the messages of layer i are other rows than those that it reads."""
        layer = self.layers[i]
        return not self.model.sends_input(i) if layer is None else layer.transforms_first

    def prepare(self, x: FeatureTable, start: int, out: FeatureTable) -> Outcome:
        """Fill `out` with input rows of nodes from `start` on."""
        end = start + out.num_rows
        inputs = self.mover((x.rows(start, end), self.graph.view(start, end)))
        return encode(self.model.prepare(*inputs).cpu(), start, out)

    def messages(self, i: int, x: FeatureTable, start: int, out: FeatureTable) -> Outcome:
        """Fill `out` with what nodes from `start` on send in layer i."""
        layer, end = self.layers[i], start + out.num_rows
        if layer is not None:
            return layer.messages(x, start, out, torch.get_num_threads())
        inputs = self.mover((x.rows(start, end), self.graph.view(start, end)))
        return encode(self.model.messages(i, *inputs).cpu(), start, out)

    def rows(
        self, i: int, x: FeatureTable, messages: FeatureTable, start: int, out: FeatureTable
    ) -> Outcome:
        """Fill `out` with output rows of nodes from `start` on."""
        layer = self.layers[i]
        if layer is None:
            return encode(self._conv_rows(i, x, messages, start, out), start, out)

        def fill(tile: FeatureTable) -> Outcome:
            return layer.rows(self.graph, x, messages, start, tile, torch.get_num_threads())

        return self.then_between(i, x, start, out, fill)

    def then_between(
        self,
        i: int,
        x: FeatureTable,
        start: int,
        out: FeatureTable,
        fill: Callable[[FeatureTable], Outcome],
    ) -> Outcome:
        """Fill `out` with what `fill` gives, after what follows the convolution of layer i."""
        layer, last = self.layers[i], i == self.model.num_layers - 1
        if last or (layer is not None and layer.relu and not self._adds(i)):
            return fill(out)
        tile = empty_rows(out.num_rows, self.width(i + 1), "float32")
        outcome = fill(tile)
        if outcome[0] >= 0:
            return outcome
        h = self.model.norms[i](torch.from_numpy(tile.array))
        h = ACTIVATIONS[self.model.config.activation](h)
        if self._adds(i):
            h = h + self.model.residual(i, x.rows(start, start + out.num_rows))
        return encode(h, start, out)

    def all_rows(self, storage: str, width: int, fill: Fill) -> FeatureTable:
        """The rows of all nodes, in memory."""
        num_rows, step = self.graph.num_nodes, tile_rows_for(self.model)
        scale = sampled_scale(fill, num_rows, width) if storage == "int8" else None
        out = empty_rows(num_rows, width, storage, scale)
        for start, end in tile_starts(num_rows, step):
            outcome = fill(start, part(out, start, end))
            if storage != "float32":  # which shows by itself what is not finite
                check_fits("rows", storage, outcome)
        return out

    def _adds(self, i: int) -> bool:
        """Whether the rows that layer i reads are added to its output."""
        return self.model.adds(i)

    def _conv_rows(
        self, i: int, x: FeatureTable, messages: FeatureTable, start: int, tile: FeatureTable
    ) -> Tensor:
        """Rows of a tile as layer i computes them, with what follows it."""
        end = start + tile.num_rows
        block, sent = self._tile(messages, start, end)
        own, carried = self.model.split(i, self.mover(x.rows(start, end)))
        h = self.model.conv(i).combine(block, self.model.input(i, own), sent)
        return self.model.after(i, block, h, own, carried).cpu()

    def _tile(self, messages: FeatureTable, start: int, end: int) -> tuple[Block, Tensor]:
        """The hop into some nodes, and what its sources send; elsewhere only those that send."""
        if self.mover.device.type == "cpu":
            sent = messages.tensor()
            assert sent is not None, "messages of such a layer are not stored as int8"
            return self.graph.block(start, end, src_nodes=self.src_nodes), sent
        [block] = FullNeighborSampler(self.graph, 1).sample(self.src_nodes[start:end])
        return self.mover((block, messages.gather(block.src_nodes, torch.get_num_threads())))


def without_scale(storage: str) -> str:
    """The type itself, or that which stands in for int8 where rows have no steps."""
    return "float16" if storage == "int8" else storage


def tile_rows_for(model: GNN) -> int:
    """Rows per tile that keep one tile of the widest layer near `TILE_BYTES`."""
    rows = TILE_BYTES // (4 * max(model.widths))
    return max(MIN_TILE_ROWS, min(MAX_TILE_ROWS, rows))


def tile_starts(num_rows: int, step: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of every tile from row `first` on."""
    for start in range(first, num_rows, step):
        yield start, min(start + step, num_rows)
