"""The architecture of a model, as data: what `model.json` holds and `build_model` reads."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from sampling.errors import InputError

__all__ = ["ConvName", "InputType", "ModelConfig", "is_brought"]

MAX_LAYERS = 64
MAX_WIDTH = 1 << 20
MAX_CODES = 1 << 20
MAX_TYPES = 1 << 15

ConvName = Literal[
    "sage", "gcn", "gat", "gatv2", "gin", "gine", "pna", "rgcn", "hgt", "appnp", "sgc", "egnn",
    "transformer", "tgat", "lightgcn", "identity",
]  # fmt: skip
Aggregator = Literal["mean", "sum", "max", "weighted", "gcn"]
Activation = Literal["relu", "elu", "leaky_relu", "gelu"]
DecoderName = Literal["none", "dot", "distmult", "bilinear", "mlp", "hadamard"]
EncoderName = Literal["none", "linear", "mlp", "typed", "categorical"]
HeadName = Literal["linear", "mlp", "none"]
InputNorm = Literal["none", "row", "column"]
Jumping = Literal["none", "cat", "max", "mean"]
Norm = Literal["none", "layer", "batch", "graph"]
PoolingName = Literal["none", "topk", "sag", "matching"]
ReadoutName = Literal["none", "sum", "mean", "max", "attention", "set2set"]

CARRYING = ("appnp", "egnn")
"""Convolutions whose rows hold state of their own between layers."""
UNDROPPED = (*CARRYING, "sgc", "lightgcn")
"""Convolutions whose input is not dropped out: they propagate it, or hold positions in it."""
UNFOLLOWED = (*UNDROPPED, "hgt", "tgat", "identity")
"""Convolutions that no normalization, nonlinearity or residual of the model follows."""
EDGE_READING = ("gine", "rgcn", "hgt", "tgat")
"""Convolutions that read types, features or times of edges; others may read features besides."""
ATTENDING = ("gat", "gatv2", "hgt", "tgat", "transformer")
"""Convolutions with attention heads."""
BROUGHT = "module:"
BROUGHT_PATTERN = re.compile(rf"{BROUGHT}[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
MAX_NAME = 200

SPARSE_CONVS = ("gcn", "gat")
"""Convolutions that read sparse input rows themselves: they map a row before anything else."""

CHOICES = {
    "aggregator": Aggregator,
    "activation": Activation,
    "decoder": DecoderName,
    "encoder": EncoderName,
    "head": HeadName,
    "input_norm": InputNorm,
    "jumping": Jumping,
    "norm": Norm,
    "pooling": PoolingName,
    "readout": ReadoutName,
}


def is_brought(conv: str) -> bool:
    """Whether a convolution is the user's own, "module:my_models:make_conv", by its form."""
    return len(conv) <= MAX_NAME and BROUGHT_PATTERN.fullmatch(conv) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputType:
    """A node type with an encoder of its own.

    Attributes:
        name: of the node type.
        start: its first node.
        end: one past its last node.
        d_in: how many of the feature columns are its own, the first ones; 0 has an embedding
            learned for every node instead.
    """

    name: str
    start: int
    end: int
    d_in: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise InputError(f"input type {self.name!r} has the nodes {self.start} … {self.end}")
        _check_range("d_in of an input type", self.d_in, 0, MAX_WIDTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The architecture of a model.

    Attributes:
        d_in: width of the input rows; 0 where an encoder learns an embedding for every node.
        d_hidden: width of the hidden rows, and of the embedding under a head.
        d_out: number of classes, or of targets.
        conv: which convolution: one of `ConvName`, or "module:my_models:make_conv" for one that
            the user brings (`gnn.brought`).
        num_layers: convolutions, and so hops.
        aggregator: how "sage" reduces a neighborhood; "weighted" is the mean by edge weight, "gcn"
            the mean of a node and its neighbors, under one map.
        dropout: share of every layer's input that is dropped in training.
        head: "none" makes the last convolution give the outputs; "linear" and "mlp" add a map.
        input_norm: "row" divides each feature row by the sum of its magnitudes; "column" brings
            every feature to mean 0 and deviation 1 (`gnn.column_norm`).
        norm: normalization between layers; "graph" is for collections of graphs.
        norm_first: normalize what a layer reads, and not what comes out of its convolution; what
            `residual` adds stays as it is (He et al., Identity Mappings, 2016). Under a head the
            last layer has its nonlinearity and residual too.
        activation: nonlinearity between layers.
        residual: add a layer's input to its output where the widths agree.
        residual_map: add a learned linear map of the input instead (He et al. 2016), whatever the
            widths are.
        jumping: embeddings hold the rows of every layer, side by side ("cat") or their maximum
            (Xu et al. 2018), or are the mean of them and of the input ("mean"; LightGCN).
        encoder: what makes rows of width d_hidden of the input before the first convolution:
            "linear", "mlp", "typed" one map per node type, "categorical" embeddings of codes.
        input_types: the node types of a "typed" encoder; they cover the nodes in order.
        cardinalities: number of codes of each input column of a "categorical" encoder.
        edge_cardinalities: the same of the edge features; empty where they are real numbers.
        d_edge: width of the edge features that the convolution reads; 0 for none.
        d_position: 3 where the last three input columns are a position in space ("egnn").
        num_node_types: node types that "hgt" tells apart.
        num_relations: edge types that "rgcn", "hgt" and decoders tell apart.
        num_bases: "rgcn" shares this many bases among its relations; 0 for none.
        heads: attention heads; they divide d_hidden.
        out_heads: heads of "gat" and "gatv2" that are averaged where the last convolution gives
            the outputs.
        attention_dropout: share of the attention coefficients that is dropped in training.
        message_dropout: share of the rows that "gat" sends that is dropped in training.
        alpha: teleport probability of "appnp".
        d_time: width of the time encoding of "tgat".
        time_scale: unit of the times that "tgat" encodes, in units of the edge times.
        mean_log_degree: mean of log(degree + 1) in training, for the scalers of "pna".
        readout: rows of nodes to one row per graph; "none" for tasks on nodes and links.
        pooling: local pooling after every layer, for tasks on graphs: the best nodes ("topk",
            "sag"; `gnn.pooling`), or pairs as one node ("matching"; `gnn.matching`).
        virtual_node: one more node per graph that all others hear and are heard by, for tasks on
            graphs (`gnn.virtual_node`).
        decoder: scores of node pairs, for tasks on links.

    Raises:
        InputError: a value is unknown or out of range.
    """

    d_in: int
    d_hidden: int
    d_out: int
    conv: str = "sage"
    num_layers: int = 2
    aggregator: Aggregator = "mean"
    dropout: float = 0.5
    head: HeadName = "linear"
    input_norm: InputNorm = "none"
    norm: Norm = "none"
    norm_first: bool = False
    activation: Activation = "relu"
    residual: bool = False
    residual_map: bool = False
    jumping: Jumping = "none"
    encoder: EncoderName = "none"
    input_types: tuple[InputType, ...] = ()
    cardinalities: tuple[int, ...] = ()
    edge_cardinalities: tuple[int, ...] = ()
    d_edge: int = 0
    d_position: int = 0
    num_node_types: int = 1
    num_relations: int = 1
    num_bases: int = 0
    heads: int = 1
    out_heads: int = 1
    attention_dropout: float = 0.0
    message_dropout: float = 0.0
    alpha: float = 0.1
    d_time: int = 32
    time_scale: float = 1.0
    mean_log_degree: float = 1.0
    readout: ReadoutName = "none"
    pooling: PoolingName = "none"
    virtual_node: bool = False
    decoder: DecoderName = "none"

    def __post_init__(self) -> None:
        for name, kind in CHOICES.items():
            known = get_args(kind)
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; choose {' or '.join(known)}")
        if self.conv not in get_args(ConvName) and not is_brought(self.conv):
            raise InputError(
                f"conv is {self.conv!r}; choose {' or '.join(get_args(ConvName))}, or your own as "
                "module:my_models:make_conv"
            )
        for name in ("input_types", "cardinalities", "edge_cardinalities"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_ranges()
        self._check_encoder()
        self._check_jumping()
        self._check_pooling()
        self._check_virtual_node()
        if self.norm == "graph" and self.readout == "none":
            raise InputError('norm is "graph", which is for collections of graphs; choose layer')
        if self.norm_first and self.norm not in ("layer", "batch"):
            raise InputError(
                f'norm_first is for the norms layer and batch, and norm is "{self.norm}"; choose '
                "one of these, or leave norm_first out"
            )

    def _check_ranges(self) -> None:
        _check_range("d_in", self.d_in, 0 if self.encoder == "typed" else 1, MAX_WIDTH)
        for name in ("d_hidden", "d_out", "d_time"):
            _check_range(name, getattr(self, name), 1, MAX_WIDTH)
        _check_range("num_layers", self.num_layers, 1, MAX_LAYERS)
        _check_range("d_edge", self.d_edge, 0, MAX_WIDTH)
        for name in ("heads", "out_heads"):
            _check_range(name, getattr(self, name), 1, 256)
        is_split = self.num_layers > 1 or self.d_last == self.d_hidden
        if self.conv in ATTENDING and is_split and self.d_hidden % self.heads:
            raise InputError(f"{self.heads} heads do not divide {self.d_hidden} columns; choose "
                             "another d_hidden or number of heads")  # fmt: skip
        _check_range("num_bases", self.num_bases, 0, MAX_TYPES)
        for name in ("num_node_types", "num_relations"):
            _check_range(name, getattr(self, name), 1, MAX_TYPES)
        for name in ("dropout", "attention_dropout", "message_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"{name} is {getattr(self, name)}; it must be at least 0 and below 1"
                )
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha is {self.alpha}; it must be in 0 … 1")
        for name in ("time_scale", "mean_log_degree"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value}; it must be a positive number")
        if self.d_position not in (0, 3) or (self.conv == "egnn") != (self.d_position == 3):
            raise InputError(
                f"d_position is {self.d_position} for {self.conv}; egnn reads positions of 3 "
                "coordinates, and no other convolution does"
            )
        if self.d_position and self.d_in <= self.d_position:
            raise InputError(f"d_in is {self.d_in}; egnn reads features before the 3 coordinates")

    def _check_jumping(self) -> None:
        if self.jumping == "none":
            return
        if self.conv in CARRYING:
            raise InputError(f"jumping is {self.jumping!r}, and rows of {self.conv} carry state of "
                             "their own; choose another convolution, or no jumping")  # fmt: skip
        if self.d_last != self.d_hidden:
            raise InputError(f'jumping is {self.jumping!r} and head is "none"; rows of all layers '
                             "must have one width, so choose a linear or mlp head")  # fmt: skip

    def _check_pooling(self) -> None:
        if self.pooling == "none":
            return
        needs = {
            "a readout; it is for tasks on graphs": self.readout == "none",
            f"no jumping, not {self.jumping!r}; choose jumping none": self.jumping != "none",
            f"a convolution that keeps no state, not {self.conv}": self.conv in CARRYING,
        }
        for need, is_missing in needs.items():
            if is_missing:
                raise InputError(f"pooling is {self.pooling!r}, which needs {need}")
        if self.pooling == "matching" and self._reads_edges:
            raise InputError(
                f'pooling is "matching", which merges edges, and {self.conv} reads their types, '
                "features or times, which cannot be merged; choose another convolution, or pooling "
                "topk or sag"
            )

    @property
    def _reads_edges(self) -> bool:
        """Whether the convolutions read of edges more than that they are there, and weights."""
        is_typed = is_brought(self.conv) and self.num_relations > 1
        return self.conv in EDGE_READING or self.d_edge > 0 or is_typed

    def _check_virtual_node(self) -> None:
        if not self.virtual_node:
            return
        if self.readout == "none" or self.conv in CARRYING:
            raise InputError(f"a virtual node needs a task on graphs, with a readout, and a "
                             f"convolution that keeps no state, not {self.conv}")  # fmt: skip

    def _check_encoder(self) -> None:
        if (self.encoder == "typed") != bool(self.input_types):
            raise InputError(f"encoder is {self.encoder!r} with {len(self.input_types)} input "
                             "types; a typed encoder, and no other, has them")  # fmt: skip
        if (self.encoder == "categorical") != bool(self.cardinalities):
            raise InputError(f"encoder is {self.encoder!r} with {len(self.cardinalities)} "
                             "cardinalities; a categorical encoder has one per column")  # fmt: skip
        for count in (*self.cardinalities, *self.edge_cardinalities):
            _check_range("a cardinality", count, 1, MAX_CODES)
        columns = self.d_in - self.d_position
        if self.cardinalities and len(self.cardinalities) != columns:
            raise InputError(f"there are {len(self.cardinalities)} cardinalities and {columns} "
                             "input columns; give one for each")  # fmt: skip
        if self.edge_cardinalities and len(self.edge_cardinalities) != self.d_edge:
            raise InputError(f"there are {len(self.edge_cardinalities)} edge cardinalities and "
                             f"d_edge is {self.d_edge}; give one for each column")  # fmt: skip
        ends = [0, *(t.end for t in self.input_types)]
        if [t.start for t in self.input_types] != ends[:-1]:
            raise InputError("input types must follow each other from node 0 on")
        if self.input_norm == "column" and self.encoder in ("typed", "categorical"):
            raise InputError(f'input_norm is "column" and encoder is {self.encoder!r}, whose '
                             "columns are not one quantity each; choose none")  # fmt: skip
        if any(t.d_in > self.d_in for t in self.input_types):
            raise InputError(f"an input type reads more columns than the {self.d_in} there are")

    @property
    def reads_sparse(self) -> bool:
        """Whether input rows may be sparse: a linear map to fewer columns reads them first."""
        if self.encoder in ("linear", "mlp"):
            return not self.d_position
        width = self.d_hidden if self.num_layers > 1 else self.d_last
        maps = self.conv in SPARSE_CONVS and self.d_in > width and self.jumping != "mean"
        return self.encoder == "none" and maps

    @property
    def num_followed(self) -> int:
        """Convolutions that a nonlinearity follows: the last only before a readout, or where its
        norm comes first and a head reads its rows, not a decoder.
        """
        has_head = self.head != "none" and self.decoder == "none"
        is_last = self.readout != "none" or (self.norm_first and has_head)
        return self.num_layers - (not is_last)

    @property
    def d_last(self) -> int:
        """Width that the last convolution is asked for."""
        direct = self.head == "none" and self.readout == "none" and self.decoder == "none"
        return self.d_out if direct else self.d_hidden


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it must be an integer in {low} … {high}")
