"""Matrices per type, beside the sum over all types written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gnn.conv.hgt import HGTConv
from gnn.conv.rgcn import RGCNConv
from gnn.conv.typed import TypedLinear, product_by_segments
from sampling import Block

RELATIONS = 50


class ShapesMade(TorchDispatchMode):
    """Counts the tensors of one shape that operations return."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types
        self.shape, self.count = shape, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
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


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (RGCNConv(8, 8, RELATIONS), (RELATIONS, 8, 8)),
        (HGTConv(8, 8, 1, RELATIONS, heads=2), (RELATIONS, 2, 4, 4)),
        (TypedLinear(RELATIONS, 8, 8), (RELATIONS, 8, 8)),
    ],
)
def test_the_gradient_of_all_matrices_is_built_once_for_all_types(
    conv: nn.Module, shape: tuple[int, ...]
) -> None:
    """Hundreds of relations would otherwise take as many tensors of the size of the weight."""
    types, every = torch.arange(RELATIONS), torch.arange(RELATIONS + 1)
    block = Block(types, every, types.int(), edge_type=types)
    out = conv(torch.randn(RELATIONS, 8), types) if isinstance(conv, TypedLinear) else conv(
        block, torch.randn(RELATIONS, 8)
    )  # fmt: skip
    with ShapesMade(shape) as made:
        out.square().sum().backward()
    assert 1 <= made.count < RELATIONS
