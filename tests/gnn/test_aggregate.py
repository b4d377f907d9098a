"""Aggregation: the kernels, the plain torch operations and the derivative of both agree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnn import aggregate
from gnn.aggregate import REDUCTIONS, estimate_sum
from sampling import Block, NeighborSampler
from sampling.errors import InputError


@pytest.fixture
def block(make_graph) -> Block:
    return make_graph().block()


def rows_for(block: Block, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(block.num_src, 5, generator=generator, dtype=dtype)


def factors_for(block: Block) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(block.num_edges, generator=generator, dtype=torch.float64) + 0.5


def naive(block: Block, x: Tensor, reduce: str, weight: Tensor | None) -> Tensor:
    rows = torch.zeros(block.num_dst, x.shape[1], dtype=x.dtype)
    for i in range(block.num_dst):
        edges = slice(int(block.indptr[i]), int(block.indptr[i + 1]))
        messages = x[block.indices[edges].long()]
        if weight is not None:
            messages = messages * weight[edges, None]
        if len(messages):
            rows[i] = messages.amax(0) if reduce == "max" else getattr(messages, reduce)(0)
    return rows


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_kernels_equal_a_loop_over_rows(block, reduce, weighted):
    x, weight = rows_for(block), factors_for(block) if weighted else None
    got = aggregate(block, x.float(), reduce, weight)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, naive(block, x, reduce, weight).float())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_gradients_of_the_kernels_equal_those_of_torch(block, reduce, weighted):
    x, weight = rows_for(block), factors_for(block) if weighted else None
    upstream = torch.randn(block.num_dst, 5, generator=torch.Generator().manual_seed(3))

    def gradients(dtype: torch.dtype) -> list[Tensor]:
        inputs = [t.to(dtype).requires_grad_() for t in (x, weight) if t is not None]
        out = aggregate(block, inputs[0], reduce, inputs[1] if weighted else None)
        return list(torch.autograd.grad(out, inputs, upstream.to(dtype)))

    for kernel, plain in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        torch.testing.assert_close(kernel.double(), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_derivative_is_that_of_finite_differences(make_graph, reduce):
    block = make_graph(num_nodes=8, num_edges=20).block()
    x = rows_for(block).requires_grad_()
    weight = factors_for(block).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, w: aggregate(block, a, reduce, w), (x, weight))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_node_weights_equal_scaled_rows_and_so_do_their_gradients(block, reduce, weighted):
    """Float64 takes the plain operations, which gradcheck holds to finite differences."""
    x, weight = rows_for(block), factors_for(block) if weighted else None
    node_weight = torch.rand(block.num_src, generator=torch.Generator().manual_seed(5)) + 0.5
    upstream = torch.randn(block.num_dst, 5, generator=torch.Generator().manual_seed(3))

    def results(dtype: torch.dtype) -> list[Tensor]:
        inputs = [t.to(dtype).requires_grad_() for t in (x, node_weight, weight) if t is not None]
        rows, factors = inputs[:2]
        edge_factors = inputs[2] if weighted else None
        if dtype == torch.float64:
            out = aggregate(block, rows * factors[:, None], reduce, edge_factors)
        else:
            out = aggregate(block, rows, reduce, edge_factors, factors)
        return [out, *torch.autograd.grad(out, inputs, upstream.to(dtype))]

    for kernel, plain in zip(results(torch.float32), results(torch.float64), strict=True):
        torch.testing.assert_close(kernel.double(), plain, rtol=1e-5, atol=1e-5)
    plain = aggregate(block, x, reduce, weight, node_weight.double())
    torch.testing.assert_close(plain, results(torch.float64)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_half_precision_rows_give_what_their_values_give(block, reduce, dtype):
    x = rows_for(block).to(dtype)
    torch.testing.assert_close(aggregate(block, x, reduce), aggregate(block, x.float(), reduce))


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_one_thread_and_four_give_the_same_bits(make_graph, reduce):
    block = make_graph(num_nodes=3000, num_edges=150_000).block()

    def both(num_threads: int) -> tuple[Tensor, Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        x = rows_for(block, torch.float32).requires_grad_()
        out = aggregate(block, x, reduce)
        (grad,) = torch.autograd.grad(out.square().sum(), x)
        torch.set_num_threads(before)
        return out, grad

    for one, four in zip(both(1), both(4), strict=True):
        assert torch.equal(one, four)


def test_gradient_of_max_goes_to_the_first_of_equals():
    block = Block(torch.arange(3), torch.tensor([0, 3]), torch.tensor([2, 0, 1], dtype=torch.int32))
    x = torch.ones(3, 1, requires_grad=True)
    aggregate(block, x, "max").sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0, 0, 1]


def test_a_block_without_edges_gives_zeros_and_no_gradient():
    block = Block(torch.arange(2), torch.zeros(3, dtype=torch.int64), torch.zeros(0).int())
    for reduce in REDUCTIONS:
        x = torch.ones(2, 3, requires_grad=True)
        out = aggregate(block, x, reduce, torch.zeros(0))
        out.sum().backward()
        assert not out.any()
        assert x.grad is not None
        assert not x.grad.any()


def test_estimated_sum_is_exact_on_full_neighborhoods_and_unbiased_on_samples(make_graph):
    graph = make_graph(num_nodes=30, num_edges=400)
    x = torch.rand(30, 2, generator=torch.Generator().manual_seed(4))
    full = estimate_sum(graph.block(), x)
    torch.testing.assert_close(full, aggregate(graph.block(), x, "sum"))
    sampler = NeighborSampler(graph, fanouts=[3])
    draws = []
    for seed in range(400):
        (block,) = sampler.sample(torch.arange(30), seed=seed)
        draws.append(estimate_sum(block, x[block.src_nodes]))
    estimates = torch.stack(draws)
    error = (estimates.mean(0) - full).abs()
    assert (error <= 5 * estimates.std(0) / 400**0.5 + 1e-6).all()


def test_what_does_not_fit_is_refused_with_what_was_got(block):
    x = rows_for(block, torch.float32)
    with pytest.raises(InputError, match="'median'"):
        aggregate(block, x, "median")
    with pytest.raises(InputError, match=r"\(59, 5\)"):
        aggregate(block, x[1:])
    with pytest.raises(InputError, match=r"weight has shape \(7,\)"):
        aggregate(block, x, weight=torch.ones(7))
    with pytest.raises(InputError, match=r"node_weight has shape \(7,\)"):
        aggregate(block, x, node_weight=torch.ones(7))
