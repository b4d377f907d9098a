"""Mini-batches of node pairs for link prediction: edges, drawn negatives, and Blocks for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling.block import Block
from sampling.errors import InputError
from sampling.exclusion import without_edges
from sampling.graph.store import Dataset
from sampling.kernels.reference import GOLDEN, MASK, mix
from sampling.negatives import NegativeSampler
from sampling.prefetch import prepared_ahead
from sampling.sampler import Sampler, checked_seeds

__all__ = ["LinkBatch", "LinkLoader"]

Edges = NDArray[np.int64]  # (2, num_edges): sources, destinations


@dataclass(frozen=True, slots=True)
class LinkBatch:
    """What one step of training on links reads.

    Attributes:
        seeds: the distinct nodes of all pairs, (num_seeds,) int64; equals
            `blocks[-1].dst_nodes`.
        blocks: one per layer, in the order the layers run.
        pairs: rows of `seeds`, (2, num_pairs) int64: sources, destinations. The edges come
            first, then the negatives of the first edge, of the second, and so on.
        labels: 1 for an edge, 0 for a negative, (num_pairs,) float32.
        x: input rows for `blocks[0].src_nodes`, (num_src, d_in) float32; None without features.
        relations: edge types of the pairs, a negative's that of its edge, (num_pairs,) int64;
            None where the loader was given none.
    """

    seeds: Tensor
    blocks: tuple[Block, ...]
    pairs: Tensor
    labels: Tensor
    x: Tensor | None
    relations: Tensor | None = None


class LinkLoader:
    """Cuts edges into batches, draws negatives, and samples Blocks that do not hold the edges.

    Each pass over the loader is one epoch with its own order, negatives and neighbors, all keyed
    by (seed, epoch). A bounded number of batches is prepared ahead by threads. Neighbors are
    drawn first and the excluded edges dropped then, so a node of the batch may have fewer
    neighbors than its fanout.

    Args:
        data: graph and features.
        sampler: makes Blocks from seeds.
        edges: pairs to predict, (2, num_edges) dense nodes: sources, destinations.
        batch_size: edges per batch; the last batch may be smaller.
        num_negatives: negatives per edge.
        exclude: which edges of the graph no Block of a batch holds: "target" the batch's own,
            "reverse" those and their reverses, "none" leaves all in. Every edge between the two
            nodes goes, whatever its type.
        relations: codes of edge types, (num_edges,); left out where there is one.
        negatives: draws the negatives, in place of a uniform one with `num_negatives`.
        shuffle: visit in a new random order each epoch.
        seed: randomness of order, negatives and neighbors.
        num_workers: preparing threads; 0 prepares in the caller.
        prefetch: batches ready or under way at once.
        part: which edges of a batch of so many this process takes, where several share the
            batches; negatives, neighbors and excluded edges are those of the whole batch.

    Raises:
        InputError: an argument is out of its range, or an end of an edge is not a node.

    Example:
        >>> from sampling import FullNeighborSampler, Graph
        >>> ring = Graph.from_edges([1, 2, 3, 0], [0, 1, 2, 3])
        >>> sampler = FullNeighborSampler(ring, num_layers=1)
        >>> loader = LinkLoader(Dataset.in_memory(ring), sampler, [[1], [0]])
        >>> batch = next(iter(loader))
        >>> batch.seeds[batch.pairs[:, 0]].tolist(), batch.labels.tolist()
        ([1, 0], [1.0, 0.0])
        >>> batch.blocks[0].in_degrees()[batch.seeds == 0].tolist()
        [0]
    """

    def __init__(
        self,
        data: Dataset,
        sampler: Sampler,
        edges: ArrayLike | Tensor,
        batch_size: int = 1024,
        num_negatives: int = 1,
        *,
        exclude: str = "target",
        relations: ArrayLike | None = None,
        negatives: NegativeSampler | None = None,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 1,
        prefetch: int = 4,
        part: Callable[[int], slice] | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        if exclude not in ("target", "reverse", "none"):
            raise InputError(f"exclude is {exclude!r}; choose one of target, reverse, none")
        self.data, self.sampler, self.exclude = data, sampler, exclude
        self.edges = _checked_edges(edges, data.graph.num_nodes)
        self.relations = None if relations is None else np.asarray(relations, np.int64)
        if self.relations is not None and len(self.relations) != self.edges.shape[1]:
            raise InputError(f"there are {len(self.relations)} relations for "
                             f"{self.edges.shape[1]} edges; give one for each")  # fmt: skip
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.negatives = negatives or NegativeSampler(data.graph, num_negatives)
        self.num_workers, self.prefetch = num_workers, max(prefetch, 1)
        self.part = part or _all
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.edges[0]) // self.batch_size)

    def size_of(self, i: int) -> int:
        """Edges of the whole batch i, of all processes that share it."""
        return min(self.batch_size, len(self.edges[0]) - i * self.batch_size)

    def __iter__(self) -> Iterator[LinkBatch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = self._order(epoch)
        starts = range(0, len(order), self.batch_size)
        parts = [order[start : start + self.batch_size] for start in starts]
        seed = mix((self.seed + GOLDEN * (epoch + 1)) & MASK)
        prepare = partial(self._prepare, seed=seed)
        yield from prepared_ahead(parts, prepare, self.num_workers, self.prefetch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(self.edges.shape[1])
        rng = np.random.default_rng((self.seed & MASK, epoch))
        return rng.permutation(self.edges.shape[1])

    def _prepare(self, rows_of_edges: NDArray[np.int64], seed: int) -> LinkBatch:
        edges = self.edges[:, rows_of_edges]
        part, count = self.part(len(rows_of_edges)), self.negatives.num_negatives
        drawn = self.negatives.pairs(edges[0], edges[1], seed).numpy()
        own, negatives = edges[:, part], drawn.reshape(2, -1, count)[:, part].reshape(2, -1)
        pairs = np.concatenate([own, negatives], axis=1)
        nodes, rows = np.unique(pairs, return_inverse=True)
        seeds = torch.from_numpy(nodes)
        blocks = tuple(self._hidden(block, edges) for block in self.sampler.sample(seeds, seed))
        features = self.data.features
        return LinkBatch(
            seeds=seeds,
            blocks=blocks,
            pairs=torch.from_numpy(rows.reshape(pairs.shape)),
            labels=(torch.arange(pairs.shape[1]) < own.shape[1]).float(),
            x=None if features is None else features.gather(blocks[0].src_nodes),
            relations=self._relations_of(rows_of_edges[part]),
        )

    def _relations_of(self, rows: NDArray[np.int64]) -> Tensor | None:
        """Relations of some edges, then of their negatives."""
        if self.relations is None:
            return None
        own = self.relations[rows]
        return torch.from_numpy(np.concatenate([own, np.repeat(own, self.negatives.num_negatives)]))

    def _hidden(self, block: Block, edges: Edges) -> Block:
        """The block without what `exclude` tells."""
        if self.exclude == "none":
            return block
        listed = edges if self.exclude == "target" else np.concatenate([edges, edges[::-1]], axis=1)
        return without_edges(block, *listed)


def _all(count: int) -> slice:
    return slice(None)


def _checked_edges(edges: ArrayLike | Tensor, num_nodes: int) -> Edges:
    array = edges.numpy(force=True) if isinstance(edges, Tensor) else np.asarray(edges)
    if array.ndim != 2 or array.shape[0] != 2:
        raise InputError(f"edges have shape {array.shape}; give (2, num_edges): a row of sources "
                         "and a row of destinations")  # fmt: skip
    return checked_seeds(array.ravel(), num_nodes).reshape(2, -1)
