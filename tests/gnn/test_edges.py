"""Rows of edges: what the ends bring, sums over edges, pieces; with their derivatives."""

from __future__ import annotations

import pytest
import torch
from conv_checks import edge_index, some_world
from torch import Tensor

from gnn import edges
from gnn.aggregate import aggregate
from gnn.edges import (
    Piece,
    destination_rows,
    edge_dots,
    in_pieces,
    mean_edges,
    picked,
    sum_edges,
    touched,
)
from sampling import Block

HEADS, WIDTH = 2, 3


@pytest.fixture
def block() -> Block:
    return some_world(d_edge=2).graph().block(5, 25)


def random(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_same_in_both_types(run, plain, *inputs: Tensor) -> None:
    """`run` in float32 and float64 gives rows and gradients of `plain` in float64."""

    def results(function, dtype: torch.dtype) -> list[Tensor]:
        leaves = [t.to(dtype).requires_grad_() for t in inputs]
        out = function(*leaves)
        return [out, *torch.autograd.grad(out, leaves, random(9, *out.shape).to(dtype))]

    expected = results(plain, torch.float64)
    for dtype in (torch.float64, torch.float32):
        for got, want in zip(results(run, dtype), expected, strict=True):
            assert got.dtype == dtype
            torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


def test_picked_rows_and_their_gradients_are_those_of_indexing(block):
    x = random(1, block.num_src, WIDTH)
    indices = block.indices
    assert_same_in_both_types(lambda a: picked(a, indices), lambda a: a[indices.long()], x)


def test_destination_rows_are_repeated_for_every_edge(block):
    _, dst = edge_index(block)
    x = random(1, block.num_dst, WIDTH)
    assert_same_in_both_types(lambda a: destination_rows(block, a), lambda a: a[dst], x)


def test_sums_and_means_of_edges_are_those_of_index_add(block):
    _, dst = edge_index(block)
    rows = random(1, block.num_edges, WIDTH)

    def sums(a: Tensor) -> Tensor:
        return a.new_zeros(block.num_dst, WIDTH).index_add(0, dst, a)

    assert_same_in_both_types(lambda a: sum_edges(block, a), sums, rows)
    counts = block.in_degrees().clamp(min=1)[:, None]
    assert_same_in_both_types(lambda a: mean_edges(block, a), lambda a: sums(a) / counts, rows)


@pytest.mark.parametrize("entries", [1, 50, 1 << 18])
def test_dots_of_the_ends_are_those_of_their_rows(monkeypatch, block, entries):
    monkeypatch.setattr(edges, "PIECE_ENTRIES", entries)
    src, dst = edge_index(block)

    def plain(a: Tensor, b: Tensor) -> Tensor:
        return (a[dst] * b[src]).view(-1, HEADS, WIDTH).sum(2)

    ends = random(1, block.num_dst, HEADS * WIDTH), random(2, block.num_src, HEADS * WIDTH)
    assert_same_in_both_types(lambda a, b: edge_dots(block, a, b, HEADS), plain, *ends)


@pytest.mark.parametrize("entries", [1, 50, 1 << 18])
def test_a_map_in_pieces_is_the_map(monkeypatch, block, entries):
    monkeypatch.setattr(edges, "PIECE_ENTRIES", entries)
    src, dst = edge_index(block)
    features = block.edge_features

    def plain(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return ((a[src] + b[dst]).tanh() + features.to(w.dtype) @ w).relu()

    def run(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        def rows(piece: Piece, sent: Tensor, own: Tensor) -> Tensor:
            sums = sent + destination_rows(piece.block, own)
            return (sums.tanh() + piece.block.edge_features.to(w.dtype) @ w).relu()

        return in_pieces(block, WIDTH, rows, a, b, [w], per_edge=True)

    inputs = random(1, block.num_src, WIDTH), random(2, block.num_dst, WIDTH), random(3, 2, WIDTH)
    assert_same_in_both_types(run, plain, *inputs)


def test_dropout_in_a_piece_drops_the_same_in_the_backward_pass(monkeypatch, block):
    monkeypatch.setattr(edges, "PIECE_ENTRIES", 20)
    x = torch.ones(block.num_src, WIDTH, requires_grad=True)
    torch.manual_seed(0)
    out = in_pieces(
        block, WIDTH, lambda piece, sent, own: torch.nn.functional.dropout(sent), x,
        torch.ones(block.num_dst, 1), per_edge=True,
    )  # fmt: skip
    before = torch.get_rng_state()
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(torch.get_rng_state(), before)
    src, _ = edge_index(block)
    torch.testing.assert_close(grad, torch.zeros_like(x).index_add(0, src, out.detach()))


def test_one_thread_and_four_give_the_same_bits():
    block = some_world(num_nodes=500, num_edges=50_000).block()

    def results(num_threads: int) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        ends = [random(i, 500, 8).float().requires_grad_() for i in range(2)]
        out = edge_dots(block, *ends, 2).sum(dim=1, keepdim=True)
        out = sum_edges(block, out * picked(ends[1], block.indices))
        out = out + in_pieces(
            block, 8, lambda piece, sent, own: sum_edges(piece.block, sent.tanh()), ends[1], ends[0]
        )
        grads = torch.autograd.grad(out.square().sum(), ends)
        torch.set_num_threads(before)
        return [out, *grads]

    for one, four in zip(results(1), results(4), strict=True):
        assert torch.equal(one, four)


def test_a_tile_of_a_large_graph_keeps_the_sources_it_touches():
    tile = some_world(num_nodes=300).graph().block(10, 20)
    x = random(1, 300, WIDTH)
    hop, rows = touched(tile, x)
    src, _ = edge_index(tile)
    assert hop.num_src == len(rows) == len(src.unique()) < 300
    assert torch.equal(hop.src_nodes, src.unique())
    assert torch.equal(aggregate(hop, rows, "sum"), aggregate(tile, x, "sum"))
    whole = some_world().block()
    assert touched(whole, x)[0] is whole
