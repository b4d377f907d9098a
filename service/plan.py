"""A query on its way to an answer: frozen where it is asked, filled in as rows arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.described import Described, NodeDescription
from service.microbatch import Computed
from service.overlay import EdgeEdits, Overlay
from service.registry import ServedModel

__all__ = [
    "CACHE",
    "COMPUTED",
    "SOURCES",
    "TABLE",
    "BatchKey",
    "Id",
    "Mode",
    "Plan",
    "Query",
    "Work",
]

Id = int | str
Mode = Literal["auto", "table", "exact", "sampled"]

TABLE, CACHE, COMPUTED = 1, 2, 3
SOURCES = ("unknown", "table", "cache", "computed")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked; the fields of the request under the same names."""

    nodes: Sequence[Id]
    model: str = "default"
    version: int | None = None
    mode: Mode = "auto"
    include: Sequence[str] = ("label", "probabilities")
    seed: int = 0
    on_unknown: Literal["error", "report"] = "error"
    new_nodes: Sequence[NodeDescription] = ()
    overlay: EdgeEdits | None = None

    @property
    def is_dear_to_plan(self) -> bool:
        """Whether the plan itself takes longer than an event loop may."""
        return bool(self.new_nodes) or self.overlay is not None


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What nodes must have in common to share a batch."""

    model: ServedModel
    mode: Literal["exact", "sampled"]
    seed: int | None
    described: Described | None = None
    overlay: Overlay | None = None

    @property
    def samples(self) -> bool:
        return self.mode == "sampled"

    @property
    def is_cacheable(self) -> bool:
        """Whether rows depend on the graph as it is stored, and on nothing of one request."""
        return self.described is None and self.overlay is None


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """Nodes left to compute.

    Attributes:
        key: what they have in common.
        nodes: distinct dense nodes, or places in `key.described`, (k,) int64.
        costs: edges that each will read, (k,) int64.
        places: where the rows go in the plan.
        pick: which of the k rows goes to each place.
    """

    key: BatchKey
    nodes: NDArray[np.int64]
    costs: NDArray[np.int64]
    places: NDArray[np.int64]
    pick: NDArray[np.int64]

    def only(self, which: NDArray[np.bool_]) -> Work:
        """The work for some of the k nodes, (k,) bool."""
        wanted, place = which[self.pick], np.cumsum(which) - 1
        return Work(
            self.key,
            self.nodes[which],
            self.costs[which],
            self.places[wanted],
            place[self.pick[wanted]],
        )


@dataclass(slots=True)
class Plan:
    """A query on its way: what is known of every entry of the answer, and what is missing.

    Attributes:
        ids: ids as sent, described nodes last.
        source: code of what answers, (n,) uint8; 0 where the id is unknown.
        samples: whether neighbors are drawn, (n,) bool.
        rows: embeddings, (n, d) float32; None until the first are known.
        outputs: probabilities or values, (n, d_out); None until they are computed.
    """

    query: Query
    model: ServedModel
    ids: list[Id]
    source: NDArray[np.uint8]
    samples: NDArray[np.bool_]
    rows: NDArray[np.float32] | None = None
    outputs: NDArray[np.float32] | None = None
    work: list[Work] = field(default_factory=list)

    def put(self, places: NDArray[np.int64], rows: NDArray[np.float32], source: int) -> None:
        """Set the rows of some entries."""
        if self.rows is None:
            self.rows = np.zeros((len(self.ids), rows.shape[1]), np.float32)
        self.rows[places] = rows
        self.source[places] = source

    def finish(self, work: Work, computed: Computed) -> None:
        """Set what was missing."""
        self.put(work.places, computed.rows[work.pick], COMPUTED)
        if computed.outputs is not None and len(work.places) == len(self.ids):
            self.outputs = computed.outputs[work.pick]
