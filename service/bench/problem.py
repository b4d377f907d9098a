"""What the contenders of one race work on: the same graph, rows, seeds and weights for all.

The graph is R-MAT (Chakrabarti, Zhan, Faloutsos 2004) with the Graph500 corner probabilities,
made in memory by `sampling.graph.synthetic`; the seeds are uniform over the nodes that have
in-neighbors.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling import Graph
from sampling.graph.features import FeatureTable
from sampling.graph.synthetic import RmatConfig

__all__ = [
    "WALKS_PER_SEED",
    "WALK_STEPS",
    "Problem",
    "random_rows",
    "rmat_edges",
    "rmat_graph",
    "seed_batches",
]

CHUNK_EDGES = 1 << 16
WALKS_PER_SEED, WALK_STEPS = 10, 20
LAST_TIME = 1000
CHUNK_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Problem:
    """Inputs of a race; a work reads those that it needs.

    Attributes:
        graph: the adjacency.
        rows: features, (num_nodes, d) float32 or float16.
        batches: dense nodes, (rounds, batches per round, batch size) int64.
        fanouts: neighbors per node for each layer, first layer first.
        seed: what randomness follows from.
        num_layers: layers of the model that embeds.
        hidden: width of the hidden rows of the model that is trained.
    """

    graph: Graph
    rows: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    batches: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))
    fanouts: list[int] = field(default_factory=list)
    seed: int = 0
    num_layers: int = 3
    hidden: int = 0

    def units(self, work: str, result: Any) -> int:
        """How much a round of a work did: edges, rows or nodes; a sampler's work counts itself."""
        sizes = {
            "gather": self.batches[:1].size,
            "mean": self.graph.num_edges,
            "embed": self.graph.num_nodes,
            "embed_full": self.graph.num_nodes,
        }
        return sizes[work] if work in sizes else int(result)

    def table(self, storage: str) -> FeatureTable:
        """The rows as our table of a storage type."""
        if storage == str(self.rows.dtype):
            return FeatureTable(self.rows, storage)
        return FeatureTable.from_rows(self.rows, storage)

    def weights(self) -> list[tuple[NDArray[np.float32], ...]]:
        """W_self, W_neigh, (d, d), and the bias, (d,), of every GraphSAGE layer."""
        d, random = self.rows.shape[1], np.random.default_rng(self.seed)
        shapes = ((d, d), (d, d), (d,))
        return [
            tuple(random.normal(0, d**-0.5, shape).astype(np.float32) for shape in shapes)
            for _ in range(self.num_layers)
        ]

    def edge_weights(self) -> NDArray[np.float32]:
        """Positive weights for works that have them, (num_edges,)."""
        random = np.random.default_rng(self.seed)
        return random.random(self.graph.num_edges, np.float32) + np.float32(0.01)

    def edge_times(self) -> NDArray[np.int64]:
        """Times of edges, rising from 0 to LAST_TIME - 1 along every row, (num_edges,)."""
        degrees = self.graph.in_degrees()
        place = np.arange(self.graph.num_edges) - np.repeat(self.graph.indptr[:-1], degrees)
        times: NDArray[np.int64] = place * LAST_TIME // np.repeat(degrees, degrees)
        return times

    def seed_times(self, number: int) -> NDArray[np.int64]:
        """Times of a round's seeds, in the later half, (batches per round, batch size)."""
        random = np.random.default_rng((self.seed, number))
        shape = self.batches[number].shape
        times: NDArray[np.int64] = random.integers(LAST_TIME // 2, LAST_TIME, shape)
        return times

    def walk_starts(self, number: int) -> NDArray[np.int64]:
        """A round's seeds, each as often as walks leave from it."""
        return np.repeat(self.batches[number].reshape(-1), WALKS_PER_SEED)

    def save(self, folder: Path) -> None:
        """Write it where another process can `load` it."""
        arrays = {"indptr": self.graph.indptr, "indices": self.graph.indices,
                  "rows": self.rows, "batches": self.batches}  # fmt: skip
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        settings = [self.fanouts, self.seed, self.num_layers, self.hidden]
        (folder / "settings.json").write_text(json.dumps(settings))

    @classmethod
    def load(cls, folder: Path) -> Problem:
        """What was saved; the arrays are mapped."""
        indptr, indices, rows, batches = (
            np.load(folder / f"{name}.npy", mmap_mode="c")
            for name in ("indptr", "indices", "rows", "batches")
        )
        settings = json.loads((folder / "settings.json").read_text())
        return cls(Graph(indptr, indices), rows, batches, *settings)


def rmat_graph(num_nodes: int, num_edges: int, seed: int, num_threads: int) -> Graph:
    """The graph that `gnn synth rmat` would write, in memory."""
    src, dst = rmat_edges(num_nodes, num_edges, seed, num_threads)
    return Graph.from_edges(src, dst, num_nodes=num_nodes, num_threads=num_threads)


def rmat_edges(
    num_nodes: int, num_edges: int, seed: int, num_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The edges that `gnn synth rmat` would write, in memory."""
    config = RmatConfig(nodes=num_nodes, edges=num_edges, seed=seed)
    config.check()
    kind = np.int32 if num_nodes < 2**31 else np.int64
    src, dst = np.empty(num_edges, kind), np.empty(num_edges, kind)

    def fill(start: int) -> None:
        end = min(start + CHUNK_EDGES, num_edges)
        src[start:end], dst[start:end] = config.pairs(start, end)

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(fill, range(0, num_edges, CHUNK_EDGES)))
    return src, dst


def random_rows(num_rows: int, width: int, seed: int, dtype: type[Any]) -> NDArray[Any]:
    """Normal numbers, (num_rows, width)."""
    random, out = np.random.default_rng(seed), np.empty((num_rows, width), dtype)
    for start in range(0, num_rows, CHUNK_ROWS):
        part = out[start : start + CHUNK_ROWS]
        part[:] = random.standard_normal(part.shape, np.float32)
    return out


def seed_batches(graph: Graph, shape: tuple[int, int, int], seed: int) -> NDArray[np.int64]:
    """Distinct nodes with in-neighbors in every batch, (rounds, batches per round, batch size)."""
    reachable = np.flatnonzero(graph.in_degrees())
    random, size = np.random.default_rng(seed), min(shape[2], len(reachable))
    batches = [random.choice(reachable, size, replace=False, shuffle=False)
               for _ in range(shape[0] * shape[1])]  # fmt: skip
    return np.stack(batches).reshape(shape[0], shape[1], size)
