"""Batches on their way to the device of a model.

A batch is any frozen record of tensors and of other such records, as Blocks are. On CUDA it is
copied from pinned memory, on a stream of its own and by a thread of its own, while the batch before
it is computed. What a Block has by reference from its graph, the offsets of all nodes, is copied
once and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from sampling.prefetch import prepared_ahead

__all__ = ["Mover", "moved"]

BY_REFERENCE = ("graph_indptr",)
AHEAD = 2

BatchT = TypeVar("BatchT")


@dataclass(slots=True)
class Mover:
    """Copies batches, Blocks and tensors to one device; on the CPU it gives back what it got.

    Attributes:
        device: where to.
        pins: through pinned memory, which lets the copy run beside other work.
    """

    device: torch.device
    pins: bool = False
    _kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(self, batch: BatchT) -> BatchT:
        """The same batch there; entries that are no tensors stay as they are."""
        if self.device.type == "cpu":
            return batch
        return cast(BatchT, self._moved(batch))

    def _moved(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._copied(value)
        if isinstance(value, (tuple, list)):
            return type(value)([self._moved(part) for part in value])
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **self._entries(value))
        return value

    def _entries(self, record: Any) -> dict[str, Any]:
        found = {each.name: getattr(record, each.name) for each in fields(record)}
        return {
            name: self._once(value) if name in BY_REFERENCE else self._moved(value)
            for name, value in found.items()
            if value is not None
        }

    def _copied(self, tensor: Tensor) -> Tensor:
        pins = self.pins and tensor.layout == torch.strided
        source = tensor.pin_memory() if pins else tensor
        return source.to(self.device, non_blocking=pins)

    def _once(self, tensor: Tensor) -> Tensor:
        """A copy that is made once; the original is kept, so that its address is not used again."""
        key = tensor.data_ptr(), len(tensor)
        if key not in self._kept:
            self._kept[key] = tensor, tensor.to(self.device)
        return self._kept[key][1]


def moved(batches: Iterable[BatchT], device: torch.device) -> Iterator[BatchT]:
    """The batches on the device, in their order; on the CPU untouched.

    Args:
        batches: what a loader prepares.
        device: where the model is.
    """
    # A device that only pretends to be CUDA, as in tests, has no streams.
    if device.type == "cuda" and torch.cuda.is_available():
        return _overlapped(batches, device)
    return map(Mover(device), batches)


def _overlapped(batches: Iterable[BatchT], device: torch.device) -> Iterator[BatchT]:
    """Copies run on a stream beside that of the model, a batch ahead of it."""
    stream, mover = torch.cuda.Stream(device), Mover(device, pins=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def copy(batch: BatchT) -> tuple[BatchT, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            there = mover(batch)
            return there, stream.record_event()

    for there, arrived in prepared_ahead(batches, copy, 1, AHEAD):
        current = torch.cuda.current_stream(device)
        current.wait_event(arrived)
        for tensor in _tensors(there):
            tensor.record_stream(current)
        yield there


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of a batch."""
    if isinstance(value, Tensor):
        yield from (value,) if value.layout == torch.strided else _of_sparse(value)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _tensors(getattr(value, each.name))


def _of_sparse(rows: Tensor) -> tuple[Tensor, ...]:
    return rows.crow_indices(), rows.col_indices(), rows.values()
