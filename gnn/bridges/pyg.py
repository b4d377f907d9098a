"""Blocks and graphs for models that were written with PyG (Fey, Lenssen 2019).

A Block becomes the bipartite `edge_index` that PyG's convolutions take; a `Data` or `HeteroData`
becomes a Dataset, and the other way round. torch_geometric is imported where a `Data` is made, and
by nothing else in this project.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnn.bridges.groups import (
    PARTS,
    EdgeGroup,
    NodeGroup,
    dataset_of,
    edge_groups,
    edges_of,
    feature_types,
    node_groups,
)
from gnn.edges import destinations
from gnn.errors import MissingPackageError
from gnn.model_config import InputType
from sampling import Block, Dataset
from sampling.errors import InputError

__all__ = ["PyGHop", "dataset_from_pyg", "dataset_to_pyg", "pyg_input_types", "to_pyg",
           "to_pyg_layers"]  # fmt: skip

REMEDY = "pip install torch_geometric, or leave the bridge out"
NODE, EDGE = "node", "edge"


class PyGHop(NamedTuple):
    """One bipartite hop in PyG's words.

    Attributes:
        edge_index: positions of source and destination of every edge, (2, num_edges) int64.
        size: number of sources and of destinations.
        edge_attr: (num_edges, d_edge) float32, or None.
        edge_weight: (num_edges,) float32, or None.
        edge_type: (num_edges,) int64, or None.
        edge_time: (num_edges,) int64, or None.
        src_nodes: dense nodes of the sources, (num_src,) int64.
        dst_nodes: dense nodes of the destinations, (num_dst,) int64.
    """

    edge_index: Tensor
    size: tuple[int, int]
    edge_attr: Tensor | None
    edge_weight: Tensor | None
    edge_type: Tensor | None
    edge_time: Tensor | None
    src_nodes: Tensor
    dst_nodes: Tensor


def to_pyg(block: Block) -> PyGHop:
    """A Block as PyG sees it: `conv((x, x[:num_dst]), hop.edge_index)` for a sampled one.

    Raises:
        InputError: the Block was reduced while it was drawn and lists no edges.

    Example:
        >>> block = Block(torch.arange(2), torch.tensor([0, 1, 1]), torch.tensor([1]))
        >>> to_pyg(block).edge_index.tolist()
        [[1], [0]]
    """
    if block.received is not None:
        raise InputError("the block was reduced while it was drawn; sample with NeighborSampler")
    kinds = block.edge_type
    return PyGHop(
        torch.stack([block.indices.long(), destinations(block)]),
        (block.num_src, block.num_dst),
        block.edge_features,
        block.edge_weight,
        None if kinds is None else kinds.long(),
        block.edge_time,
        block.src_nodes,
        block.dst_nodes,
    )


def to_pyg_layers(blocks: Sequence[Block]) -> list[PyGHop]:
    """The Blocks of one sample, in the order the layers run."""
    return [to_pyg(block) for block in blocks]


def dataset_from_pyg(data: Any, *, target: str | None = None, name: str = "graph") -> Dataset:
    """A Dataset from a `torch_geometric.data.Data` or `HeteroData`.

    Taken are, of nodes: `x`, `y`, `train_mask`, `val_mask`, `test_mask` (one column per split),
    `time` and `pos`; of edges: `edge_index`, `edge_attr`, `edge_weight`, `edge_type` and
    `edge_time` (or `time`). Node i of a type is node `start + i`, and that is its id. Edges are
    sorted anew. Narrower features are padded with zeros; see `pyg_input_types`.

    Args:
        data: the graph.
        target: the node type to predict, where several have labels.
        name: of the data set.

    Raises:
        InputError: the graph has no `edge_index`, or what it holds does not fit together.
    """
    edges = _hetero_edges(data) if _is_hetero(data) else [_edges(data, (NODE, EDGE, NODE), data)]
    return dataset_of(_nodes(data), edges, target=target, name=name)


def pyg_input_types(data: Any) -> tuple[InputType, ...]:
    """`ModelConfig.input_types` for `encoder="typed"`: the width of every node type's features."""
    return feature_types(_nodes(data))


def dataset_to_pyg(data: Dataset) -> Any:
    """A `Data` from a Dataset with one node type, a `HeteroData` from one with several.

    Raises:
        MissingPackageError: torch_geometric is not there.
    """
    module = _import_pyg()
    nodes = node_groups(data)
    if len(nodes) == 1:
        out = module.Data(num_nodes=nodes[0].num_nodes)
        _fill_nodes(out, nodes[0])
        return _fill_edges(out, edges_of(data))
    out = module.HeteroData()
    for group in nodes:
        out[group.name].num_nodes = group.num_nodes
        _fill_nodes(out[group.name], group)
    for edges in edge_groups(data):
        _fill_edges(out[edges.src_type, edges.relation, edges.dst_type], edges)
    return out


def _fill_nodes(store: Any, group: NodeGroup) -> None:
    rows = {"x": group.x, "y": group.y, "time": group.time, "pos": group.positions}
    rows |= {f"{part}_mask": mask for part, mask in group.masks.items()}
    _fill(store, rows)


def _fill_edges(store: Any, group: EdgeGroup) -> Any:
    store.edge_index = torch.stack([group.src, group.dst])
    _fill(store, {
        "edge_attr": group.features, "edge_weight": group.weight, "edge_time": group.time,
        "edge_type": group.codes,
    })  # fmt: skip
    return store


def _fill(store: Any, rows: dict[str, Tensor | None]) -> None:
    for name, value in rows.items():
        if value is not None:
            store[name] = value


def _is_hetero(data: Any) -> bool:
    return hasattr(data, "node_types") and hasattr(data, "node_items")


def _nodes(data: Any) -> list[NodeGroup]:
    if _is_hetero(data):
        return [_node_group(str(kind), data[kind]) for kind in data.node_types]
    return [_node_group(NODE, data)]


def _node_group(name: str, store: Any) -> NodeGroup:
    if store.num_nodes is None:
        raise InputError(f"the number of nodes of {name!r} is not known; set num_nodes")
    masks = {part: store.get(f"{part}_mask") for part in PARTS}
    return NodeGroup(
        name,
        int(store.num_nodes),
        store.get("x"),
        store.get("y"),
        {part: mask for part, mask in masks.items() if mask is not None},
        _node_time(store),
        store.get("pos"),
    )


def _node_time(store: Any) -> Tensor | None:
    """`time`, unless its length says that it belongs to the edges."""
    time = store.get("time")
    belongs = isinstance(time, Tensor) and time.numel() == store.num_nodes
    return time if belongs else None


def _hetero_edges(data: Any) -> list[EdgeGroup]:
    return [_edges(data[kind], kind, None) for kind in data.edge_types]


def _edges(store: Any, kind: tuple[str, str, str], data: Any) -> EdgeGroup:
    """One kind of edges.

    Args:
        store: where its arrays are.
        kind: source type, relation, destination type.
        data: the graph, where its nodes share the store.
    """
    index = store.get("edge_index")
    if not isinstance(index, Tensor) or index.ndim != 2 or index.shape[0] != 2:
        got = "none" if index is None else f"{type(index).__name__}"
        raise InputError(
            f"edges {'__'.join(kind)} have no edge_index of shape (2, num_edges) (got {got}); make "
            "one from adj_t with torch_geometric.transforms, or leave ToSparseTensor out"
        )
    features, time = store.get("edge_attr"), store.get("edge_time")
    if time is None and (data is None or _node_time(data) is None):
        time = store.get("time")
    codes = store.get("edge_type") if data is not None else None
    group = EdgeGroup(*kind, index[0], index[1], features, store.get("edge_weight"), time, codes)
    _check_lengths(group)
    return group


def _check_lengths(group: EdgeGroup) -> None:
    named = {"edge_attr": group.features, "edge_weight": group.weight, "edge_time": group.time,
             "edge_type": group.codes}  # fmt: skip
    for name, array in named.items():
        if array is not None and len(array) != len(group.src):
            raise InputError(f"{name} of edges {group.name} has {len(array)} rows; there are "
                             f"{len(group.src)} edges")  # fmt: skip


def _import_pyg() -> Any:
    try:
        return importlib.import_module("torch_geometric.data")
    except (ImportError, OSError) as error:
        raise MissingPackageError("torch_geometric", error, REMEDY) from error
