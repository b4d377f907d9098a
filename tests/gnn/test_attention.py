"""Attention: the kernels, the plain torch operations and a dense softmax agree, derivatives too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnn.attention import additive_attention, attention
from sampling import Block
from sampling.errors import InputError

HEADS, WIDTH = 3, 5


@pytest.fixture
def block(make_graph) -> Block:
    return make_graph().block()


def random(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def inputs_for(block: Block) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, logits, scores of destinations and sources, factors of edges."""
    factors = (random(5, block.num_edges, HEADS) > 0) * 2.0
    return (
        random(1, block.num_src, HEADS * WIDTH),
        3 * random(2, block.num_edges, HEADS),
        random(3, block.num_dst, HEADS),
        random(4, block.num_src, HEADS),
        factors,
    )


def naive(block: Block, x: Tensor, logits: Tensor, factors: Tensor | None) -> Tensor:
    rows = torch.zeros(block.num_dst, HEADS, WIDTH, dtype=x.dtype)
    for v in range(block.num_dst):
        edges = slice(int(block.indptr[v]), int(block.indptr[v + 1]))
        shares = torch.softmax(logits[edges], dim=0)
        if factors is not None:
            shares = shares * factors[edges]
        sources = x[block.indices[edges].long()].view(-1, HEADS, WIDTH)
        rows[v] = (shares[:, :, None] * sources).sum(0)
    return rows.flatten(1)


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_equals_a_dense_softmax(block, dtype, dropped):
    x, logits, _, _, factors = (tensor.to(dtype) for tensor in inputs_for(block))
    factors = factors if dropped else None
    out = attention(block, x, logits, factors)
    assert out.dtype == dtype
    torch.testing.assert_close(out, naive(block, x, logits, factors), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_additive_scores_are_those_of_their_logits(block, dtype):
    x, _, dst_scores, src_scores, factors = (t.to(dtype) for t in inputs_for(block))
    dst = torch.repeat_interleave(torch.arange(block.num_dst), block.in_degrees())
    sums = dst_scores[dst] + src_scores[block.indices.long()]
    logits = torch.nn.functional.leaky_relu(sums, 0.3)
    torch.testing.assert_close(
        additive_attention(block, x, dst_scores, src_scores, 0.3, factors),
        attention(block, x, logits, factors),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("additive", [False, True])
def test_gradients_of_the_kernels_equal_those_of_torch(block, additive, dropped):
    x, logits, dst_scores, src_scores, factors = inputs_for(block)
    upstream = random(6, block.num_dst, HEADS * WIDTH)

    def gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        chosen = (x, dst_scores, src_scores) if additive else (x, logits)
        inputs = [t.to(dtype).requires_grad_() for t in chosen]
        options = {"edge_factors": factors.to(dtype)} if dropped else {}
        out = (additive_attention if additive else attention)(block, *inputs, **options)
        return torch.autograd.grad(out, inputs, upstream.to(dtype))

    for kernel, plain in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        torch.testing.assert_close(kernel.double(), plain, rtol=1e-4, atol=1e-5)


def test_derivative_is_that_of_finite_differences(make_graph):
    block = make_graph(num_nodes=8, num_edges=20).block()
    x, logits, dst_scores, src_scores, _ = (t.requires_grad_() for t in inputs_for(block))
    assert torch.autograd.gradcheck(lambda a, b: attention(block, a, b), (x, logits))
    assert torch.autograd.gradcheck(
        lambda a, b, c: additive_attention(block, a, b, c), (x, dst_scores, src_scores)
    )


def test_one_thread_and_four_give_the_same_bits(make_graph):
    block = make_graph(num_nodes=3000, num_edges=150_000).block()

    def results(num_threads: int) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        tensors = inputs_for(block)
        x, dst_scores, src_scores = (tensors[i].float().requires_grad_() for i in (0, 2, 3))
        out = additive_attention(block, x, dst_scores, src_scores)
        grads = torch.autograd.grad(out.square().sum(), (x, dst_scores, src_scores))
        torch.set_num_threads(before)
        return [out, *grads]

    for one, four in zip(results(1), results(4), strict=True):
        assert torch.equal(one, four)


def test_a_block_without_edges_gives_zeros_and_no_gradient():
    block = Block(torch.arange(2), torch.zeros(3, dtype=torch.int64), torch.zeros(0).int())
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(2, 4, dtype=dtype, requires_grad=True)
        out = additive_attention(block, x, torch.ones(2, 2), torch.ones(2, 2))
        out.sum().backward()
        assert not out.any()
        assert x.grad is not None
        assert not x.grad.any()


def test_what_does_not_fit_is_refused_with_what_was_got(block):
    x, logits, dst_scores, src_scores, factors = (t.float() for t in inputs_for(block))
    with pytest.raises(InputError, match=r"x has shape \(59, 15\)"):
        attention(block, x[1:], logits)
    with pytest.raises(InputError, match=r"x has shape \(60, 14\)"):
        attention(block, x[:, 1:], logits)
    with pytest.raises(InputError, match=r"logits has shape \(2, 3\)"):
        attention(block, x, logits[:2])
    with pytest.raises(InputError, match=r"logits has shape \(2,\)"):
        attention(block, x, torch.ones(2))
    with pytest.raises(InputError, match=r"edge_factors has shape \(2, 3\)"):
        attention(block, x, logits, factors[:2])
    with pytest.raises(InputError, match=r"dst_scores has shape \(59, 3\)"):
        additive_attention(block, x, dst_scores[1:], src_scores)
