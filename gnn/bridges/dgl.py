"""Blocks and graphs for models that were written with DGL (Wang et al. 2019).

DGL is imported when a function here is called, and by nothing else in this project.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch

from gnn.errors import MissingPackageError
from sampling import Block, Graph
from sampling.errors import InputError

__all__ = ["from_dgl", "to_dgl_blocks"]

REMEDY = "install dgl==1.1.3 with Python 3.11 on x86-64 Linux, or leave the bridge out"


def to_dgl_blocks(blocks: Sequence[Block]) -> list[Any]:
    """DGL blocks with the same edges in the same order, for a DGL model's forward pass.

    Source and destination nodes carry their dense nodes under `dgl.NID`.

    Args:
        blocks: sampled Blocks, in the order the layers run.

    Raises:
        InputError: a Block is a tile, whose destinations are no prefix of its sources.
        MissingPackageError: DGL is not there.
    """
    dgl = _import_dgl()
    return [_to_dgl_block(dgl, block) for block in blocks]


def from_dgl(graph: Any) -> Graph:
    """A Graph with the edges of a homogeneous `dgl.DGLGraph`.

    Raises:
        InputError: the graph has several node or edge types.
        MissingPackageError: DGL is not there.
    """
    _import_dgl()
    if not graph.is_homogeneous:
        raise InputError(
            f"the DGL graph has {len(graph.ntypes)} node types and {len(graph.etypes)} edge "
            "types; convert it with dgl.to_homogeneous first"
        )
    src, dst = graph.edges()
    return Graph.from_edges(src, dst, num_nodes=graph.num_nodes())


def _to_dgl_block(dgl: Any, block: Block) -> Any:
    if block.dst_offset:
        raise InputError(
            f"the block is a tile that starts at row {block.dst_offset}; DGL needs destinations "
            "first, as in sampled blocks"
        )
    edges = (block.indptr.long(), block.indices.long(), torch.empty(0, dtype=torch.int64))
    out = dgl.create_block(("csc", edges), num_src_nodes=block.num_src, num_dst_nodes=block.num_dst)
    out.srcdata[dgl.NID] = block.src_nodes
    out.dstdata[dgl.NID] = block.dst_nodes
    return out


def _import_dgl() -> Any:
    try:
        return importlib.import_module("dgl")
    except (ImportError, OSError) as error:
        raise MissingPackageError("dgl", error, REMEDY) from error
