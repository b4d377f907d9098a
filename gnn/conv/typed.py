"""Linear maps with a matrix per type: of node types, or of relations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sampling.errors import InputError

__all__ = ["TypedLinear", "product_by_segments"]


def product_by_segments(
    x: Tensor, weight: Tensor, counts: list[int], bias: Tensor | None = None
) -> Tensor:
    """Consecutive rows times the matrix of their segment, (rows, d_out).

    Args:
        x: (rows, d_in).
        weight: (segments, d_in, d_out).
        counts: rows of every segment.
        bias: what is added to the products of every segment, (segments, d_out).
    """
    products = [x.new_zeros(0, weight.shape[2])]
    # Unbound at once: the gradient of every weight[i] would be as large as the whole weight.
    offsets = [None] * len(weight) if bias is None else bias.unbind()
    for rows, matrix, offset in zip(torch.split(x, counts), weight.unbind(), offsets, strict=True):
        if len(rows):
            product = rows @ matrix
            products.append(product if offset is None else product + offset)
    return torch.cat(products)


class TypedLinear(nn.Module):
    """x W_t + b_t, t the type of the row.

    Args:
        num_types: number of types.
        d_in: width of the input rows.
        d_out: width of the output rows.

    Raises:
        InputError: `num_types` is below 1.
    """

    def __init__(self, num_types: int, d_in: int, d_out: int) -> None:
        super().__init__()
        if num_types < 1:
            raise InputError(f"num_types is {num_types}; it must be at least 1")
        bound = (6 / (d_in + d_out)) ** 0.5
        self.weight = nn.Parameter(torch.empty(num_types, d_in, d_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_types, d_out))

    def forward(self, x: Tensor, types: Tensor) -> Tensor:
        """(rows, d_out) from (rows, d_in).

        Args:
            x: the rows.
            types: type of every row, (rows,) int64.

        Raises:
            InputError: there is a type without a matrix.
        """
        num_types = len(self.weight)
        if len(types) and int(types.max()) >= num_types:
            raise InputError(
                f"there is a node of type {int(types.max())}; this model knows {num_types} node "
                "types, from 0 on"
            )
        order = torch.argsort(types, stable=True)
        counts = torch.bincount(types, minlength=num_types).tolist()
        rows = product_by_segments(x[order], self.weight, counts, self.bias)
        return rows[torch.argsort(order)]
