"""Where a model runs, and which operations run there.

Graphs, features and sampling stay on the CPU; batches follow the model to its device
(`gnn.transfer`). On the CPU the compiled kernels walk edges, elsewhere plain torch operations do:
the same sums, softmaxes and gradients, whose last bits depend on the order that the device adds in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gnn.errors import DeviceMemoryError
from sampling.errors import InputError

__all__ = [
    "at_home",
    "check_device_name",
    "chosen_device",
    "naming_memory",
    "on_device_of",
    "plain_operations",
    "random_devices",
    "walks_compiled",
]

NAMES = re.compile(r"auto|cpu|cuda(:\d{1,3})?")

_is_plain: ContextVar[bool] = ContextVar("is_plain", default=False)


def check_device_name(name: str) -> None:
    """Refuse what names no device, whether it is there or not.

    Raises:
        InputError: the name is unknown.
    """
    if not NAMES.fullmatch(name):
        raise InputError(f"device is {name!r}; choose auto, cpu, cuda, or cuda:N of several")


def chosen_device(name: str) -> torch.device:
    """The device of this name: "auto" is the first accelerator, or the CPU where there is none.

    Raises:
        InputError: the name is unknown, or this machine has no such device.

    Example:
        >>> chosen_device("cpu")
        device(type='cpu')
    """
    check_device_name(name)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(f"device is {name!r}, but torch finds no CUDA device here; choose cpu or "
                         "auto, or install a build of torch for CUDA and its driver")  # fmt: skip
    device = torch.device("cuda" if name == "auto" else name)
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise InputError(f"device is {name!r}, but there are {count} here; choose cuda:0 … "
                         f"cuda:{count - 1}")  # fmt: skip
    return torch.device("cuda", device.index or 0)


@contextmanager
def at_home(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model on the CPU inside, for work that goes over whole graphs; on `device` afterwards."""
    model.to("cpu")
    try:
        yield
    finally:
        model.to(device)


@contextmanager
def naming_memory(device: torch.device, batch_size: int) -> Iterator[None]:
    """Say what to do where the device's memory is too small for a step.

    Raises:
        DeviceMemoryError: in place of torch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise DeviceMemoryError(str(device), batch_size) from None


def on_device_of(like: Tensor, array: NDArray[Any]) -> Tensor:
    """The array as a tensor on the device of another."""
    return torch.from_numpy(array).to(like.device)


@contextmanager
def plain_operations() -> Iterator[None]:
    """Walk edges by plain torch operations inside, on the CPU too: what other devices run."""
    token = _is_plain.set(True)
    try:
        yield
    finally:
        _is_plain.reset(token)


def random_devices(device: torch.device) -> list[torch.device]:
    """The devices beside the CPU with a random generator that a model there draws from."""
    return [device] if device.type == "cuda" and torch.cuda.is_available() else []


def walks_compiled(x: Tensor) -> bool:
    """Whether the compiled kernels take rows of this device and number type."""
    return x.device.type == "cpu" and x.dtype != torch.float64 and not _is_plain.get()
