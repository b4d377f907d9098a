"""What every convolution is held to: symmetries, tiles, samples, derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from strategies import EdgeList
from torch import Tensor, nn

from sampling import Block, FullNeighborSampler, Graph
from sampling.graph.csc import NodeType

Naive = Callable[[Any, Block, Tensor], Tensor]


@dataclass(frozen=True)
class World:
    """Edges with all that a graph can know of them, and where node types start."""

    src: NDArray[Any]
    dst: NDArray[Any]
    starts: tuple[int, ...]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    num_relations: int = 1

    @property
    def num_nodes(self) -> int:
        return self.starts[-1]

    def graph(self) -> Graph:
        ranges = zip(self.starts[:-1], self.starts[1:], strict=True)
        types = tuple(NodeType(str(i), a, b) for i, (a, b) in enumerate(ranges))
        names = tuple(f"{i:03}" for i in range(self.num_relations))
        return Graph.from_edges(
            self.src, self.dst, num_nodes=self.num_nodes, node_types=types,
            edge_types=names if self.num_relations > 1 else None, **self.arrays,
        )  # fmt: skip

    def block(self) -> Block:
        return self.graph().block()

    def renumbered(self, seed: int) -> tuple[World, NDArray[Any]]:
        """The same world in another order, and the new place of every node."""
        rng = np.random.default_rng(seed)
        ranges = zip(self.starts[:-1], self.starts[1:], strict=True)
        place = np.concatenate([a + rng.permutation(b - a) for a, b in ranges])
        order = rng.permutation(len(self.src))
        arrays = {name: array[order] for name, array in self.arrays.items()}
        other = replace(self, src=place[self.src[order]], dst=place[self.dst[order]], arrays=arrays)
        return other, place


def world_of(
    edges: EdgeList,
    *,
    d_edge: int = 0,
    num_relations: int = 1,
    num_types: int = 1,
    times: bool = False,
    weights: bool = False,
    seed: int = 0,
) -> World:
    """The edges with random features, relations, times, weights and node types."""
    rng = np.random.default_rng(seed)
    size, n = len(edges.src), edges.num_nodes
    arrays: dict[str, NDArray[Any]] = {}
    if d_edge:
        arrays["edge_features"] = rng.normal(size=(size, d_edge)).astype(np.float32)
    if num_relations > 1:
        arrays["edge_type"] = rng.integers(0, num_relations, size)
    if times:
        arrays["edge_time"] = rng.integers(0, 50, size)
    if weights:
        arrays["edge_weight"] = rng.choice([-0.5, 0.0, 0.3, 1.0, 20.0], size).astype(np.float32)
    starts = (0, *sorted(rng.integers(0, n + 1, num_types - 1).tolist()), n)
    return World(edges.src, edges.dst, starts, arrays, num_relations)


def some_world(num_nodes: int = 30, num_edges: int = 150, seed: int = 0, **options: Any) -> World:
    """A random world with self edges and parallel edges; the last two nodes have none."""
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, num_nodes - 2, (2, num_edges))
    dst[:3], src[3:6], dst[3:6] = src[:3], src[6:9], dst[6:9]
    return world_of(EdgeList(src, dst, num_nodes), seed=seed, **options)


def without_self_edges(world: World) -> World:
    keep = world.src != world.dst
    arrays = {name: array[keep] for name, array in world.arrays.items()}
    return replace(world, src=world.src[keep], dst=world.dst[keep], arrays=arrays)


def symmetric_block() -> Block:
    """Edges that run both ways, none of them twice or from a node to itself; 30 nodes."""
    src, dst = edge_index(without_self_edges(some_world()).block())
    pairs = torch.unique(torch.stack([torch.cat([src, dst]), torch.cat([dst, src])]), dim=1)
    return Graph.from_edges(pairs[0], pairs[1], num_nodes=30).block()


def rows_for(num_rows: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_rows, width, generator=generator, dtype=torch.float64).to(dtype)


def randomized(conv: nn.Module, seed: int = 0) -> Any:
    """The convolution with no parameter left at 0 or 1, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return conv.eval()


def assert_invariant(conv: nn.Module, world: World, width: int) -> None:
    """Renumbering, tiles and full fanouts change no row, in float32 and float64.

    Rounding of a sum in another order grows with its terms, so hubs are given more room.
    """
    room = max(1.0, float(np.bincount(world.dst, minlength=1).max()) / 10)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        conv, x = conv.to(dtype), rows_for(world.num_nodes, width, dtype)
        with torch.no_grad():
            whole = conv(world.block(), x)
            assert whole.shape == (world.num_nodes, conv.d_out)
            assert whole.dtype == dtype
            assert torch.isfinite(whole).all()
            for other in (renumbered, tiled, sampled):
                torch.testing.assert_close(
                    other(conv, world, x), whole, rtol=tolerance, atol=tolerance * room
                )
    assert_half_messages(conv.float(), world, width)


def assert_half_messages(conv: nn.Module, world: World, width: int) -> None:
    """Messages that were stored in half precision give what their values give."""
    graph, block, x = world.graph(), world.block(), rows_for(world.num_nodes, width, torch.float32)
    with torch.no_grad():
        stored = conv.messages(x, graph.view()).half()
        torch.testing.assert_close(
            conv.combine(block, x, stored), conv.combine(block, x, stored.float())
        )


def renumbered(conv: nn.Module, world: World, x: Tensor) -> Tensor:
    other, place = world.renumbered(3)
    moved = torch.empty_like(x)
    moved[place] = x
    return conv(other.block(), moved)[place]


def tiled(conv: nn.Module, world: World, x: Tensor) -> Tensor:
    """In tiles of rows, with the messages of all nodes made once."""
    graph, n = world.graph(), world.num_nodes
    messages, parts = conv.messages(x, graph.view()), []
    for start, end in ((0, n // 3), (n // 3, n // 3 + 1), (n // 3 + 1, n)):
        block = graph.block(start, min(end, n))
        parts.append(conv.combine(block, block.dst_rows(x), messages))
    return torch.cat(parts)


def sampled(conv: nn.Module, world: World, x: Tensor) -> Tensor:
    """From blocks of all neighbors, with the seeds in another order."""
    seeds = torch.from_numpy(np.random.default_rng(0).permutation(world.num_nodes))
    (block,) = FullNeighborSampler(world.graph(), 1).sample(seeds)
    out = torch.empty(world.num_nodes, conv.d_out, dtype=x.dtype)
    out[seeds] = conv(block, x[block.src_nodes])
    return out


def assert_equals_naive(conv: nn.Module, naive: Naive, world: World, width: int) -> None:
    """Rows and all gradients are those of a loop over rows in float64, of the kernels too."""
    block, x = world.block(), rows_for(world.num_nodes, width)
    upstream = rows_for(world.num_nodes, conv.d_out) + 0.5

    def results(run: Callable[[Tensor], Tensor], dtype: torch.dtype) -> list[Tensor]:
        rows = x.detach().to(dtype).requires_grad_()
        inputs = [rows, *(p for p in conv.parameters() if p.requires_grad)]
        out = run(rows)
        grads = torch.autograd.grad(out, inputs, upstream.to(dtype), allow_unused=True)
        return [out, *(torch.zeros(()) if g is None else g for g in grads)]

    conv.double()
    expected = results(lambda rows: naive(conv, block, rows), torch.float64)
    for got, want in zip(
        results(lambda rows: conv(block, rows), torch.float64), expected, strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)
    conv.float()
    for got, want in zip(
        results(lambda rows: conv(block, rows), torch.float32), expected, strict=True
    ):
        scale = max(1.0, want.abs().max().item())
        torch.testing.assert_close(
            got.double() / scale, want.double() / scale, rtol=1e-4, atol=2e-5
        )


def assert_derivative(conv: nn.Module, world: World, width: int) -> None:
    """Finite differences agree with the gradient of the input rows."""
    conv, block = conv.double(), world.block()
    x = rows_for(world.num_nodes, width).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: conv(block, rows), (x,))
    conv.float()


def edges_of(block: Block) -> Iterator[tuple[int, int, int]]:
    """(edge, source, destination) of every edge, as plain numbers."""
    indices = block.indices.tolist()
    for v in range(block.num_dst):
        for e in range(int(block.indptr[v]), int(block.indptr[v + 1])):
            yield e, indices[e], v


def in_edges(block: Block, v: int) -> list[tuple[int, int]]:
    """(edge, source) of every edge into v."""
    return [(e, u) for e, u, w in edges_of(block) if w == v]


def edge_index(block: Block) -> Tensor:
    """(2, num_edges) sources and destinations, as PyG takes them."""
    dst = torch.repeat_interleave(torch.arange(block.num_dst), block.in_degrees())
    return torch.stack([block.indices.long(), dst])
