"""Which edges are messages and which are predicted: the parts of a link prediction.

A graph that was ingested with val and test edges has them beside it, and all of its own edges are
messages and training targets. Of any other graph a share of the edges is taken out, both
directions of undirected ones, before anything is trained: what is to be predicted is never seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.errors import TrainingError
from sampling import Dataset, Graph
from sampling.graph.linksets import inverse_types
from sampling.kernels.reference import MASK

__all__ = ["SHARES", "LinkParts", "Links", "is_symmetric", "split_links", "target_edges"]

SHARES = (0.8, 0.1, 0.1)


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs with their relations.

    Attributes:
        src: (num_links,) int64 dense nodes.
        dst: the same shape.
        types: (num_links,) int64 codes of edge types, or None where there is one.
        times: (num_links,) int64 in the unit of the graph's edge times, or None.
    """

    src: NDArray[np.int64]
    dst: NDArray[np.int64]
    types: NDArray[np.int64] | None = None
    times: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.src)

    def take(self, rows: Any) -> Links:
        """These links, by mask or position."""
        types, times = (None if a is None else a[rows] for a in (self.types, self.times))
        return Links(self.src[rows], self.dst[rows], types, times)


@dataclass(frozen=True, slots=True)
class LinkParts:
    """A graph of messages, and the edges to predict.

    Attributes:
        data: the graph without val and test edges, and all that is known of its nodes.
        train: targets of training; of an undirected edge one direction.
        val: targets of validation, and `test` of test.
        negatives: given pairs that are no edges, by part.
        symmetric: every edge runs both ways.
        inverse: code of the edge type that runs against each one, -1 for none, (num_types,).
    """

    data: Dataset
    train: Links
    val: Links
    test: Links
    negatives: dict[str, Links]
    symmetric: bool
    inverse: NDArray[np.int64]

    def part(self, name: str) -> Links:
        """The edges of "train", "val" or "test"."""
        links: Links = getattr(self, name)
        return links

    @property
    def all_true(self) -> Links:
        """The edges of all parts, one behind the other."""
        parts = [self.train, self.val, self.test]
        types = None if self.train.types is None else np.concatenate([_types(p) for p in parts])
        times = [p.times for p in parts if p.times is not None]
        return Links(
            np.concatenate([p.src for p in parts]),
            np.concatenate([p.dst for p in parts]),
            types,
            np.concatenate(times) if len(times) == len(parts) else None,
        )


def split_links(
    data: Dataset, split: tuple[float, float, float] = SHARES, seed: int = 0
) -> LinkParts:
    """The parts of a graph: its own val and test edges, or shares of its edges.

    Shares are drawn at random; where edges have times, the last ones are test and those before
    them val. Parallel edges of one type stay together unless times tell them apart.

    Args:
        data: the graph.
        split: shares of train, val and test where the graph has no such edges.
        seed: randomness of the draw.

    Raises:
        TrainingError: there is no edge to train on.
    """
    graph = data.graph
    symmetric = is_symmetric(graph)
    inverse = inverse_types(graph.edge_types)
    forward = _forward(graph, symmetric, inverse)
    if not len(forward):
        raise TrainingError(f"graph {data.meta.name!r} has no edges to learn to predict")
    if data.links is not None and len(data.links):
        val, test = _given(data, "val"), _given(data, "test")
        given = {part: _given(data, part, negatives=True) for part in ("val", "test")}
        negatives = {part: links for part, links in given.items() if len(links)}
        return LinkParts(data, forward, val, test, negatives, symmetric, inverse)
    part_of = _random_parts(graph, symmetric, inverse, split, seed)
    kept, targets = part_of == 0, target_edges(graph, symmetric, inverse)
    everything = _all_edges(graph)
    pieces = [everything.take((part_of == code) & targets) for code in range(3)]
    if not len(pieces[0]):
        raise TrainingError(f"a split of {split} leaves no edge to train on; give train a share")
    train, val, test = pieces
    messages = replace(data, graph=_only(graph, kept))
    return LinkParts(messages, train, val, test, {}, symmetric, inverse)


def is_symmetric(graph: Graph) -> bool:
    """Whether with every edge the one that runs back is there, of the same type."""
    src, dst, n = _sources(graph), _destinations(graph), graph.num_nodes
    types = 0 if graph.edge_type is None else graph.edge_type.astype(np.int64) * n * n
    one, other = types + src * n + dst, types + dst * n + src
    return bool(np.array_equal(np.sort(one), np.sort(other)))


def _sources(graph: Graph) -> NDArray[np.int64]:
    return np.asarray(graph.indices, np.int64)


def _destinations(graph: Graph) -> NDArray[np.int64]:
    return np.repeat(np.arange(graph.num_nodes), graph.in_degrees())


def _all_edges(graph: Graph) -> Links:
    typed = graph.edge_type is not None and len(graph.edge_types) > 1
    types = graph.edge_type.astype(np.int64) if typed and graph.edge_type is not None else None
    times = None if graph.edge_time is None else np.asarray(graph.edge_time, np.int64)
    return Links(_sources(graph), _destinations(graph), types, times)


def target_edges(graph: Graph, symmetric: bool, inverse: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Edges that are targets themselves: not those that only run back."""
    edges = _all_edges(graph)
    if edges.types is not None and (inverse >= 0).any():
        return ~_runs_back(graph, inverse)[edges.types]
    return edges.src <= edges.dst if symmetric else np.ones(len(edges), np.bool_)


def _runs_back(graph: Graph, inverse: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Types that are the inverse of another, (num_types,)."""
    names = graph.edge_types
    return np.array([
        back >= 0 and len(names[i]) > len(names[back]) for i, back in enumerate(inverse.tolist())
    ])  # fmt: skip


def _forward(graph: Graph, symmetric: bool, inverse: NDArray[np.int64]) -> Links:
    """Every edge to learn from once; edges at several times are several."""
    edges = _all_edges(graph).take(target_edges(graph, symmetric, inverse))
    columns = [a for a in (edges.times, edges.dst, edges.src, edges.types) if a is not None]
    order = np.lexsort(columns)
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = np.any([a[order][1:] != a[order][:-1] for a in columns], axis=0)
    return edges.take(np.sort(order[is_first]))


def _given(data: Dataset, part: str, *, negatives: bool = False) -> Links:
    assert data.links is not None, "the caller looked"
    links = data.links.in_part(part, negatives=negatives)
    typed = len(data.graph.edge_types) > 1
    types = np.zeros(len(links), np.int64) if links.types is None else links.types.astype(np.int64)
    ends = links.pairs[:, 0].copy(), links.pairs[:, 1].copy()
    return Links(*ends, types if typed else None, links.times)


def _random_parts(
    graph: Graph,
    symmetric: bool,
    inverse: NDArray[np.int64],
    split: tuple[float, float, float],
    seed: int,
) -> NDArray[np.int64]:
    """The part of every edge: 0, 1 or 2, the same for both directions, (num_edges,)."""
    edges, n = _all_edges(graph), graph.num_nodes
    src, dst, types = edges.src, edges.dst, np.zeros(len(edges), np.int64)
    if edges.types is not None:
        back = _runs_back(graph, inverse)[edges.types]
        types = np.where(back, inverse[edges.types], edges.types)
        src, dst = np.where(back, dst, src), np.where(back, src, dst)
    if symmetric:
        src, dst = np.minimum(src, dst), np.maximum(src, dst)
    keys = (types * n + src) * n + dst
    if graph.edge_time is not None:
        return _by_time(graph.edge_time, keys, split)
    unique, group = np.unique(keys, return_inverse=True)
    order = np.random.default_rng(seed & MASK).permutation(len(unique))
    return _cut(order, split)[group]


def _by_time(
    times: NDArray[np.int64], keys: NDArray[np.int64], split: tuple[float, float, float]
) -> NDArray[np.int64]:
    order = np.lexsort([keys, times])
    same = np.ones(len(order), np.bool_)
    same[1:] = (times[order][1:] != times[order][:-1]) | (keys[order][1:] != keys[order][:-1])
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(same) - 1
    return _cut(np.arange(int(same.sum())), split)[group]


def _cut(order: NDArray[np.int64], split: tuple[float, float, float]) -> NDArray[np.int64]:
    """The part of every entry when the entries come in this order."""
    first, second = (round(len(order) * share) for share in (split[0], split[0] + split[1]))
    parts = np.full(len(order), 2, np.int64)
    parts[order[:first]], parts[order[first:second]] = 0, 1
    return parts


def _only(graph: Graph, kept: NDArray[np.bool_]) -> Graph:
    """The graph of some of its edges; rows stay sorted."""
    until = np.concatenate([[0], np.cumsum(kept)])

    def edges(array: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if array is None else array[kept]

    return replace(
        graph,
        indptr=until[graph.indptr],
        indices=graph.indices[kept],
        edge_type=edges(graph.edge_type),
        edge_weight=edges(graph.edge_weight),
        edge_time=edges(graph.edge_time),
        edge_features=edges(graph.edge_features),
    )


def _types(links: Links) -> NDArray[np.int64]:
    return np.zeros(len(links), np.int64) if links.types is None else links.types
