"""The graph at rest: compressed sparse columns, the in-neighbors of every node side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block, NodeView
from sampling.errors import InputError
from sampling.graph.edge_features import packed_rows, with_ties_by_features
from sampling.graph.memory import allowed_bytes

__all__ = ["Graph", "NodeType"]

MAX_EDGE_TYPES = 32768
CHECKED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class NodeType:
    """A contiguous range of dense node indices that share a type."""

    name: str
    start: int
    end: int

    @property
    def num_nodes(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Graph:
    """Adjacency of a graph; arrays may be in memory or mapped from files.

    Rows are sorted by (edge type, time, source, weight), and edges that are equal in these by
    their features, so the order in which edges were given changes nothing. A homogeneous graph
    leaves the optional arrays out and pays nothing.

    Attributes:
        indptr: (num_nodes + 1,) int64; the in-neighbors of v are
            `indices[indptr[v]:indptr[v + 1]]`.
        indices: (num_edges,) int32 below 2**31 nodes, int64 from there on.
        edge_type: (num_edges,) int16 codes into `edge_types`, or None.
        edge_weight: (num_edges,) float32, or None.
        edge_time: (num_edges,) int64, in the unit the user brought, or None.
        edge_features: (num_edges, d_edge) float32, or None.
        node_types: ranges that cover 0 … num_nodes.
        edge_types: names, sorted.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[Any]
    edge_type: NDArray[np.int16] | None = None
    edge_weight: NDArray[np.float32] | None = None
    edge_time: NDArray[np.int64] | None = None
    node_types: tuple[NodeType, ...] = field(default=())
    edge_types: tuple[str, ...] = field(default=("edge",))
    edge_features: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if not self.node_types:
            object.__setattr__(self, "node_types", (NodeType("node", 0, self.num_nodes),))

    @property
    def num_nodes(self) -> int:
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        return len(self.indices)

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays, in memory or mapped."""
        arrays = (self.indptr, self.indices, self.edge_type, self.edge_weight, self.edge_time,
                  self.edge_features)  # fmt: skip
        return sum(a.nbytes for a in arrays if a is not None)

    def in_degrees(self) -> NDArray[np.int64]:
        """Number of in-neighbors of every node, (num_nodes,) int64."""
        return np.diff(self.indptr)

    def in_neighbors(self, node: int) -> NDArray[Any]:
        """Sources of the edges into `node`, sorted by (edge type, time, source)."""
        return self.indices[self.indptr[node] : self.indptr[node + 1]]

    @property
    def type_starts(self) -> Tensor | None:
        """First node of every type and, last, the number of nodes; None where there is one type."""
        if len(self.node_types) < 2:
            return None
        return torch.tensor([*(t.start for t in self.node_types), self.num_nodes])

    def view(self, start: int = 0, end: int | None = None) -> NodeView:
        """The nodes `start … end`, or all, as convolutions know them."""
        end = self.num_nodes if end is None else end
        return NodeView(torch.arange(start, end), as_tensor(self.indptr), self.type_starts)

    def block(
        self, start: int = 0, end: int | None = None, *, src_nodes: Tensor | None = None
    ) -> Block:
        """The whole graph, or the rows `start … end` of it, as one Block.

        Args:
            start: first destination.
            end: one past the last destination; num_nodes when left out.
            src_nodes: `torch.arange(num_nodes)`, where the caller cuts many tiles and keeps one.
        """
        end = self.num_nodes if end is None else end
        lo, hi = int(self.indptr[start]), int(self.indptr[end])

        def edges(array: NDArray[Any] | None) -> Tensor | None:
            return None if array is None else as_tensor(array[lo:hi])

        indptr = as_tensor(self.indptr)
        return Block(
            src_nodes=torch.arange(self.num_nodes) if src_nodes is None else src_nodes,
            indptr=indptr[start : end + 1] - lo if lo else indptr[start : end + 1],
            indices=as_tensor(self.indices[lo:hi]),
            dst_offset=start,
            graph_indptr=indptr,
            edge_type=edges(self.edge_type),
            edge_weight=edges(self.edge_weight),
            edge_time=edges(self.edge_time),
            edge_features=edges(self.edge_features),
            type_starts=self.type_starts,
        )

    @classmethod
    def from_edges(
        cls,
        src: ArrayLike | Tensor,
        dst: ArrayLike | Tensor,
        *,
        num_nodes: int | None = None,
        edge_type: ArrayLike | Tensor | None = None,
        edge_weight: ArrayLike | Tensor | None = None,
        edge_time: ArrayLike | Tensor | None = None,
        edge_features: ArrayLike | Tensor | None = None,
        node_types: tuple[NodeType, ...] = (),
        edge_types: tuple[str, ...] | None = None,
        num_threads: int | None = None,
    ) -> Graph:
        """A graph in memory from parallel arrays of edges `src[i] → dst[i]`.

        Args:
            src: source of every edge, (num_edges,) int32 or int64 array or tensor.
            dst: destination of every edge, the same shape.
            num_nodes: number of nodes; one more than the largest index when left out.
            edge_type: (num_edges,) integer codes from 0.
            edge_weight: (num_edges,) finite floats.
            edge_time: (num_edges,) integers.
            edge_features: (num_edges, d_edge) finite floats.
            node_types: ranges that cover 0 … num_nodes, in order.
            edge_types: a name for every code in `edge_type`.
            num_threads: threads to build with; all cores when left out.

        Raises:
            InputError: lengths differ, an index is outside 0 … num_nodes - 1, a weight is not
                finite, or there are more nodes than memory holds offsets of.

        Example:
            >>> graph = Graph.from_edges([1, 2, 0], [0, 0, 1], num_nodes=3)
            >>> graph.in_neighbors(0).tolist()
            [1, 2]
        """
        src_array, dst_array = _index_array(src, "src"), _index_array(dst, "dst")
        if len(src_array) != len(dst_array):
            raise InputError(
                f"src has {len(src_array)} entries and dst has {len(dst_array)}; "
                "give one of each per edge"
            )
        if src_array.dtype != dst_array.dtype:
            src_array, dst_array = src_array.astype(np.int64), dst_array.astype(np.int64)
        num_nodes = _checked_num_nodes(src_array, dst_array, num_nodes)
        _check_offsets_fit(num_nodes)
        threads = num_threads or kernels.default_threads()
        keys = {
            "edge_type": _edge_array(edge_type, np.int16, len(src_array), "edge_type"),
            "edge_time": _edge_array(edge_time, np.int64, len(src_array), "edge_time"),
            "edge_weight": _edge_array(edge_weight, np.float32, len(src_array), "edge_weight"),
        }
        names = _edge_type_names(keys["edge_type"], edge_types)
        rows = _edge_rows(edge_features, len(src_array))
        if rows is None and all(array is None for array in keys.values()):
            indptr, indices = kernels.build_csc(src_array, dst_array, num_nodes, threads)
            return cls(indptr, indices, node_types=node_types, edge_types=names)
        indptr, order = kernels.csc_order(
            src_array,
            dst_array,
            num_nodes,
            keys["edge_type"],
            keys["edge_time"],
            keys["edge_weight"],
            threads,
        )
        if rows is not None and rows.shape[1]:
            named = (src_array, *keys.values())
            order = with_ties_by_features(order, indptr, named, packed_rows(rows))
        indices = src_array[order].astype(index_dtype(num_nodes), copy=False)
        sorted_keys = {name: None if a is None else a[order] for name, a in keys.items()}
        return cls(
            indptr,
            indices,
            **sorted_keys,
            node_types=node_types,
            edge_types=names,
            edge_features=None if rows is None else rows[order],
        )


def index_dtype(num_nodes: int) -> type[np.int32] | type[np.int64]:
    """The integer type that `indices` has in a graph of this many nodes."""
    return np.int32 if num_nodes < 2**31 else np.int64


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A torch view of `array`, read-only maps included; nobody may write through it."""
    return (
        torch.from_numpy(array) if array.flags.writeable else torch.utils.dlpack.from_dlpack(array)
    )


def _index_array(values: ArrayLike | Tensor, name: str) -> NDArray[Any]:
    array = values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"{name} must be a one-dimensional integer array, got {array.dtype} "
            f"with shape {array.shape}"
        )
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} holds {array.max()}, more than a 64-bit signed index can be")
    wanted = np.int32 if array.dtype == np.int32 else np.int64
    return np.ascontiguousarray(array, dtype=wanted)


def _edge_array(
    values: ArrayLike | Tensor | None, dtype: type[Any], num_edges: int, name: str
) -> NDArray[Any] | None:
    if values is None:
        return None
    raw = values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
    array = np.ascontiguousarray(raw, dtype=dtype)
    if array.shape != (num_edges,):
        raise InputError(f"{name} has shape {array.shape}; give one entry for each of the "
                         f"{num_edges} edges")  # fmt: skip
    if dtype is np.float32 and not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{name}[{bad}] is {array[bad]}; weights must be finite")
    # Adding zero makes -0.0 a plain 0.0, so that equal weights have equal bytes.
    return array + np.float32(0) if dtype is np.float32 else array


def _edge_rows(values: ArrayLike | Tensor | None, num_edges: int) -> NDArray[np.float32] | None:
    if values is None:
        return None
    raw = values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
    rows = np.ascontiguousarray(raw, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != num_edges:
        raise InputError(f"edge_features have shape {rows.shape}; give a row for each of the "
                         f"{num_edges} edges")  # fmt: skip
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(f"row {bad} of edge_features holds values that are not finite")
    return rows


def _edge_type_names(codes: NDArray[Any] | None, names: tuple[str, ...] | None) -> tuple[str, ...]:
    if codes is None:
        return names or ("edge",)
    highest = int(codes.max(initial=0))
    names = names or tuple(str(i) for i in range(highest + 1))
    if codes.min(initial=0) < 0 or highest >= len(names):
        raise InputError(
            f"edge_type holds codes {codes.min(initial=0)} … {highest}; "
            f"they must lie in 0 … {len(names) - 1}"
        )
    return names


def _check_offsets_fit(num_nodes: int) -> None:
    needed = 8 * (num_nodes + 1)
    if needed > CHECKED_BYTES and needed > allowed_bytes():
        raise InputError(
            f"the offsets of {num_nodes} nodes take {needed >> 30} GiB and "
            f"{allowed_bytes() >> 30} GiB are free; give a smaller num_nodes, or ingest files to "
            "have ids translated"
        )


def _checked_num_nodes(src: NDArray[Any], dst: NDArray[Any], num_nodes: int | None) -> int:
    lowest = min(int(src.min(initial=0)), int(dst.min(initial=0)))
    highest = max(int(src.max(initial=-1)), int(dst.max(initial=-1)))
    if num_nodes is None:
        num_nodes = highest + 1
    if lowest < 0 or highest >= num_nodes:
        bad = lowest if lowest < 0 else highest
        raise InputError(
            f"an edge names node {bad}, but nodes run from 0 to {num_nodes - 1}; "
            "give dense indices, or ingest files to have ids translated"
        )
    return num_nodes
