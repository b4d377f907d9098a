"""Graphs for hypothesis: isolated nodes, self loops, parallel edges, hubs, nothing at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from sampling import Graph


@dataclass(frozen=True)
class EdgeList:
    """Raw edges and the number of nodes they live on."""

    src: NDArray[Any]
    dst: NDArray[Any]
    num_nodes: int

    def graph(self, **options: Any) -> Graph:
        return Graph.from_edges(self.src, self.dst, num_nodes=self.num_nodes, **options)


@st.composite
def edge_lists(draw: st.DrawFn, max_nodes: int = 40, max_edges: int = 200) -> EdgeList:
    """Any directed multigraph; some have a hub that every edge leads to or from."""
    num_nodes = draw(st.integers(1, max_nodes))
    size = draw(st.integers(0, max_edges))
    seed = draw(st.integers(0, 2**32 - 1))
    shape = draw(st.sampled_from(["uniform", "hub in", "hub out", "self loops", "parallel"]))
    dtype = draw(st.sampled_from([np.int32, np.int64]))
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, num_nodes, size), rng.integers(0, num_nodes, size)
    if shape == "hub in":
        dst[:] = 0
    elif shape == "hub out":
        src[:] = num_nodes - 1
    elif shape == "self loops":
        dst[::2] = src[::2]
    elif shape == "parallel":
        src[size // 2 :], dst[size // 2 :] = src[: size - size // 2], dst[: size - size // 2]
    return EdgeList(src.astype(dtype), dst.astype(dtype), num_nodes)


def arrays(draw_seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Plain normal numbers."""
    return np.random.default_rng(draw_seed).normal(size=shape).astype(np.float32)
