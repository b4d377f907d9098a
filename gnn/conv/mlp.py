"""The two-layer perceptron inside of a convolution: Linear, batch norm, ReLU, Linear."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor, nn

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
        self.norm = nn.BatchNorm1d(d_hidden) if norm == "batch" else None
        self.last = nn.Linear(d_hidden, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, d_out) from (rows, d_in)."""
        out: Tensor = self.last(F.relu(self._normalized(self.first(x))))
        return out

    def _normalized(self, h: Tensor) -> Tensor:
        norm = self.norm
        if norm is None:
            return h
        if norm.training and len(h) < 2:  # one row has no spread of its own
            return F.batch_norm(
                h, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        out: Tensor = norm(h)
        return out
