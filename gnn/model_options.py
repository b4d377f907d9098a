"""Which settings of an architecture are read by which convolution: one that would be ignored is
refused, where a user chose it.

A setting at its default is never refused, so that a configuration can be carried over to another
model; a convolution of the user's own may read any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gnn.model_config import ATTENDING, ModelConfig, is_brought
from sampling.errors import InputError

__all__ = ["check_are_read", "is_read"]

READERS: dict[str, tuple[str, ...]] = {
    "aggregator": ("sage",),
    "heads": ATTENDING,
    "attention_dropout": ATTENDING,
    "out_heads": ("gat", "gatv2"),
    "message_dropout": ("gat",),
    "alpha": ("appnp",),
    "num_bases": ("rgcn",),
    "d_time": ("tgat",),
}
DEFAULTS = {field.name: field.default for field in fields(ModelConfig) if field.name in READERS}


def is_read(name: str, conv: str) -> bool:
    """Whether a convolution, or what is around it, reads this field of `ModelConfig`."""
    return name not in READERS or conv in READERS[name] or is_brought(conv)


def check_are_read(conv: str, chosen: Mapping[str, Any]) -> None:
    """Refuse what a convolution would ignore.

    Args:
        conv: a convolution.
        chosen: fields of `ModelConfig` that the user set.

    Raises:
        InputError: names the setting and what it is for.
    """
    for name, value in chosen.items():
        if not is_read(name, conv) and value != DEFAULTS[name]:
            raise InputError(f"{name} is {value!r}, which is for {' and '.join(READERS[name])}, "
                             f"and the model is {conv}; leave it out")  # fmt: skip
