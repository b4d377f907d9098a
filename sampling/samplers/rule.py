"""What samplers share whose kernel draws by a rule.

Requests are checked, scratch memory is lent to each thread that samples, hops become Blocks. A
sampler adds the rule: which edges of a row are drawn, by (seed, layer, node) and nothing else.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sampling import kernels
from sampling.block import Block
from sampling.errors import InputError
from sampling.graph.csc import Graph, as_tensor
from sampling.kernels.reference import MASK
from sampling.sampler import checked_seeds, make_block

__all__ = [
    "Hops",
    "NodeRuleSampler",
    "RuleSampler",
    "checked_fanout",
    "checked_fanouts",
    "to_blocks",
    "too_large_is_an_input_error",
]

ALL = -1
MAX_INT = 2**31 - 1

Hops = list[tuple[NDArray[Any], NDArray[Any], int, NDArray[Any] | None]]


class RuleSampler:
    """A sampler whose kernel draws by a rule; safe to use from several threads.

    Args:
        graph: the graph to sample from.
        seed: any integer; the default of `sample`.
        num_threads: threads for one batch; all cores when left out.

    Raises:
        InputError: `num_threads` is not positive.
    """

    def __init__(self, graph: Graph, seed: int = 0, num_threads: int | None = None) -> None:
        if num_threads is not None and not 1 <= num_threads <= MAX_INT:
            raise InputError(f"num_threads is {num_threads}; it must be at least 1")
        self.graph, self.seed = graph, seed
        self.num_threads = num_threads or kernels.default_threads()
        self._workspaces: queue.LifoQueue[kernels.ChoiceWorkspace] = queue.LifoQueue()

    def _randomness(self, seed: int | None) -> int:
        chosen = self.seed if seed is None else seed
        if not isinstance(chosen, int | np.integer):
            raise InputError(f"seed is {chosen!r}; give an integer")
        return int(chosen) & MASK

    @contextmanager
    def _workspace(self) -> Iterator[kernels.ChoiceWorkspace]:
        try:
            workspace = self._workspaces.get_nowait()
        except queue.Empty:
            workspace = kernels.ChoiceWorkspace()
        try:
            yield workspace
        finally:
            self._workspaces.put(workspace)


class NodeRuleSampler(RuleSampler, ABC):
    """A sampler by a rule that sees nothing but (seed, layer, node): seeds are plain nodes."""

    def sample(self, seeds: ArrayLike | Tensor, seed: int | None = None) -> tuple[Block, ...]:
        """Blocks for these seeds, one per layer, in the order the layers run.

        Args:
            seeds: dense nodes to predict for, (batch,) integers, repeats allowed.
            seed: randomness of this call, where it is not the sampler's own.

        Raises:
            InputError: a seed is not a node of the graph.
        """
        nodes = checked_seeds(seeds, self.graph.num_nodes)
        with self._workspace() as workspace, too_large_is_an_input_error():
            src_nodes, hops = self._draw(workspace, nodes, self._randomness(seed))
        return to_blocks(self.graph, src_nodes, hops, self.num_threads)

    @abstractmethod
    def _draw(
        self, workspace: kernels.ChoiceWorkspace, nodes: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], Hops]:
        """Every node of the batch and its hops, from the kernel."""


@contextmanager
def too_large_is_an_input_error() -> Iterator[None]:
    """Turn what a kernel raises for a batch without room into a sentence."""
    try:
        yield
    except (MemoryError, ValueError) as error:
        reason = str(error) or "out of memory"
        raise InputError(f"the batch cannot be drawn: {reason}; use fewer seeds or smaller "
                         "fanouts, and check the graph")  from None  # fmt: skip


def to_blocks(
    graph: Graph, src_nodes: NDArray[np.int64], hops: Hops, num_threads: int
) -> tuple[Block, ...]:
    """Blocks of a batch; each hop reads a prefix of its nodes."""
    nodes, indptr = torch.from_numpy(src_nodes), as_tensor(graph.indptr)
    return tuple(
        make_block(graph, indptr, nodes[:num_src], offsets, local, edge_ids, num_threads)
        for offsets, local, num_src, edge_ids in hops
    )


def checked_fanouts(fanouts: Sequence[int], least: int = ALL, most: int = MAX_INT) -> list[int]:
    """One fanout per layer as plain integers.

    Raises:
        InputError: there is none, or one is no integer of `least` … `most`.
    """
    if not isinstance(fanouts, Sequence | np.ndarray) or not len(fanouts):
        raise InputError(f"fanouts {fanouts!r}: give one integer per layer")
    return [checked_fanout(k, least, most) for k in fanouts]


def checked_fanout(fanout: object, least: int = ALL, most: int = MAX_INT) -> int:
    """One fanout, or an InputError that says what it may be."""
    good = isinstance(fanout, int | np.integer) and least <= fanout <= most
    if not good:
        everything = ", -1 for all" if least == ALL else ""
        raise InputError(f"a fanout is {fanout!r}; give an integer of {max(least, 0)} … "
                         f"{most}{everything}")  # fmt: skip
    return int(fanout)  # type: ignore[call-overload,no-any-return]  # `good` has checked it
