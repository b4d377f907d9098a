"""Mini-batches of timed edges: each is predicted from what happened before it, and from no more.

The ends of an edge and its negatives are seeds at the time of the edge (`TemporalNeighborSampler`
draws strictly earlier edges only), so an edge is never in its own sample, nor is any of the same
time. Negatives keep the source and the time and replace the destination, uniformly among those
seen so far (the random negatives of Rossi et al., Temporal Graph Networks, 2020). Which ones an
edge gets depends on (seed, edge) and the candidates, not on the batch or the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.store import Dataset
from sampling.kernels.reference import GOLDEN, MASK, mix
from sampling.prefetch import prepared_ahead
from sampling.samplers.temporal import TemporalNeighborSampler

__all__ = ["SeenDestinations", "TemporalLinkBatch", "TemporalLinkLoader", "TimedLinks"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TimedLinks:
    """Edges with their times.

    Attributes:
        src: (num_links,) int64 dense nodes.
        dst: the same shape.
        times: the same shape, in the unit of the graph's edge times.
        types: (num_links,) int64 codes of edge types, or None where there is one.
    """

    src: Ints
    dst: Ints
    times: Ints
    types: Ints | None = None

    def __len__(self) -> int:
        return len(self.src)

    def take(self, rows: Any) -> TimedLinks:
        """These links, by mask or position."""
        types = None if self.types is None else self.types[rows]
        return TimedLinks(self.src[rows], self.dst[rows], self.times[rows], types)


class SeenDestinations:
    """Draws destinations from those that some edges have, per edge type where there are several.

    Args:
        links: whose destinations are candidates.

    Raises:
        InputError: an edge type has one destination alone, and so no negatives.

    Example:
        >>> links = TimedLinks(np.array([0, 1]), np.array([5, 7]), np.array([1, 2]))
        >>> SeenDestinations(links).sample(links, num_negatives=2).tolist()
        [[7, 7], [5, 5]]
    """

    def __init__(self, links: TimedLinks) -> None:
        types = np.zeros(len(links), np.int64) if links.types is None else links.types
        pairs = np.unique(np.stack([types, links.dst]), axis=1)
        self._types, self._nodes = pairs
        self._keys = _pair_keys(self._types, self._nodes)
        codes, counts = np.unique(self._types, return_counts=True)
        if len(counts) and counts.min() < 2:
            raise InputError(f"edges of type {codes[counts.argmin()]} lead to one node alone, so "
                             "they have no negatives; leave that type out")  # fmt: skip

    def sample(self, links: TimedLinks, num_negatives: int, seed: int = 0) -> Ints:
        """Destinations other than the true one, (num_links, num_negatives) dense nodes.

        A negative may be a destination of the same source at another time.

        Args:
            links: edges of known types.
            num_negatives: of each edge; one may come twice.
            seed: any integer.

        Raises:
            InputError: no candidate has the type of an edge.
        """
        types = np.zeros(len(links), np.int64) if links.types is None else links.types
        start = np.searchsorted(self._types, types)
        count = np.searchsorted(self._types, types, side="right") - start
        if len(links) and count.min() < 2:
            raise InputError(f"no edge of type {types[count.argmin()]} came before, so it has no "
                             "negatives; give train a larger share")  # fmt: skip
        own = np.searchsorted(self._keys, _pair_keys(types, links.dst))
        known = self._keys[np.minimum(own, len(self._keys) - 1)] == _pair_keys(types, links.dst)
        place = np.where(known, own - start, count)
        free = count - known
        words = _words(links, types, num_negatives, seed)
        drawn = ((words >> np.uint64(11)) * 2.0**-53 * free[:, None]).astype(np.int64)
        drawn += drawn >= place[:, None]
        chosen: Ints = self._nodes[start[:, None] + drawn]
        return chosen


@dataclass(frozen=True, slots=True)
class TemporalLinkBatch:
    """What one step on timed edges reads.

    Attributes:
        links: the edges.
        seeds: the distinct (node, time) pairs' nodes, (num_seeds,) int64; equals
            `blocks[-1].dst_nodes`.
        times: the same pairs' times, (num_seeds,) int64.
        blocks: one per layer, in the order the layers run.
        pairs: rows of `seeds`, (2, num_pairs) int64: sources, destinations. The edges come
            first, then the negatives of the first edge, of the second, and so on.
        relations: codes of edge types, (num_pairs,) int64, or None.
        x: input rows for `blocks[0].src_nodes`, (num_src, d_in); None without features.
    """

    links: TimedLinks
    seeds: Tensor
    times: Tensor
    blocks: tuple[Block, ...]
    pairs: Tensor
    relations: Tensor | None
    x: Tensor | None


class TemporalLinkLoader:
    """Cuts timed edges into batches, draws negatives, and samples what came before each edge.

    Args:
        data: graph and features.
        sampler: of the same graph.
        links: edges to predict, in the order to visit them.
        negatives: draws destinations.
        batch_size: edges per batch; the last batch may be smaller.
        num_negatives: per edge.
        shuffle: visit in a new random order each epoch.
        seed: randomness of order, negatives and neighbors.
        resample: new negatives and neighbors each epoch; False keeps those of `seed`.
        num_workers: preparing threads; 0 prepares in the caller.
        prefetch: batches ready or under way at once.
        part: which edges of a batch of so many this process takes, where several share it.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(
        self,
        data: Dataset,
        sampler: TemporalNeighborSampler,
        links: TimedLinks,
        negatives: SeenDestinations,
        batch_size: int = 200,
        num_negatives: int = 1,
        *,
        shuffle: bool = False,
        seed: int = 0,
        resample: bool = True,
        num_workers: int = 1,
        prefetch: int = 4,
        part: Callable[[int], slice] | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("num_negatives", num_negatives)):
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        self.data, self.sampler, self.links, self.negatives = data, sampler, links, negatives
        self.batch_size, self.num_negatives = batch_size, num_negatives
        self.shuffle, self.seed, self.resample = shuffle, seed, resample
        self.num_workers, self.prefetch = num_workers, max(prefetch, 1)
        self.part = part
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.links) // self.batch_size)

    def size_of(self, i: int) -> int:
        """Edges of the whole batch i, of all processes that share it."""
        return min(self.batch_size, len(self.links) - i * self.batch_size)

    def __iter__(self) -> Iterator[TemporalLinkBatch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        seed = mix((self.seed + GOLDEN * (epoch + 1)) & MASK) if self.resample else self.seed
        parts = self._parts(epoch)
        prepare = partial(self._prepare, seed=seed)
        yield from prepared_ahead(parts, prepare, self.num_workers, self.prefetch)

    def _parts(self, epoch: int) -> list[TimedLinks]:
        order = np.arange(len(self.links))
        if self.shuffle:
            order = np.random.default_rng((self.seed & MASK, epoch)).permutation(order)
        starts = range(0, len(order), self.batch_size)
        batches = [self.links.take(order[start : start + self.batch_size]) for start in starts]
        return batches if self.part is None else [b.take(self.part(len(b))) for b in batches]

    def _prepare(self, links: TimedLinks, seed: int) -> TemporalLinkBatch:
        drawn = self.negatives.sample(links, self.num_negatives, seed)
        again = np.repeat(np.arange(len(links)), self.num_negatives)
        src, dst = np.append(links.src, links.src[again]), np.append(links.dst, drawn.ravel())
        times = np.append(links.times, links.times[again])
        ends = np.stack([np.append(src, dst), np.append(times, times)])
        entries, rows = np.unique(ends, axis=1, return_inverse=True)
        seeds, seed_times = torch.from_numpy(entries.copy())
        blocks = self.sampler.sample(seeds, seed_times, seed).blocks
        features, types = self.data.features, links.types
        return TemporalLinkBatch(
            links,
            seeds,
            seed_times,
            blocks,
            pairs=torch.from_numpy(rows.reshape(2, -1)),
            relations=None if types is None else torch.from_numpy(np.append(types, types[again])),
            x=None if features is None else features.gather(blocks[0].src_nodes),
        )


def _pair_keys(types: Ints, nodes: Ints) -> Ints:
    """One ascending number per (type, node)."""
    return (types << np.int64(48)) | nodes


def _words(links: TimedLinks, types: Ints, count: int, seed: int) -> NDArray[np.uint64]:
    """Random words keyed by (seed, edge, number), (num_links, count)."""
    key = np.full(len(links), mix(seed & MASK), np.uint64)
    for column in (links.src, links.dst, links.times, types):
        key = _mixed(key + np.uint64(GOLDEN) * column.astype(np.uint64))
    numbers = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return _mixed(key[:, None] + numbers)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`sampling.kernels.reference.mix` of every word; uint64 arrays wrap around."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
