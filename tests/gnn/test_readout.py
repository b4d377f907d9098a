"""Readouts: a graph's row is its own, whatever the order of nodes and of graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn.readout import READOUTS, build_readout
from sampling.errors import InputError

every_readout = pytest.mark.parametrize("name", sorted(READOUTS))
D = 5


def made(name: str, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(1)
    return build_readout(name, D).to(dtype)


def batch_of(sizes: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    indptr = torch.tensor([0, *np.cumsum(sizes)], dtype=torch.int64)
    return torch.randn(int(indptr[-1]), D, dtype=torch.float64), indptr


@every_readout
@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_the_order_of_nodes_changes_nothing_and_that_of_graphs_only_the_order(name, sizes, seed):
    readout = made(name)
    h, indptr = batch_of(sizes, seed)
    out = readout(h, indptr)
    assert out.shape == (len(sizes), readout.d_out)
    rng = np.random.default_rng(seed)
    graphs = rng.permutation(len(sizes))
    starts = indptr.tolist()
    nodes = [rng.permutation(np.arange(starts[g], starts[g + 1])) for g in graphs]
    shuffled = h[torch.from_numpy(np.concatenate(nodes).astype(np.int64))]
    moved = torch.tensor([0, *np.cumsum([sizes[g] for g in graphs])], dtype=torch.int64)
    torch.testing.assert_close(readout(shuffled, moved), out[torch.from_numpy(graphs)])


@every_readout
def test_a_graph_alone_gets_the_row_that_it_gets_in_a_batch(name):
    readout = made(name)
    h, indptr = batch_of([3, 0, 1, 4])
    out = readout(h, indptr)
    for g in range(4):
        lo, hi = indptr[g : g + 2].tolist()
        alone = readout(h[lo:hi], torch.tensor([0, hi - lo]))
        torch.testing.assert_close(alone[0], out[g])
    assert (out[1] == 0).all()


@every_readout
def test_kernels_and_plain_torch_agree_and_so_do_their_gradients(name):
    results = []
    for dtype in (torch.float32, torch.float64):
        readout = made(name, dtype)
        h, indptr = batch_of([3, 0, 1, 4])
        h = h.to(dtype).requires_grad_()
        out = readout(h, indptr)
        (out * torch.arange(1, 1 + out.numel(), dtype=dtype).reshape(out.shape)).sum().backward()
        results.append((out.detach().double(), h.grad.double()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_sum_mean_and_max_are_what_they_say():
    h, indptr = batch_of([2, 3])
    parts = [h[:2], h[2:]]
    for name, reduce in (("sum", lambda p: p.sum(0)), ("mean", lambda p: p.mean(0)),
                         ("max", lambda p: p.max(0).values)):  # fmt: skip
        expected = torch.stack([reduce(part) for part in parts])
        torch.testing.assert_close(made(name)(h, indptr), expected)


def test_attention_is_a_weighted_mean_and_equal_nodes_do_not_change_it():
    readout = made("attention")
    h, _ = batch_of([1])
    once = readout(h, torch.tensor([0, 1]))
    twice = readout(torch.cat([h, h]), torch.tensor([0, 2]))
    torch.testing.assert_close(once, readout.value(h))
    torch.testing.assert_close(once, twice)


def test_what_does_not_fit_is_refused():
    h, indptr = batch_of([2, 3])
    with pytest.raises(InputError, match="one row per node"):
        made("sum")(h[:4], indptr)
    with pytest.raises(InputError, match="readout 'median'"):
        build_readout("median", 3)
