"""Mini-batches, prepared by threads ahead of the model, in an order that threads cannot change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling.block import MiniBatch
from sampling.errors import InputError
from sampling.graph.store import Dataset
from sampling.kernels.reference import GOLDEN, MASK, mix
from sampling.prefetch import prepared_ahead
from sampling.sampler import Sampler

__all__ = ["MiniBatchLoader"]


class MiniBatchLoader:
    """Cuts seeds into batches, samples them, gathers their features and labels.

    Each pass over the loader is one epoch with its own shuffle and its own neighbors, both
    keyed by (seed, epoch). A bounded number of batches is prepared ahead by threads.

    Args:
        data: graph, features and labels.
        sampler: makes Blocks from seeds.
        seeds: dense nodes to visit.
        batch_size: seeds per batch; the last batch may be smaller.
        shuffle: visit in a new random order each epoch.
        seed: randomness of order and neighbors.
        num_workers: preparing threads; 0 prepares in the caller. As many as cores, with a sampler
            of one thread each, prepare the most batches; one with a sampler of many threads
            prepares the next batch soonest.
        prefetch: batches ready or under way at once.
        resample: draw new neighbors each epoch; False keeps those of `sampler.sample(seeds)`.
        labels: targets in place of `data.labels`.
        part: which entries of every batch to prepare, by the size of the batch; all when left out.

    Raises:
        InputError: the batch size is not positive.
    """

    def __init__(
        self,
        data: Dataset,
        sampler: Sampler,
        seeds: ArrayLike | Tensor,
        batch_size: int = 1024,
        *,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 1,
        prefetch: int = 4,
        resample: bool = True,
        labels: Tensor | None = None,
        part: Callable[[int], slice] | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        self.data, self.sampler, self.batch_size = data, sampler, batch_size
        array = seeds.numpy(force=True) if isinstance(seeds, Tensor) else np.asarray(seeds)
        self.seeds: NDArray[np.int64] = array.astype(np.int64)
        self.shuffle, self.seed, self.resample = shuffle, seed, resample
        self.num_workers, self.prefetch = num_workers, max(prefetch, 1)
        self.labels = _label_tensor(data.labels) if labels is None else labels
        self.part = part
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.seeds) // self.batch_size)

    def size_of(self, i: int) -> int:
        """Seeds of batch i, whatever part of it is prepared."""
        return min(self.batch_size, len(self.seeds) - i * self.batch_size)

    def __iter__(self) -> Iterator[MiniBatch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = self._order(epoch)
        starts = range(0, len(order), self.batch_size)
        parts = [order[start : start + self.batch_size] for start in starts]
        if self.part is not None:
            parts = [part[self.part(len(part))] for part in parts]
        sampling_seed = mix((self.seed + GOLDEN * (epoch + 1)) & MASK) if self.resample else None
        prepare = partial(self._prepare, seed=sampling_seed)
        yield from prepared_ahead(parts, prepare, self.num_workers, self.prefetch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return self.seeds
        return np.random.default_rng((self.seed & MASK, epoch)).permutation(self.seeds)

    def _prepare(self, seeds: NDArray[np.int64], seed: int | None) -> MiniBatch:
        nodes = torch.from_numpy(seeds)
        blocks = self.sampler.sample(nodes, seed)
        features = self.data.features
        x = (
            None
            if features is None
            else features.gather(blocks[0].src_nodes, self.sampler.num_threads)
        )
        y = None if self.labels is None else self.labels[nodes]
        return MiniBatch(nodes, blocks, x, y)


def _label_tensor(labels: NDArray[Any] | None) -> Tensor | None:
    return None if labels is None else torch.from_numpy(np.array(labels))
