"""Matrices per type, beside the sum over all types written out."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gnn.conv.typed import TypedLinear, product_by_segments


class ShapesMade(TorchDispatchMode):
    """Counts the tensors of one shape that operations return."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        self.count += isinstance(out, Tensor) and out.shape == self.shape
        return out


@given(st.lists(st.integers(0, 4), max_size=6), st.booleans())
def test_segments_are_multiplied_by_their_own_matrix(counts: list[int], with_bias: bool) -> None:
    torch.manual_seed(len(counts))
    weight = torch.randn(len(counts), 3, 2, dtype=torch.float64)
    bias = torch.randn(len(counts), 2, dtype=torch.float64) if with_bias else None
    x = torch.randn(sum(counts), 3, dtype=torch.float64)
    types = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts).long())
    expected = torch.einsum("ni,nio->no", x, weight[types])
    if bias is not None:
        expected = expected + bias[types]
    torch.testing.assert_close(product_by_segments(x, weight, counts, bias), expected)


def test_rows_keep_their_order() -> None:
    torch.manual_seed(0)
    layer, types = TypedLinear(3, 4, 2), torch.tensor([2, 0, 2, 1, 0])
    x = torch.randn(5, 4)
    one_by_one = torch.cat([layer(x[i : i + 1], types[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(layer(x, types), one_by_one)


def test_the_gradient_of_all_matrices_is_built_once_for_all_types() -> None:
    """A graph with hundreds of relations would otherwise take a copy of the weight for each."""
    weight = torch.randn(50, 4, 4, requires_grad=True)
    bias = torch.randn(50, 4, requires_grad=True)
    loss = product_by_segments(torch.randn(100, 4), weight, [2] * 50, bias).square().sum()
    with ShapesMade((50, 4, 4)) as made:
        loss.backward()  # type: ignore[no-untyped-call]
    assert made.count <= 3
