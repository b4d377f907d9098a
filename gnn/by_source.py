"""The edges of a hop listed by their source, which is how gradients read them.

A graph that is trained on whole has the same edges in every layer of every step. Edges that are
differentiated a second time are therefore kept in this order for as long as they live; those of a
sampled batch, differentiated once, are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from sampling import kernels

__all__ = ["BySource", "by_source"]


class BySource(NamedTuple):
    """A transposed hop.

    Attributes:
        indptr: offsets of every source's edges, (num_src + 1,) int64.
        destinations: (num_edges,), of the type of the hop's indices.
        order: position of each edge in the hop, (num_edges,) int64.
    """

    indptr: Tensor
    destinations: Tensor
    order: Tensor


@dataclass(frozen=True, slots=True)
class _Seen:
    """Edges that were differentiated: as they were then, and in the other order if again."""

    indptr: Tensor
    versions: tuple[int, int]
    num_src: int
    kept: BySource | None

    def is_of(self, indptr: Tensor, indices: Tensor, num_src: int) -> bool:
        same = self.indptr is indptr and self.num_src == num_src
        return same and self.versions == (indptr._version, indices._version)


_seen = WeakTensorKeyDictionary()
"""By the indices of a hop."""


def by_source(indptr: Tensor, indices: Tensor, num_src: int) -> BySource:
    """The transposed hop.

    Args:
        indptr: offsets of every destination's edges, (num_dst + 1,) int64.
        indices: source of every edge, (num_edges,).
        num_src: number of sources.

    Edges that torch changes in place are listed anew; what NumPy changes in the memory of a tensor
    goes unseen, so edges are not to be changed that way.

    Cost: one pass over the edges the first two times, none from then on; what is kept takes the
    memory of the edges once more, and 8 bytes per edge for their positions.
    """
    seen: _Seen | None = _seen.get(indices)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if seen is not None and not seen.is_of(indptr, indices, num_src):
        seen = None
    if seen is not None and seen.kept is not None:
        return seen.kept
    threads = torch.get_num_threads()
    arrays = kernels.transpose(indptr.numpy(), indices.numpy(), num_src, threads)
    made = BySource(*map(torch.from_numpy, arrays))
    versions = indptr._version, indices._version
    _seen[indices] = _Seen(indptr, versions, num_src, None if seen is None else made)
    return made
