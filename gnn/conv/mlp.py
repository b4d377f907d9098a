"""The two-layer perceptron inside of a convolution: Linear, batch norm, ReLU, Linear."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

from gnn.norms import BatchNorm
from sampling.errors import InputError

__all__ = ["MLP", "NORMS"]

NORMS = ("batch", "none")


class MLP(nn.Module):
    """A universal approximator of functions of one row.

    Args:
        d_in: width of the input rows.
        d_hidden: width in between.
        d_out: width of the output rows.
        norm: "batch" normalizes in between (Ioffe, Szegedy 2015); "none" does not.

    Raises:
        InputError: `norm` is unknown.
    """

    def __init__(self, d_in: int, d_hidden: int, d_out: int, norm: str = "none") -> None:
        super().__init__()
        if norm not in NORMS:
            raise InputError(f"norm is {norm!r}; choose {' or '.join(NORMS)}")
        self.first = nn.Linear(d_in, d_hidden)
        self.norm = BatchNorm(d_hidden) if norm == "batch" else None
        self.last = nn.Linear(d_hidden, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, d_out) from (rows, d_in)."""
        h = self.first(x)
        if self.norm is not None:
            h = self.norm(h)
        out: Tensor = self.last(F.relu(h))
        return out
