"""A device that is not there: tensors that compute on the CPU and say that they lie on CUDA.

An operation that is given tensors of both sides, a scalar aside, is an error, as it is on the real
device; so is reading one as a NumPy array. What is computed is computed, so results can be
compared. `pretended_cuda` makes `torch.device("cuda")` this device inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Elsewhere(Tensor):
    """A tensor on the pretended device; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        self = torch.Tensor._make_wrapper_subclass(cls, held.size(), dtype=held.dtype, **layout)
        self.held = held
        return self

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        return CUDA

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.pop("copy", None)
        device, dtype, _, _ = torch._C._nn._parse_to(*args, **kwargs)
        there = self if device is None or device.type == "cuda" else Home.apply(self)
        return there if dtype is None or dtype == self.dtype else there.type(dtype)

    def cpu(self, *args: Any) -> Tensor:
        return Home.apply(self)

    def type(self, dtype: torch.dtype) -> Tensor:
        return torch.ops.aten._to_copy(self, dtype=dtype)

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"


class Home(torch.autograd.Function):
    """To the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Elsewhere) -> Tensor:
        return x.held.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.to(CUDA)


class _Placing(TorchDispatchMode):
    """Sees what is made or copied without a tensor that is there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the side that its tensors or its device say."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = [t for t in tensors if not isinstance(t, Elsewhere)]
    is_there = len(here) < len(tensors)
    if is_there and func not in COPIES and any(t.dim() for t in here):
        raise RuntimeError(f"{func} is given tensors on cuda:0 and on cpu")
    if kwargs.get("device") is not None:
        # Torch's own code believes such tensors to be on the CPU, and asks for more beside them.
        is_there |= torch.device(kwargs["device"]).type == "cuda"
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func is torch.ops.aten.copy_.default:
        is_there = isinstance(args[0], Elsewhere)
    with _disable_current_modes():
        out = func(*tree_map(held, args), **tree_map(held, kwargs))
    if func._schema.name.endswith("_"):
        return args[0] if func._schema.returns else None
    if is_there and "out" in kwargs:
        return kwargs["out"]
    return tree_map(lifted, out) if is_there else out


def held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


def lifted(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) else value


@contextmanager
def pretended_cuda(patch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Inside, tensors and modules can be moved to CUDA on a machine without it."""
    patch.setattr("torch.cuda._lazy_init", lambda: None)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Placing():
            yield CUDA
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
