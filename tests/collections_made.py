"""Collections for hypothesis: empty graphs, graphs without edges, any set of optional arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from strategies import edge_lists

from sampling import Dataset, GraphCollection


@dataclass(frozen=True)
class Made:
    """A collection and the graphs that it was made of."""

    parts: list[Dataset]
    collection: GraphCollection


@st.composite
def made_collections(draw: st.DrawFn, max_graphs: int = 6, min_graphs: int = 1) -> Made:
    """Any collection of small directed multigraphs."""
    lists = draw(
        st.lists(edge_lists(max_nodes=8, max_edges=20), min_size=min_graphs, max_size=max_graphs)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    has = {name: draw(st.booleans()) for name in ("x", "edge_x", "weight", "position")}
    parts = [one_graph(edges, rng, has) for edges in lists]
    labels = draw(st.sampled_from(["none", "class", "real", "many"]))
    about: dict[str, Any] = {}
    if labels == "class":
        about["labels"] = rng.integers(-1, 3, len(parts))
        about["classes"] = ["a", "b", "c"]
    elif labels != "none":
        shape = (len(parts),) if labels == "real" else (len(parts), 3)
        about["labels"] = rng.normal(size=shape).astype(np.float32)
    if draw(st.booleans()):
        about["splits"] = rng.integers(0, 4, (len(parts), 2)).astype(np.uint8)
    return Made(parts, GraphCollection.from_graphs(parts, **about))


def one_graph(edges: Any, rng: np.random.Generator, has: dict[str, bool]) -> Dataset:
    def rows(name: str, *shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32) if has[name] else None

    size = len(edges.src)
    graph = edges.graph(edge_weight=rows("weight", size), edge_features=rows("edge_x", size, 2))
    n = edges.num_nodes
    return Dataset.in_memory(graph, features=rows("x", n, 3), positions=rows("position", n, 3))
