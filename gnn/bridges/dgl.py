"""Blocks and graphs for models that were written with DGL (Wang et al. 2019).

DGL is imported when a function here is called, and by nothing else in this project.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch

from gnn.bridges.groups import (
    PARTS,
    EdgeGroup,
    NodeGroup,
    dataset_of,
    edge_groups,
    feature_types,
    node_groups,
)
from gnn.errors import MissingPackageError
from gnn.model_config import InputType
from sampling import Block, Dataset, Graph
from sampling.errors import InputError

__all__ = ["dataset_from_dgl", "dataset_to_dgl", "dgl_input_types", "from_dgl", "to_dgl_blocks"]

REMEDY = "install dgl==1.1.3 with Python 3.11 on x86-64 Linux, or leave the bridge out"


def to_dgl_blocks(blocks: Sequence[Block]) -> list[Any]:
    """DGL blocks with the same edges in the same order, for a DGL model's forward pass.

    Source and destination nodes carry their dense nodes under `dgl.NID` and, where the graph has
    several node types, these under `dgl.NTYPE`. Edges carry what they have, under the names that
    `dataset_to_dgl` gives it: `feat`, `weight` and `time`, and their types under `dgl.ETYPE`.

    Args:
        blocks: sampled Blocks, in the order the layers run.

    Raises:
        InputError: a Block is a tile, whose destinations are no prefix of its sources, or was
            reduced while it was drawn and lists no edges.
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


def dataset_from_dgl(graph: Any, *, target: str | None = None, name: str = "graph") -> Dataset:
    """A Dataset from a `dgl.DGLGraph` of any number of node and edge types.

    Taken are `ndata`: feat, label, train_mask, val_mask, test_mask, time, pos, and `edata`: feat,
    weight, time. Node i of a type is node `start + i`, and that is its id. Edges are sorted anew.
    Narrower features are padded with zeros; see `dgl_input_types`.

    Args:
        graph: the graph, on any device.
        target: the node type to predict, where several have labels.
        name: of the data set.

    Raises:
        InputError: what the graph holds does not fit together.
        MissingPackageError: DGL is not there.
    """
    _import_dgl()
    edges = [_edge_group(graph, kind) for kind in graph.canonical_etypes]
    return dataset_of(_nodes(graph), edges, target=target, name=name)


def dgl_input_types(graph: Any) -> tuple[InputType, ...]:
    """`ModelConfig.input_types` for `encoder="typed"`: the width of every node type's features."""
    return feature_types(_nodes(graph))


def dataset_to_dgl(data: Dataset) -> Any:
    """A `dgl.DGLGraph` from a Dataset, with a kind of edges for every triple of types.

    Raises:
        MissingPackageError: DGL is not there.
    """
    dgl = _import_dgl()
    nodes, edges = node_groups(data), edge_groups(data)
    kinds = {(e.src_type, e.relation, e.dst_type): e for e in edges}
    ends: dict[tuple[str, str, str], Any] = {kind: (e.src, e.dst) for kind, e in kinds.items()}
    ends = ends or {(nodes[0].name, "edge", nodes[0].name): ([], [])}
    out = dgl.heterograph(ends, num_nodes_dict={n.name: n.num_nodes for n in nodes})
    for group in nodes:
        rows = {"feat": group.x, "label": group.y, "time": group.time, "pos": group.positions}
        rows |= {f"{part}_mask": mask for part, mask in group.masks.items()}
        out.nodes[group.name].data.update({k: v for k, v in rows.items() if v is not None})
    for kind, e in kinds.items():
        held = {"feat": e.features, "weight": e.weight, "time": e.time}
        out.edges[kind].data.update({k: v for k, v in held.items() if v is not None})
    return out


def _nodes(graph: Any) -> list[NodeGroup]:
    return [_node_group(graph, kind) for kind in graph.ntypes]


def _node_group(graph: Any, kind: str) -> NodeGroup:
    held = graph.nodes[kind].data
    masks = {part: held[f"{part}_mask"] for part in PARTS if f"{part}_mask" in held}
    return NodeGroup(
        _plain(kind),
        int(graph.num_nodes(kind)),
        held.get("feat"),
        held.get("label"),
        masks,
        held.get("time"),
        held.get("pos"),
    )


def _edge_group(graph: Any, kind: tuple[str, str, str]) -> EdgeGroup:
    src, dst = graph.edges(etype=kind, order="eid")
    held = graph.edges[kind].data
    names = (_plain(kind[0]), _plain(kind[1]), _plain(kind[2]))
    return EdgeGroup(*names, src, dst, held.get("feat"), held.get("weight"), held.get("time"))


def _plain(name: str) -> str:
    """A type's name, or that of the only type, which DGL calls _N or _E."""
    return {"_N": "node", "_E": "edge"}.get(name, name)


def _to_dgl_block(dgl: Any, block: Block) -> Any:
    if block.received is not None:
        raise InputError("the block was reduced while it was drawn; sample with NeighborSampler")
    if block.dst_offset:
        raise InputError(
            f"the block is a tile that starts at row {block.dst_offset}; DGL needs destinations "
            "first, as in sampled blocks"
        )
    # DGL's sums over messages of edges want the numbers of the edges, where others may be without.
    edges = (block.indptr.long(), block.indices.long(), torch.arange(block.num_edges))
    out = dgl.create_block(("csc", edges), num_src_nodes=block.num_src, num_dst_nodes=block.num_dst)
    out.srcdata[dgl.NID] = block.src_nodes
    out.dstdata[dgl.NID] = block.dst_nodes
    if block.type_starts is not None:
        kinds = block.sources.types()
        out.srcdata[dgl.NTYPE] = kinds
        out.dstdata[dgl.NTYPE] = kinds[: block.num_dst]
    held = {
        "feat": block.edge_features,
        "weight": block.edge_weight,
        "time": block.edge_time,
        dgl.ETYPE: None if block.edge_type is None else block.edge_type.long(),
    }
    out.edata.update({name: data for name, data in held.items() if data is not None})
    return out


def _import_dgl() -> Any:
    try:
        return importlib.import_module("dgl")
    except (ImportError, OSError) as error:
        raise MissingPackageError("dgl", error, REMEDY) from error
