"""One batch through the layers from the top down, each layer asking for the rows it lacks.

    rows of layer i for some nodes:  draw one hop ─▶ its sources' rows of layer i - 1, those that
                                     are kept from the cache ─▶ layer i

The draws are those of a whole sample, since each is keyed by (seed, layer, node); the layers are
those of the model. What is saved is everything under a row that was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling import (
    Block,
    FullNeighborSampler,
    Graph,
    NeighborSampler,
    ReducedNeighborSampler,
)
from service.hidden import HiddenCache, HiddenKey
from service.microbatch import Computed
from service.registry import ServedModel

__all__ = ["KEPT", "Layered", "layered"]

KEPT = frozenset(
    {"appnp", "gat", "gatv2", "gcn", "gin", "identity", "pna", "sage", "sgc", "transformer"}
)
"""Convolutions whose rows between layers are kept: those that read rows and degrees. What reads
types, times or positions, or is a user's own, is computed from the bottom."""
LEAST_EDGES = 8
"""Edges under a row from which looking for it is quicker than computing it."""
LEAST_BATCH_EDGES = 16_384
"""Drawn edges of a batch from which a kernel call per hop, and looking, is made up for."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class Layered:
    """How a model is computed layer by layer; it does not hold the model.

    Attributes:
        hops: for every layer the sampler whose last hop is that layer's.
        lower: edges under a row of every layer, for each edge of its own hop.
        samples: whether neighbors are drawn.
    """

    hops: list[NeighborSampler]
    lower: list[int]
    samples: bool

    def compute(
        self,
        model: ServedModel,
        nodes: NDArray[np.int64],
        seed: int | None,
        cache: HiddenCache,
        fingerprint: str,
    ) -> Computed:
        """Embeddings of distinct nodes by the model that this was made for, (len(nodes), d)."""
        with torch.inference_mode():
            run = _Run(self, model, seed, cache, fingerprint)
            rows = run.computed(model.num_layers - 1, nodes).float().numpy()
        frontier = (len(nodes), *run.frontier)
        return Computed(rows, run.seconds, frontier, run.edges, hidden=run.hidden)

    def pays(self, num_nodes: int) -> bool:
        """Whether so many nodes read enough for a hop at a time to be quicker than all at once."""
        return not self.samples or num_nodes * self.lower[-1] * self._last >= LEAST_BATCH_EDGES

    @property
    def _last(self) -> int:
        fanout = self.hops[-1].fanouts[-1]
        return fanout if fanout > 0 else 1

    def is_worth_keeping(self, layer: int, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether so much lies under each node's row that it is worth a place, (n,)."""
        graph, fanout = self.hops[layer].graph, self.hops[layer].fanouts[layer]
        degrees = graph.indptr[nodes + 1] - graph.indptr[nodes]
        drawn = degrees if fanout < 0 else np.minimum(degrees, fanout)
        worth: NDArray[np.bool_] = drawn * self.lower[layer] >= LEAST_EDGES
        return worth


def layered(model: ServedModel, graph: Graph, samples: bool) -> Layered | None:
    """How it is computed layer by layer; None where rows between its layers cannot be kept.

    With one layer there are none; rows of nodes are never normalized over a batch.
    """
    depth = model.num_layers
    if model.saved.model.config.conv not in KEPT:
        return None
    sampler = getattr(model.sampled, "sampler", model.sampled)
    if depth < 2 or type(sampler) is not NeighborSampler:
        return None
    threads = sampler.num_threads
    hops: list[NeighborSampler] = [FullNeighborSampler(graph, i + 1, threads) for i in range(depth)]
    if samples:
        hops = [NeighborSampler(graph, sampler.fanouts[: i + 1], 0, threads) for i in range(depth)]
    mean_degree = graph.num_edges // max(graph.num_nodes, 1) + 1
    lower = [1]
    for fanout in hops[-1].fanouts[:-1]:
        lower.append(1 + lower[-1] * (mean_degree if fanout < 0 else fanout))
    return Layered(hops, lower, samples)


@dataclass(slots=True)
class _Run:
    """One batch under way."""

    layers: Layered
    model: ServedModel
    seed: int | None
    cache: HiddenCache
    fingerprint: str
    frontier: list[int] = field(default_factory=list)
    edges: int = 0
    hidden: dict[int, tuple[int, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"sample": 0.0, "gather": 0.0, "compute": 0.0}
    )

    def computed(self, i: int, nodes: NDArray[np.int64]) -> Tensor:
        """What layer i makes of these nodes."""
        block = self._timed("sample", lambda: self._hop(i, nodes))
        self.frontier.append(block.num_src)
        self.edges += block.num_edges
        x = self._inputs(block) if i == 0 else self._rows(i - 1, block.src_nodes.numpy())
        return self._timed("compute", lambda: self.model.saved.model.layer(i, block, x))

    def _hop(self, i: int, nodes: NDArray[np.int64]) -> Block:
        sampler, whole = self.layers.hops[i], self.model.sampled
        if i == 0 and self.layers.samples and isinstance(whole, ReducedNeighborSampler):
            reduced = ReducedNeighborSampler(sampler, whole.features, whole.reduction)
            [block] = reduced.sample(nodes, self.seed)
            return block
        _, [block] = sampler.draw(nodes, sampler.key(self.seed), first_layer=i)
        return block

    def _inputs(self, block: Block) -> Tensor:
        model, threads = self.model, self.layers.hops[0].num_threads
        x = self._timed("gather", lambda: model.inputs.gather(block.src_nodes, threads))
        return model.saved.model.prepare(x, block.sources)

    def _rows(self, i: int, nodes: NDArray[np.int64]) -> Tensor:
        """Rows of layer i, from the cache where it has them."""
        model = self.model
        width = model.saved.model.widths[i + 1]
        key = HiddenKey(model.saved.info.digest, self.fingerprint, i, self.seed)
        kept = self.layers.is_worth_keeping(i, nodes)
        found = np.zeros(len(nodes), np.bool_)
        found[kept], known = self.cache.get(key, nodes[kept], width)
        hits = len(known)
        self.hidden[i] = (hits, int(kept.sum()) - hits)
        if hits == 0:
            fresh = self.computed(i, nodes)
            self.cache.put(key, nodes[kept], fresh[torch.from_numpy(kept)].float().numpy())
            return fresh
        rows = np.empty((len(nodes), width), np.float32)
        rows[found] = known
        missing = ~found
        if missing.any():
            rows[missing] = self.computed(i, nodes[missing]).float().numpy()
            new = missing & kept
            self.cache.put(key, nodes[new], rows[new])
        return torch.from_numpy(rows)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = work()
        self.seconds[stage] += time.perf_counter() - started
        return result
