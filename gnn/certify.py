"""A certificate of symmetry: by how much answers change when only names of things change.

Exact answers must not depend on how nodes are numbered (permutation equivariance: f(PX, PAPᵀ) =
P f(X, A)), and those of a model over positions not on where the axes stand (E(3) invariance of
what is predicted; Satorras, Hoogeboom, Welling 2021). Architecture promises both; a certificate
measures them on the trained weights and the graph, as the largest change of any output over the
largest output. What is left is rounding: sums in another order.

Learned embeddings of single nodes move with their nodes (`gnn.renumbering`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from gnn.data import Data
from gnn.evaluate import using_threads
from gnn.graph_evaluate import check_collection
from gnn.identity import graph_fingerprint
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.model import GNN
from gnn.random_data import random_data
from gnn.renumbering import renumbered, renumbered_model, shuffled_within
from sampling import Dataset, NeighborSampler, induced_block
from sampling.errors import InputError
from sampling.graph.collection import GraphCollection

__all__ = ["MAX_CERTIFIED_EDGES", "Certificate", "certify"]

MAX_CERTIFIED_EDGES = 2_000_000
"""Graphs up to this many edges are checked whole, larger ones on a sampled part."""
MAX_DOUBLE_EDGES = 50_000
SAMPLED_SEEDS, SAMPLED_NODES, FANOUT, MAX_HOPS = 4096, 50_000, 5, 2
MAX_GRAPHS, MAX_GRAPH_NODES = 2000, 50_000
TOLERANCE = 1e-4

Answers = Callable[[GNN, Dataset], Tensor]
ErrorName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]


class Certificate(BaseModel):
    """What `certificate.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: int = 1
    model_digest: str = Field(default="", description="digest of the model that was checked")
    graph_fingerprint: str = Field(description="graph that it was checked on")
    num_nodes: int = Field(ge=0, description="nodes that were checked")
    num_edges: int = Field(ge=0, description="edges between them")
    whole_graph: bool = Field(description="False where a part of the graph was sampled")
    random_graph: bool = Field(
        default=False, description="True where no graph was given: random ones were made"
    )
    renumberings: int = Field(ge=1)
    seed: int = Field(ge=0)
    tolerance: float = Field(gt=0)
    errors: dict[ErrorName, float | None] = Field(
        description="largest change by what was changed, relative to the largest output; null "
        "where an output is not finite"
    )

    @property
    def passed(self) -> bool:
        """Whether every error is within the tolerance."""
        known = [e for e in self.errors.values() if e is not None]
        return len(known) == len(self.errors) > 0 and max(known) <= self.tolerance


def certify(
    model: GNN,
    data: Data | None = None,
    *,
    renumberings: int = 3,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    max_edges: int = MAX_CERTIFIED_EDGES,
    num_threads: int | None = None,
) -> Certificate:
    """Measure how much exact answers change under renumbering, and motion where there are places.

    Args:
        model: trained.
        data: a graph, or a collection of graphs, that it fits; random ones (`gnn.random_data`)
            when left out.
        renumberings: random numberings to try.
        tolerance: largest relative error that passes.
        seed: randomness of the numberings, of the part that is checked and of random graphs.
        max_edges: larger graphs are checked on the edges among a sample of nodes.
        num_threads: threads; torch's own setting when left out.

    Raises:
        InputError: `renumberings` or `tolerance` is not positive.
        SchemaMismatchError: the model does not fit the graph.

    Cost: one exact pass over the (part of the) graph per numbering.
    """
    if renumberings < 1 or not (math.isfinite(tolerance) and tolerance > 0):
        raise InputError(f"got {renumberings} renumberings and tolerance {tolerance}; both must "
                         "be positive")  # fmt: skip
    is_random = data is None
    with using_threads(num_threads), torch.no_grad():
        if data is None:
            model, data = random_data(model, seed)
        if isinstance(data, GraphCollection):
            check_collection(model, data)
            case = _some_graphs(data, seed, max_edges)
            own = renumbered_model(model, np.arange(case.data.graph.num_nodes))
        else:
            nodes = _checked_nodes(data, seed, max_edges)
            part, own = renumbered(data, nodes), renumbered_model(model, nodes)
            case = _Case(part, [*(t.start for t in part.graph.node_types), len(nodes)])
        errors = _errors(own, case, renumberings, seed)
    graph = case.data.graph
    return Certificate(
        graph_fingerprint=graph_fingerprint(data),
        num_nodes=graph.num_nodes,
        num_edges=graph.num_edges,
        whole_graph=graph.num_nodes == data.meta.num_nodes,
        random_graph=is_random,
        renumberings=renumberings,
        seed=seed,
        tolerance=tolerance,
        errors=errors,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """What is checked.

    Attributes:
        data: the graph, or all graphs side by side.
        starts: ranges that nodes stay in: those of node types, or of graphs.
        of_graphs: whether outputs are of graphs, not of nodes.
    """

    data: Dataset
    starts: list[int]
    of_graphs: bool = False

    def answers(self, model: GNN, data: Dataset) -> Tensor:
        """Exact outputs of all nodes or graphs; embeddings where outputs are made of pairs."""
        data = with_inputs(data, model.config)
        if self.of_graphs:
            return self._forward(model, data, torch.float32)
        h = infer(model, data)
        return h if model.config.decoder != "none" else model.head(h)

    def in_double(self, model: GNN, data: Dataset) -> Tensor:
        """The same in float64, as one Block."""
        own = renumbered_model(model, np.arange(data.graph.num_nodes)).double()
        return self._forward(own, with_inputs(data, model.config), torch.float64)

    def _forward(self, model: GNN, data: Dataset, dtype: torch.dtype) -> Tensor:
        assert data.features is not None, "with_inputs sees to it"
        offsets = torch.tensor(self.starts) if self.of_graphs else None
        block = replace(data.graph.block(), graph_offsets=offsets)
        rows = data.features.rows(0, data.features.num_rows).to(dtype)
        blocks = [block] * model.num_layers
        return model.encode(blocks, rows) if model.config.decoder != "none" else model(blocks, rows)


def _errors(model: GNN, case: _Case, renumberings: int, seed: int) -> dict[str, float | None]:
    orders = [
        shuffled_within(case.starts, np.random.default_rng((seed, k))) for k in range(renumberings)
    ]
    errors = {"permutation": _permutation_error(model, case, orders, case.answers)}
    if case.data.graph.num_edges <= MAX_DOUBLE_EDGES:
        errors["permutation_float64"] = _permutation_error(model, case, orders[:1], case.in_double)
    if model.config.d_position:
        expected = case.answers(model, case.data)
        for name, moved in _motions(case.data, seed):
            errors[name] = _relative_error(expected, case.answers(model, moved))
    return errors


def _permutation_error(
    model: GNN, case: _Case, orders: list[NDArray[np.int64]], answers: Answers
) -> float | None:
    """The largest relative error over all orders; None where an output is not finite."""
    expected, worst = answers(model, case.data), 0.0
    for order in orders:
        got = answers(renumbered_model(model, order), renumbered(case.data, order))
        error = _relative_error(
            expected if case.of_graphs else expected[torch.from_numpy(order)], got
        )
        if error is None:
            return None
        worst = max(worst, error)
    return worst


def _relative_error(expected: Tensor, got: Tensor) -> float | None:
    if not (torch.isfinite(expected).all() and torch.isfinite(got).all()):
        return None
    if not expected.numel():
        return 0.0
    scale = expected.abs().max().item() or 1.0
    return (expected - got).abs().max().item() / scale


def _motions(data: Dataset, seed: int) -> Iterator[tuple[str, Dataset]]:
    """The data set rotated, reflected and moved, by name."""
    assert data.positions is not None, "with_inputs refused a graph without them"
    random = np.random.default_rng((seed, 1 << 32))
    axes = np.linalg.qr(random.standard_normal((3, 3)))[0]
    turn = axes * np.sign(np.linalg.det(axes))
    places = data.positions.astype(np.float64)
    spread = float(np.abs(places).max(initial=1.0))
    moved = {
        "rotation": places @ turn.T,
        "reflection": places @ -turn.T,
        "translation": places + spread * random.standard_normal(3),
    }
    for name, positions in moved.items():
        yield name, replace(data, positions=positions.astype(np.float32))


def _checked_nodes(data: Dataset, seed: int, max_edges: int) -> NDArray[np.int64]:
    """All nodes, or some that lie near each other with at most `max_edges` between them; sorted."""
    graph = data.graph
    if graph.num_edges <= max_edges:
        return np.arange(graph.num_nodes, dtype=np.int64)
    random = np.random.default_rng((seed, 2 << 32))
    seeds = random.choice(graph.num_nodes, min(SAMPLED_SEEDS, graph.num_nodes), replace=False)
    found = NeighborSampler(graph, [FANOUT] * MAX_HOPS, seed).sample(seeds)[0].src_nodes.numpy()
    nodes = np.sort(found[:SAMPLED_NODES])
    while induced_block(graph, nodes).num_edges > max_edges:
        found = found[: len(nodes) // 2]
        nodes = np.sort(found)
    return nodes


def _some_graphs(data: GraphCollection, seed: int, max_edges: int) -> _Case:
    """All graphs, or the first of a random order that are small enough together; one at least."""
    order = np.random.default_rng((seed, 2 << 32)).permutation(data.num_graphs)[:MAX_GRAPHS]
    indptr = data.nodes.graph.indptr
    starts, ends = data.offsets[order], data.offsets[order + 1]
    are_few = np.cumsum(indptr[ends] - indptr[starts]) <= max_edges
    are_few &= np.cumsum(ends - starts) <= MAX_GRAPH_NODES
    chosen = np.sort(order[: max(1, int(are_few.sum()))])
    ranges = [np.arange(data.offsets[g], data.offsets[g + 1]) for g in chosen]
    nodes = np.concatenate([np.zeros(0, np.int64), *ranges])
    bounds = np.cumsum([0, *(len(r) for r in ranges)]).tolist()
    return _Case(renumbered(data.nodes, nodes), bounds, of_graphs=True)
