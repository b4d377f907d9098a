"""Training by several processes, on one machine or many, started by `torchrun`.

Every process walks the same batches in the same order and takes its own share of each, and the
gradients are added up before every step. A batch, its neighbors and its gradient are therefore
those of one process: only the rounding of the sum differs. Randomness that belongs to rows
(dropout) is drawn by each process for its own share.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gnn.device import check_device_name, chosen_device
from sampling.errors import InputError

__all__ = ["Ranks", "joined", "local_rank"]

ON_BOTH = "cpu:gloo,cuda:nccl"

SequenceT = TypeVar("SequenceT")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0; rank 0 writes.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Ranks:
        """The process group that this process has joined, or a group of one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Where this process trains; of several on a machine each takes the accelerator of its
        number there, as `torchrun` gives it.

        Raises:
            InputError: the device is not there, or one is named for several processes.
        """
        if self.size == 1 or name == "cpu":
            return chosen_device(name)
        check_device_name(name)
        if name not in ("auto", "cuda"):
            raise InputError(f"device is {name!r} in one of {self.size} processes, which take one "
                             "accelerator each; pass cuda, cpu or auto")  # fmt: skip
        is_cpu = name == "auto" and not torch.cuda.is_available()
        return chosen_device("cpu" if is_cpu else f"cuda:{local_rank()}")

    def part(self, count: int) -> slice:
        """This process's entries of a batch of `count`; all of them where there are too few."""
        return slice(None) if count < self.size else slice(self.rank, None, self.size)

    def share(self, count: int) -> float:
        """The weight of the mean over those entries in the mean over the batch."""
        if count < self.size:
            return 1 / self.size
        return len(range(self.rank, count, self.size)) / count

    def mean(self, own: Tensor, count: int) -> Tensor:
        """The mean over a batch of `count` from the mean over this process's entries of it.

        Gradients reach the entries of all processes.
        """
        if self.size == 1:
            return own
        share = own * self.share(count)
        whole: Tensor = _Sum.apply(share)  # type: ignore[no-untyped-call]  # torch has no types
        return whole

    def total(self, own: float) -> float:
        """The sum of this number over the processes, the same in all of them."""
        if self.size == 1:
            return own
        whole = torch.tensor(own, dtype=torch.float64)
        dist.all_reduce(whole)
        return whole.item()

    def epoch_mean(self, losses: Sequence[float], sizes: Sequence[int]) -> float:
        """The mean over the entries of an epoch, the same in all processes.

        Args:
            losses: of every batch, the mean over this process's entries.
            sizes: entries of every whole batch.
        """
        own = (loss * self.share(size) * size for loss, size in zip(losses, sizes, strict=True))
        return self.total(math.fsum(own)) / sum(sizes)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes, in one message."""
        if self.size == 1:
            return
        tensors = [p for p in parameters if p.requires_grad]
        for p in tensors:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        grads = [p.grad for p in tensors if p.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        pieces = torch.split(flat, [grad.numel() for grad in grads])
        for grad, piece in zip(grads, pieces, strict=True):
            grad.copy_(piece.view_as(grad))

    def same_buffers(self, model: nn.Module) -> None:
        """Give every process the running statistics of rank 0."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def agree(self, failed: bool) -> bool:
        """Whether any process has failed, so that none waits for one that is gone."""
        if self.size == 1:
            return failed
        flag: Tensor = torch.tensor(int(failed))
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))  # a barrier would choose a device by itself


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _summed(own)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _summed(grads[0])


def _summed(own: Tensor) -> Tensor:
    whole = own.contiguous().clone()
    dist.all_reduce(whole)
    return whole


def local_rank() -> int:
    """The number of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that `torchrun` started together with this one; a group of one without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or dist.is_initialized():
        yield Ranks.current()
        return
    if torch.cuda.is_available() and local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(local_rank())
    has_both = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group(ON_BOTH if has_both else "gloo")
    try:
        yield Ranks.current()
    finally:
        dist.destroy_process_group()
