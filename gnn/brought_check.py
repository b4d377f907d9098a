"""What a brought convolution must keep to, tried out on a dozen nodes before it is relied on.

A row may depend on the destination, its in-edges and their sources, and on nothing else: then a
mini-batch, a tile of a whole graph and the whole graph give the same rows, and training, embedding
and serving agree. Weights must have names and shapes that do not depend on the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gnn.conv.protocol import Conv
from gnn.errors import UserModuleError
from gnn.model_config import ModelConfig
from sampling import Block, FullNeighborSampler, Graph, NodeType
from sampling.errors import GnnError

if TYPE_CHECKING:
    from gnn.convs import Layer

__all__ = ["check_conv"]

NODES, EDGES = 12, 40
TILE = (3, 9)
SEEDS = [7, 2, 11]
TOLERANCE = 1e-4
NEEDED = ("d_out", "sends_input", "activates", "linear_reduction", "messages", "combine")


def check_conv(name: str, conv: Any, config: ModelConfig, at: Layer) -> None:
    """Refuse what cannot be a layer of a model.

    Args:
        name: how the user named it.
        conv: what the user's function returned.
        config: the architecture.
        at: the place in the stack.

    Raises:
        UserModuleError: says what is wrong with it.
    """
    lacks = [n for n in NEEDED if not hasattr(conv, n)]
    if not isinstance(conv, nn.Module) or lacks:
        raise UserModuleError(
            name,
            f"returned {type(conv).__name__}, which is no convolution of this library; wrap a "
            "module as gnn.bridges.convs.PyGConv(module, d_out) or DGLConv(module, d_out)",
        )
    if conv.d_out != at.d_out:
        raise UserModuleError(
            name, f"gives rows of width {conv.d_out} in layer {at.i + 1}, where {at.d_out} is asked"
        )
    _check_weights(name, conv)
    _check_rows(name, conv, config, at)


def _check_weights(name: str, conv: nn.Module) -> None:
    if any(torch.nn.parameter.is_lazy(p) for p in [*conv.parameters(), *conv.buffers()]):
        raise UserModuleError(name, "has weights without a shape; give its widths, not -1")
    seen: dict[int, str] = {}
    for key, tensor in conv.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):
            raise UserModuleError(name, f"keeps {key!r} beside its weights, which is no tensor")
        place = tensor.untyped_storage().data_ptr()
        if tensor.numel() and place in seen:
            raise UserModuleError(name, f"shares memory between {seen[place]!r} and {key!r}; give "
                                        "each weights of its own")  # fmt: skip
        seen[place] = key


def _check_rows(name: str, conv: nn.Module, config: ModelConfig, at: Layer) -> None:
    """Rows of a tile, and of a batch, must be those of the whole graph."""
    graph = _graph(config)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(NODES, at.d_in))).float()
    was_training = conv.training
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            conv.eval()
            whole = _rows(name, conv, graph.block(), x, at)
            tile = _rows(name, conv, graph.block(*TILE), x, at)
            [block] = FullNeighborSampler(graph, 1, 1).sample(SEEDS)
            batch = _rows(name, conv, block, x[block.src_nodes], at)
    finally:
        conv.train(was_training)
    for got, expected in ((tile, whole[TILE[0] : TILE[1]]), (batch, whole[SEEDS])):
        if not torch.allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise UserModuleError(
                name,
                "gives a node other rows in a batch than in the whole graph; a row may depend on "
                "the node, its in-edges and their sources only (no normalization by the "
                "out-degrees or the statistics of a batch, no randomness in evaluation)",
            )


def _rows(name: str, conv: Any, block: Block, x: Tensor, at: Layer) -> Tensor:
    layer: Conv = conv
    try:
        rows = layer.combine(block, block.dst_rows(x), layer.messages(x, block.sources))
    except GnnError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise UserModuleError(
            name, f"fails on a small graph in layer {at.i + 1} ({what})"
        ) from error
    shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
    if shape != (block.num_dst, at.d_out):
        raise UserModuleError(
            name, f"gives {shape} in layer {at.i + 1}, and not ({block.num_dst}, {at.d_out})"
        )
    return rows


def _graph(config: ModelConfig) -> Graph:
    """Random edges with all that the architecture says that edges have; the last node has none."""
    rng = np.random.default_rng(1)
    kinds = min(config.num_node_types, NODES)
    return Graph.from_edges(
        *rng.integers(0, NODES - 1, (2, EDGES)),
        num_nodes=NODES,
        edge_type=rng.integers(0, config.num_relations, EDGES),
        edge_time=rng.permutation(EDGES),
        edge_weight=rng.random(EDGES),
        edge_features=rng.normal(size=(EDGES, config.d_edge)) if config.d_edge else None,
        node_types=tuple(
            NodeType(str(i), i, i + 1 if i < kinds - 1 else NODES) for i in range(kinds)
        ),
        edge_types=tuple(map(str, range(config.num_relations))),
        num_threads=1,
    )
