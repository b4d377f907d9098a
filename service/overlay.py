"""What if: a few edges more or fewer, for one request, on a graph that stays as it is.

The neighborhoods of the seeds are read hop by hop; rows of nodes whose edges the client changes are
changed before the next hop is read. The Blocks are what they would be on a graph that really has
these edges. Their nodes are numbered anew, in the old order, so that degrees and node types can be
those of the changed graph without a copy of the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling import Block, Dataset, FullNeighborSampler, Graph
from sampling.errors import UnknownNodeError
from service.errors import OverlayError

__all__ = ["EdgeEdits", "Overlay", "overlay_blocks", "overlay_of"]

Id = int | str
Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EdgeEdits:
    """What a client asks for: pairs of ids, source first."""

    add_edges: Sequence[tuple[Id, Id]] = ()
    remove_edges: Sequence[tuple[Id, Id]] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Overlay:
    """Edits as arrays of dense nodes.

    Attributes:
        added: (a, 2) source and destination; an edge that is there gets a parallel one.
        removed: (r, 2); all parallel edges of the pair go.
        removed_counts: how many edges of the graph each of `removed` is, (r,).
    """

    added: Array
    removed: Array
    removed_counts: Array

    @property
    def sources(self) -> Array:
        """Distinct sources of the added edges."""
        return np.unique(self.added[:, 0])

    def degree_changes(self, nodes: Array) -> Array:
        """By how much the in-degree of each of these sorted, distinct nodes changes."""
        changes = np.zeros(len(nodes), np.int64)
        for pairs, signs in ((self.added, 1), (self.removed, -self.removed_counts)):
            place, is_here = _places(nodes, pairs[:, 1])
            weights = np.broadcast_to(signs, len(pairs))[is_here]
            np.add.at(changes, place[is_here], weights)
        return changes


def overlay_of(data: Dataset, edits: EdgeEdits) -> Overlay:
    """Checked edits.

    Raises:
        UnknownNodeError: an edge names a node that is not in the graph.
        OverlayError: an edge to remove is not there, one is listed twice, or the graph's edges
            have data that an added edge would lack.
    """
    added, removed = _dense(data, edits.add_edges), _dense(data, edits.remove_edges)
    _check_repeats(edits)
    if len(added) and _has_edge_data(data.graph):
        raise OverlayError(
            "edges of this graph have types, weights, times or features, which an added edge would "
            "lack; only remove_edges can be asked for"
        )
    counts = [int((data.graph.in_neighbors(v) == u).sum()) for u, v in removed.tolist()]
    if 0 in counts:
        missing = edits.remove_edges[counts.index(0)]
        raise OverlayError(f"remove_edges: {_shown(missing)} is not in the graph")
    return Overlay(added, removed, np.array(counts, np.int64))


def overlay_blocks(
    data: Dataset, overlay: Overlay, seeds: Array, num_layers: int, num_threads: int
) -> tuple[tuple[Block, ...], Tensor]:
    """Blocks that end in the seeds, and the graph's nodes whose features they read.

    Args:
        data: the graph.
        overlay: the edits.
        seeds: distinct dense nodes.
        num_layers: Blocks.
        num_threads: threads to read with.
    """
    sampler = FullNeighborSampler(data.graph, 1, num_threads)
    blocks, nodes = list[Block](), torch.from_numpy(seeds)
    for _ in range(num_layers):
        [block] = sampler.sample(nodes)
        blocks.insert(0, _edited(block, overlay))
        nodes = blocks[0].src_nodes
    return _renumbered(data.graph, overlay, blocks), nodes


def _edited(block: Block, overlay: Overlay) -> Block:
    """One hop with its edges changed; sources that no edge is left of stay, and do no harm."""
    rows = torch.repeat_interleave(torch.arange(block.num_dst), block.in_degrees()).numpy()
    dst_nodes, src_nodes = block.dst_nodes.numpy(), block.src_nodes.numpy()
    src = src_nodes[block.indices.numpy()]
    kept = ~_are_removed(overlay, src, dst_nodes[rows])
    edge_ids = None if block.edge_ids is None else block.edge_ids[torch.from_numpy(kept)]
    src, rows = src[kept], rows[kept]
    new_src, new_rows = _added(overlay, dst_nodes)
    if len(new_src):
        src, rows = np.concatenate([src, new_src]), np.concatenate([rows, new_rows])
        order = np.lexsort((src, rows))
        src, rows = src[order], rows[order]
    further = np.setdiff1d(new_src, src_nodes)
    all_src = np.concatenate([src_nodes, further])
    by_node = np.argsort(all_src)
    indices = by_node[np.searchsorted(all_src, src, sorter=by_node)]
    mask = torch.from_numpy(kept)
    return replace(
        block,
        src_nodes=torch.from_numpy(all_src),
        indptr=torch.from_numpy(np.searchsorted(rows, np.arange(block.num_dst + 1))),
        indices=torch.from_numpy(indices).to(block.indices.dtype),
        edge_ids=edge_ids,
        edge_type=_only(block.edge_type, mask),
        edge_weight=_only(block.edge_weight, mask),
        edge_time=_only(block.edge_time, mask),
        edge_features=_only(block.edge_features, mask),
    )


def _only(array: Tensor | None, mask: Tensor) -> Tensor | None:
    return None if array is None else array[mask]


def _are_removed(overlay: Overlay, src: Array, dst: Array) -> NDArray[np.bool_]:
    removed = np.zeros(len(src), np.bool_)
    touched = np.flatnonzero(np.isin(dst, overlay.removed[:, 1]))
    pairs = set(map(tuple, overlay.removed.tolist()))
    edges = zip(touched.tolist(), src[touched].tolist(), dst[touched].tolist(), strict=True)
    removed[[place for place, u, v in edges if (u, v) in pairs]] = True
    return removed


def _added(overlay: Overlay, dst_nodes: Array) -> tuple[Array, Array]:
    """Sources and rows of the added edges into these destinations."""
    order = np.argsort(dst_nodes, kind="stable")
    place, is_here = _places(dst_nodes[order], overlay.added[:, 1])
    return overlay.added[is_here, 0], order[place[is_here]]


def _renumbered(graph: Graph, overlay: Overlay, blocks: list[Block]) -> tuple[Block, ...]:
    """The same Blocks over the nodes at hand alone, numbered in the order of the graph's."""
    nodes = np.unique(blocks[0].src_nodes.numpy())
    degrees = graph.indptr[nodes + 1] - graph.indptr[nodes] + overlay.degree_changes(nodes)
    world = torch.from_numpy(np.concatenate([[0], np.cumsum(degrees)]))
    starts = graph.type_starts
    types = None if starts is None else torch.from_numpy(np.searchsorted(nodes, starts.numpy()))
    return tuple(
        replace(
            block,
            src_nodes=torch.from_numpy(np.searchsorted(nodes, block.src_nodes.numpy())),
            graph_indptr=world,
            edge_ids=None,
            type_starts=types,
        )
        for block in blocks
    )


def _places(ordered: Array, wanted: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Where each wanted node stands in a sorted array, and whether it is there at all."""
    place = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    is_here = ordered[place] == wanted if len(ordered) else np.zeros(len(wanted), np.bool_)
    return place, is_here


def _dense(data: Dataset, pairs: Sequence[tuple[Id, Id]]) -> Array:
    flat = [node for pair in pairs for node in pair]
    rows = data.ids.find(flat)
    if (rows < 0).any():
        raise UnknownNodeError(
            list(dict.fromkeys(flat[i] for i in np.flatnonzero(rows < 0).tolist()))
        )
    return rows.reshape(-1, 2)


def _check_repeats(edits: EdgeEdits) -> None:
    seen = set[tuple[Id, Id]]()
    for pair in (*edits.add_edges, *edits.remove_edges):
        if tuple(pair) in seen:
            raise OverlayError(f"{_shown(pair)} is listed twice; list every edge once")
        seen.add((pair[0], pair[1]))


def _has_edge_data(graph: Graph) -> bool:
    arrays = (graph.edge_type, graph.edge_weight, graph.edge_time, graph.edge_features)
    return any(array is not None for array in arrays)


def _shown(pair: Sequence[Id]) -> str:
    return f"{str(pair[0])[:80]!r} -> {str(pair[1])[:80]!r}"
