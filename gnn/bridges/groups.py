"""Typed graphs as other libraries hold them: one group per node type, one per kind of edge.

PyG's `HeteroData` and DGL's heterographs number the nodes of every type from 0 and keep what is
known of them by type. A `Dataset` has one index space in which every type owns a range: node i of
a type is node `start + i`. A kind of edge is a triple of source type, relation and destination
type; its name here is the three joined by "__".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.model_config import InputType
from sampling import Dataset, Graph, NodeType
from sampling.errors import InputError
from sampling.graph.csc import as_tensor
from sampling.graph.store import SPLIT_CODES

__all__ = ["PARTS", "EdgeGroup", "NodeGroup", "dataset_of", "edge_groups", "edges_of",
           "feature_types", "node_groups"]  # fmt: skip

PARTS = ("train", "val", "test")
JOINT = "__"
PER_EDGE = ("features", "weight", "time")


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """The nodes of one type.

    Attributes:
        name: of the type.
        num_nodes: how many.
        x: features, (num_nodes, d), or None.
        y: integer classes, -1 for none, or real targets, (num_nodes,) or (num_nodes, 1); None
            without labels.
        masks: "train", "val" and "test" to (num_nodes,) or (num_nodes, num_splits) booleans.
        time: (num_nodes,) integers, or None.
        positions: (num_nodes, 3), or None.
    """

    name: str
    num_nodes: int
    x: Tensor | None = None
    y: Tensor | None = None
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    time: Tensor | None = None
    positions: Tensor | None = None


@dataclass(frozen=True, slots=True)
class EdgeGroup:
    """The edges of one kind; `src` and `dst` count within their node types.

    Attributes:
        src_type: type of the sources.
        relation: name of the relation.
        dst_type: type of the destinations.
        src: (num_edges,) integers.
        dst: (num_edges,) integers.
        features: (num_edges, d) or (num_edges,), or None.
        weight: (num_edges,), or None.
        time: (num_edges,) integers, or None.
        codes: relations of the edges where one group holds several, (num_edges,); or None.
    """

    src_type: str
    relation: str
    dst_type: str
    src: Tensor
    dst: Tensor
    features: Tensor | None = None
    weight: Tensor | None = None
    time: Tensor | None = None
    codes: Tensor | None = None

    @property
    def name(self) -> str:
        """The three names as one."""
        return JOINT.join((self.src_type, self.relation, self.dst_type))


def dataset_of(
    nodes: Sequence[NodeGroup],
    edges: Sequence[EdgeGroup],
    *,
    target: str | None = None,
    name: str = "graph",
) -> Dataset:
    """A Dataset in memory; node types keep their order, kinds of edges are sorted by name.

    Features of narrower types are padded with zeros on the right; `feature_types` says which
    columns belong to a type.

    Args:
        nodes: one group per type.
        edges: one group per kind.
        target: the type whose labels and masks are taken; needed where several have labels.
        name: of the data set.

    Raises:
        InputError: several types have labels and no target is given, a mask or an array has
            another length than its nodes or edges, masks overlap, or only some kinds of edges
            have features, weights or times.
    """
    if not nodes:
        raise InputError("the graph has no node types; give it nodes")
    starts = dict(zip([n.name for n in nodes], _starts(nodes), strict=False))
    chosen = _target(nodes, target)
    return Dataset.in_memory(
        _graph(nodes, sorted(edges, key=lambda e: e.name), starts),
        features=_features(nodes),
        labels=_labels(nodes, chosen),
        splits=_splits(nodes, chosen),
        node_time=_times(nodes),
        positions=_positions(nodes),
        name=name,
    )


def feature_types(nodes: Sequence[NodeGroup]) -> tuple[InputType, ...]:
    """Node types with the widths of their own features, for a "typed" encoder."""
    starts = _starts(nodes)
    return tuple(
        InputType(name=n.name, start=a, end=b, d_in=0 if n.x is None else int(n.x.shape[1]))
        for n, a, b in zip(nodes, starts, starts[1:], strict=False)
    )


def node_groups(data: Dataset) -> list[NodeGroup]:
    """The nodes of a Dataset by type; a type without any label or split has none."""
    return [_node_group(data, kind) for kind in data.graph.node_types]


def edges_of(data: Dataset) -> EdgeGroup:
    """All edges as one group, in one index space and in the order of the graph's rows."""
    graph, name = data.graph, data.graph.node_types[0].name
    return EdgeGroup(
        name,
        graph.edge_types[0],
        name,
        as_tensor(graph.indices).long(),
        torch.repeat_interleave(as_tensor(graph.in_degrees())),
        features=_tensor(graph.edge_features),
        weight=_tensor(graph.edge_weight),
        time=_tensor(graph.edge_time),
        codes=None if graph.edge_type is None else as_tensor(graph.edge_type).long(),
    )


def _tensor(array: NDArray[Any] | None) -> Tensor | None:
    return None if array is None else as_tensor(array)


def edge_groups(data: Dataset) -> list[EdgeGroup]:
    """The edges of a Dataset by kind; kinds that the nodes' types split are several."""
    graph, every = data.graph, edges_of(data)
    ends = torch.tensor([t.end for t in graph.node_types])
    kinds = [torch.searchsorted(ends, end, right=True) for end in (every.src, every.dst)]
    codes = torch.zeros_like(every.src) if every.codes is None else every.codes
    keys = torch.stack([codes, *kinds], dim=1)
    found, places = torch.unique(keys, dim=0, return_inverse=True)
    return [
        _edge_group(data, every, torch.nonzero(places == i)[:, 0], *key)
        for i, key in enumerate(found.tolist())
    ]


def _edge_group(
    data: Dataset, every: EdgeGroup, chosen: Tensor, code: int, src_kind: int, dst_kind: int
) -> EdgeGroup:
    src, dst = data.graph.node_types[src_kind], data.graph.node_types[dst_kind]
    relation = data.graph.edge_types[code]
    relation = relation.removeprefix(f"{src.name}{JOINT}").removesuffix(f"{JOINT}{dst.name}")
    rows = {name: getattr(every, name) for name in PER_EDGE}
    return EdgeGroup(
        src.name,
        relation,
        dst.name,
        every.src[chosen] - src.start,
        every.dst[chosen] - dst.start,
        **{name: None if a is None else a[chosen] for name, a in rows.items()},
    )


def _node_group(data: Dataset, kind: NodeType) -> NodeGroup:
    def own(array: NDArray[Any] | None) -> Tensor | None:
        return None if array is None else as_tensor(array[kind.start : kind.end])

    y, splits = own(data.labels), own(data.splits)
    if y is not None and bool((y.isnan() if y.is_floating_point() else y < 0).all()):
        y = None
    masks = {}
    if splits is not None and bool(splits.any()):
        splits = splits[:, 0] if splits.shape[1] == 1 else splits
        masks = {part: splits == SPLIT_CODES[part] for part in PARTS}
    x = data.features.rows(kind.start, kind.end).to_dense() if data.features is not None else None
    return NodeGroup(
        kind.name, kind.num_nodes, x, y, masks, own(data.node_time), own(data.positions)
    )


def _starts(nodes: Sequence[NodeGroup]) -> list[int]:
    """First node of every type and, last, the number of nodes."""
    return list(accumulate((n.num_nodes for n in nodes), initial=0))


def _target(nodes: Sequence[NodeGroup], target: str | None) -> str | None:
    labeled = [n.name for n in nodes if n.y is not None]
    if target is not None and target not in labeled:
        raise InputError(f"target is {target!r}; types with labels are {', '.join(labeled) or '-'}")
    if target is None and len(labeled) > 1:
        raise InputError(
            f"the node types {', '.join(labeled)} all have labels; a graph here has one target, so "
            "choose it with target=…"
        )
    return target or (labeled[0] if labeled else None)


def _graph(nodes: Sequence[NodeGroup], edges: list[EdgeGroup], starts: dict[str, int]) -> Graph:
    ends = _starts(nodes)
    types = tuple(NodeType(n.name, a, b) for n, a, b in zip(nodes, ends, ends[1:], strict=False))
    several = len(nodes) > 1 or len(edges) > 1
    names = tuple(e.name for e in edges) if several else None
    codes = [torch.full_like(e.src, i) for i, e in enumerate(edges)] if len(edges) > 1 else None
    own = [e.codes for e in edges if e.codes is not None]
    moved = [_in_one_space(e, nodes, starts) for e in edges]
    return Graph.from_edges(
        torch.cat([m[0] for m in moved] or [torch.empty(0, dtype=torch.int64)]),
        torch.cat([m[1] for m in moved] or [torch.empty(0, dtype=torch.int64)]),
        num_nodes=ends[-1],
        edge_type=torch.cat(codes) if codes else own[0].cpu() if own else None,
        edge_weight=_joined(edges, "weight"),
        edge_time=_joined(edges, "time"),
        edge_features=_joined(edges, "features"),
        node_types=types,
        edge_types=names,
    )


def _in_one_space(
    group: EdgeGroup, nodes: Sequence[NodeGroup], starts: dict[str, int]
) -> tuple[Tensor, Tensor]:
    """The two ends of the edges as dense nodes.

    Raises:
        InputError: an end is no node of its type.
    """
    counts = {n.name: n.num_nodes for n in nodes}
    out = []
    for kind, end in ((group.src_type, group.src), (group.dst_type, group.dst)):
        if kind not in counts:
            raise InputError(f"edges {group.name} run between types without nodes ({kind!r})")
        if len(end) and not 0 <= int(end.min()) <= int(end.max()) < counts[kind]:
            raise InputError(
                f"edges {group.name} name node {int(end.max())} or {int(end.min())} of type "
                f"{kind!r}, which has the nodes 0 … {counts[kind] - 1}"
            )
        out.append(end.cpu().long() + starts[kind])
    return out[0], out[1]


def _joined(edges: Sequence[EdgeGroup], name: str) -> Tensor | None:
    """One array of all kinds of edges, in order; None where no kind has it."""
    found = [(e.name, e.src, getattr(e, name)) for e in edges]
    if all(array is None for *_, array in found):
        return None
    lacking = [kind for kind, _, array in found if array is None]
    if lacking:
        raise InputError(
            f"edges {', '.join(lacking)} have no {name} and others have; give all of them, or none"
        )
    rows = [array.cpu() for *_, array in found]
    if name == "features":
        rows = [r[:, None] if r.ndim == 1 else r for r in rows]
        if len({r.shape[1:] for r in rows}) > 1:
            widths = ", ".join(f"{kind} {tuple(r.shape)[1:]}"
                               for (kind, *_), r in zip(found, rows, strict=True))  # fmt: skip
            raise InputError(f"edge features have several widths ({widths}); give them one width")
    return torch.cat(rows)


def _features(nodes: Sequence[NodeGroup]) -> NDArray[np.float32] | None:
    """Rows of all types, narrower ones padded with zeros; None where no type has features."""
    width = max((int(n.x.shape[1]) for n in nodes if n.x is not None and n.x.ndim == 2), default=-1)
    if width < 0 and all(n.x is None for n in nodes):
        return None
    starts = _starts(nodes)
    out = np.zeros((starts[-1], width), np.float32)
    for group, start in zip(nodes, starts, strict=False):
        if group.x is None:
            continue
        if group.x.ndim != 2 or len(group.x) != group.num_nodes:
            raise InputError(f"features of {group.name!r} have shape {tuple(group.x.shape)}; give "
                             f"a row for each of the {group.num_nodes} nodes")  # fmt: skip
        x = group.x.to_dense() if group.x.layout != torch.strided else group.x
        out[start : start + len(x), : x.shape[1]] = x.numpy(force=True)
    return out


def _labels(nodes: Sequence[NodeGroup], target: str | None) -> NDArray[Any] | None:
    if target is None:
        return None
    starts = _starts(nodes)
    for group, start in zip(nodes, starts, strict=False):
        if group.name == target:
            y = _one_column(group)
            real = y.is_floating_point()
            out = np.full(starts[-1], np.nan if real else -1, np.float32 if real else np.int64)
            out[start : start + len(y)] = y.numpy(force=True)
            return out if real else np.maximum(out, -1)
    return None


def _one_column(group: NodeGroup) -> Tensor:
    y = group.y
    assert y is not None, "the target has labels"
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (group.num_nodes,):
        raise InputError(
            f"labels of {group.name!r} have shape {tuple(y.shape)}; give one class or one number "
            f"for each of the {group.num_nodes} nodes"
        )
    return y


def _splits(nodes: Sequence[NodeGroup], target: str | None) -> NDArray[np.uint8] | None:
    """Masks of the target, or of the type that has some where nothing has labels."""
    masked = [n for n in nodes if n.masks and target in (None, n.name)]
    if not masked:
        return None
    group, starts = masked[0], _starts(nodes)
    start = starts[[n.name for n in nodes].index(group.name)]
    own = _codes(group)
    out = np.zeros((starts[-1], own.shape[1]), np.uint8)
    out[start : start + len(own)] = own
    return out


def _codes(group: NodeGroup) -> NDArray[np.uint8]:
    """Codes of the parts, (num_nodes, num_splits)."""
    columns = {part: mask.numpy(force=True).astype(bool) for part, mask in group.masks.items()}
    columns = {part: m[:, None] if m.ndim == 1 else m for part, m in columns.items()}
    num_splits = max(m.shape[-1] for m in columns.values())
    codes = np.zeros((group.num_nodes, num_splits), np.uint8)
    for part, mask in columns.items():
        if mask.shape not in ((group.num_nodes, 1), codes.shape):
            raise InputError(f"the {part} mask of {group.name!r} has shape {mask.shape}; give "
                             f"{group.num_nodes} booleans")  # fmt: skip
        if (codes[np.broadcast_to(mask, codes.shape)] > 0).any():
            raise InputError(f"the {part} mask of {group.name!r} overlaps another; a node belongs "
                             "to one part")  # fmt: skip
        codes[np.broadcast_to(mask, codes.shape)] = SPLIT_CODES[part]
    return codes


def _times(nodes: Sequence[NodeGroup]) -> NDArray[np.int64] | None:
    """Times of all nodes; types without times are there from the start, as static nodes are."""
    if all(n.time is None for n in nodes):
        return None
    given = [n.time for n in nodes if n.time is not None]
    earliest = min((int(t.min()) for t in given if len(t)), default=0)
    rows = [torch.full((n.num_nodes,), earliest) if n.time is None else _flat(n) for n in nodes]
    out: NDArray[np.int64] = torch.cat([r.cpu().long() for r in rows]).numpy()
    return out


def _flat(group: NodeGroup) -> Tensor:
    assert group.time is not None, "callers check"
    if group.time.numel() != group.num_nodes:
        raise InputError(f"times of {group.name!r} have shape {tuple(group.time.shape)}; give one "
                         f"for each of the {group.num_nodes} nodes")  # fmt: skip
    return group.time.reshape(-1)


def _positions(nodes: Sequence[NodeGroup]) -> NDArray[np.float32] | None:
    found = [n.positions for n in nodes]
    if all(p is None for p in found):
        return None
    for group, rows in zip(nodes, found, strict=True):
        if rows is None or rows.shape != (group.num_nodes, 3):
            got = "none" if rows is None else f"shape {tuple(rows.shape)}"
            raise InputError(f"positions of {group.name!r}: got {got}; give 3 coordinates for each "
                             f"of the {group.num_nodes} nodes, or make them features")  # fmt: skip
    kept = [rows.cpu().float() for rows in found if rows is not None]
    out: NDArray[np.float32] = torch.cat(kept).numpy()
    return out
