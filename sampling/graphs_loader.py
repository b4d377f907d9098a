"""Mini-batches of whole graphs, prepared by threads ahead of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling.errors import InputError
from sampling.graph.collection import GraphCollection
from sampling.graph.collections.batch import GraphBatch
from sampling.prefetch import prepared_ahead

__all__ = ["GraphLoader"]

MASK = 0xFFFFFFFFFFFFFFFF


class GraphLoader:
    """Cuts graphs of a collection into batches.

    Each pass over the loader is one epoch; with `shuffle` each has its own order, keyed by
    (seed, epoch). A bounded number of batches is prepared ahead by threads, which change nothing.

    Args:
        collection: the graphs.
        graphs: which of them to visit.
        batch_size: graphs per batch; the last batch may be smaller.
        shuffle: visit in a new random order each epoch.
        seed: randomness of the order.
        num_workers: preparing threads; 0 prepares in the caller.
        prefetch: batches ready or under way at once.
        part: which entries of every batch to prepare, by the size of the batch; all when left out.

    Raises:
        InputError: the batch size is not positive, or a graph is not in the collection.
    """

    def __init__(
        self,
        collection: GraphCollection,
        graphs: ArrayLike | Tensor,
        batch_size: int = 64,
        *,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 1,
        prefetch: int = 4,
        part: Callable[[int], slice] | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        self.collection, self.batch_size = collection, batch_size
        self.graphs = collection.checked(graphs)
        self.shuffle, self.seed = shuffle, seed
        self.num_workers, self.prefetch = num_workers, max(prefetch, 1)
        self.part = part
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.graphs) // self.batch_size)

    def size_of(self, i: int) -> int:
        """Graphs of batch i, whatever part of it is prepared."""
        return min(self.batch_size, len(self.graphs) - i * self.batch_size)

    def __iter__(self) -> Iterator[GraphBatch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = self._order(epoch)
        starts = range(0, len(order), self.batch_size)
        parts = [order[start : start + self.batch_size] for start in starts]
        if self.part is not None:
            parts = [part[self.part(len(part))] for part in parts]
        yield from prepared_ahead(parts, self.collection.batch, self.num_workers, self.prefetch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return self.graphs
        return np.random.default_rng((self.seed & MASK, epoch)).permutation(self.graphs)
