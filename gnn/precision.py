"""Mixed precision (Micikevicius et al.: Mixed Precision Training, 2018).

In training the dense maps of the encoder may read bfloat16 or float16 (torch's autocast). Weights,
sums and softmaxes over edges, embeddings, the head, the loss and the metrics are float32 whatever
is chosen, and so is all that is not training. float16 has few exponents: its loss is scaled before
the gradient is taken, and a step whose gradient overflows is left out and the scale halved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from sampling.errors import InputError

__all__ = ["Autocast", "Precision", "autocast_dtype", "check_precision"]

Precision = Literal["float32", "bfloat16", "float16"]


def check_precision(name: str) -> None:
    """Refuse what is no precision of training.

    Raises:
        InputError: the name is unknown.
    """
    if name not in get_args(Precision):
        raise InputError(f"precision is {name!r}; choose one of {', '.join(get_args(Precision))}")


def autocast_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """What dense maps read on this device; None for float32.

    Raises:
        InputError: the name is unknown, or the device does not compute with it.
    """
    check_precision(name)
    if name == "float32":
        return None
    if name == "float16" and device.type != "cuda":
        raise InputError(f"precision is 'float16' and the device {str(device)!r}, which does not "
                         "multiply in float16; choose bfloat16 or float32")  # fmt: skip
    if name == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("precision is 'bfloat16', which this accelerator does not have; choose "
                         "float16 or float32")  # fmt: skip
    return torch.bfloat16 if name == "bfloat16" else torch.float16


@dataclass(frozen=True, slots=True)
class Autocast:
    """The setting of torch's autocast at one moment, to be entered again in a backward pass.

    Attributes:
        device_type: "cpu" or "cuda".
        dtype: what dense maps read.
        enabled: whether they do.
    """

    device_type: str
    dtype: torch.dtype
    enabled: bool

    @classmethod
    def current(cls, device: torch.device) -> Autocast:
        """As it is now, for tensors of this device."""
        kind = device.type
        return cls(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))

    @contextmanager
    def again(self) -> Iterator[None]:
        """The same inside. Casts are not kept: they would outlive the graph that they belong to."""
        setting: Any = {"dtype": self.dtype, "enabled": self.enabled, "cache_enabled": False}
        with torch.autocast(self.device_type, **setting):
            yield
