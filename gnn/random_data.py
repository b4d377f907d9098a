"""Random graphs that a model can read, made of what its architecture says of its input."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.data import Data
from gnn.model import GNN
from gnn.model_config import ModelConfig
from gnn.renumbering import renumbered_model
from sampling import Dataset, Graph, NodeType
from sampling.graph.collection import GraphCollection

__all__ = ["random_data"]

NUM_NODES, NUM_EDGES = 256, 2048
NUM_GRAPHS, MAX_GRAPH_NODES, MAX_DEGREE = 24, 24, 4
MAX_NUMBERS = 1 << 24
"""Numbers in the rows of all nodes, or of all edges, where rows are that wide."""
MAX_SPAN = 1 << 40


def random_data(model: GNN, seed: int = 0) -> tuple[GNN, Data]:
    """A model, and a graph for it: several graphs, some without edges, where it has a readout.

    Features are standard normal, in the units that the model was trained in where it knows them,
    or codes within their cardinalities; edges have the types, features, weights and times that the
    convolutions read, nodes positions. There are self-loops, parallel edges and lonely nodes.

    Args:
        model: whose input it is.
        seed: all randomness.

    Returns:
        The model, in evaluation mode and for fewer nodes where it has embeddings of single nodes,
        and the graph or the collection of graphs.
    """
    random = np.random.default_rng((seed, 3 << 32))
    own = renumbered_model(model, _some_nodes(model.config, random))
    if own.config.readout == "none":
        return own, _graph(own, random, _ranges(own.config))
    sizes = [1, 2, *random.integers(1, MAX_GRAPH_NODES + 1, NUM_GRAPHS - 2).tolist()]
    kept = np.cumsum(sizes) <= max(2, MAX_NUMBERS // max(1, own.config.d_in))
    graphs = [_graph(own, random, [0, n], MAX_DEGREE * n) for n in np.array(sizes)[kept].tolist()]
    return own, GraphCollection.from_graphs(graphs)


def _some_nodes(config: ModelConfig, random: np.random.Generator) -> NDArray[np.int64]:
    """Few nodes of every type that the model was built for, ascending."""
    most = max(2, NUM_NODES // max(1, len(config.input_types)))
    parts = [
        kind.start + np.sort(random.choice(kind.end - kind.start, size, replace=False))
        for kind in config.input_types
        if (size := min(most, kind.end - kind.start))
    ]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _ranges(config: ModelConfig) -> list[int]:
    """First node of every type and, last, the number of nodes."""
    if config.input_types:
        return [0, *(kind.end for kind in config.input_types)]
    count = config.num_node_types
    num_nodes = max(2 * count, min(NUM_NODES, MAX_NUMBERS // max(1, config.d_in)))
    return [num_nodes * i // count for i in range(count + 1)]


def _graph(
    model: GNN, random: np.random.Generator, ranges: list[int], most_edges: int | None = None
) -> Dataset:
    """A graph with these first nodes of types; of up to `most_edges` edges where that is given."""
    config, num_nodes = model.config, ranges[-1]
    count = max(NUM_EDGES, 2 * config.num_relations)
    if most_edges is not None:
        count = int(random.integers(0, most_edges + 1))
    count = min(count, MAX_NUMBERS // max(1, config.d_edge)) if num_nodes else 0
    names = [kind.name for kind in config.input_types] or [str(i) for i in range(len(ranges) - 1)]
    src, dst = random.integers(0, max(1, num_nodes), (2, count))
    graph = Graph.from_edges(
        src,
        dst,
        num_nodes=num_nodes,
        node_types=tuple(
            NodeType(name, a, b) for name, (a, b) in zip(names, pairwise(ranges), strict=True)
        ),
        edge_types=tuple(str(i) for i in range(config.num_relations)),
        **_of_edges(config, random, count),
    )
    places = random.standard_normal((num_nodes, 3)) if config.d_position else None
    return Dataset.in_memory(
        graph,
        features=_features(model, random, num_nodes),
        positions=None if places is None else places.astype(np.float32),
        name="random",
    )


def _of_edges(config: ModelConfig, random: np.random.Generator, count: int) -> dict[str, Any]:
    """What edges carry for the convolutions of a model."""
    carried: dict[str, Any] = {}
    if config.num_relations > 1:
        carried["edge_type"] = random.integers(0, config.num_relations, count)
    if config.d_edge:
        carried["edge_features"] = _rows(random, count, config.d_edge, config.edge_cardinalities)
    if config.conv == "sage" and config.aggregator == "weighted":
        carried["edge_weight"] = random.uniform(0.5, 1.5, count).astype(np.float32)
    if config.conv == "tgat":
        span = int(min(1000 * config.time_scale, MAX_SPAN))
        carried["edge_time"] = random.integers(0, max(1, span), count)
    return carried


def _features(
    model: GNN, random: np.random.Generator, num_nodes: int
) -> NDArray[np.float32] | None:
    """Input rows without positions; None where the model learns a row for every node."""
    config = model.config
    width = config.d_in - config.d_position
    if not width:
        return None
    rows = _rows(random, num_nodes, width, config.cardinalities)
    if model.columns is not None:
        rows = rows * model.columns.deviation.numpy() + model.columns.mean.numpy()
    return rows


def _rows(
    random: np.random.Generator, count: int, width: int, cardinalities: tuple[int, ...]
) -> NDArray[np.float32]:
    """Standard normal numbers, or codes where there are cardinalities, (count, width)."""
    if cardinalities:
        return random.integers(0, cardinalities, (count, width)).astype(np.float32)
    return random.standard_normal((count, width), np.float32)
