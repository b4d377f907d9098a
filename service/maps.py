"""The map of a model's nodes: where each is in the plane, and what the model says it is.

Places come from the embedding table, which has them where it was made with a map; a small table is
given one on demand. Colors are codes: classes in their order, or values in 256 steps. What is sent
is a draw of at most so many nodes, one at random of every stretch, in the order of the graph.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gnn import EmbeddingTable
from gnn.projection import evenly, project
from gnn.tasks import WITHOUT_OUTPUTS
from service.errors import NoMapError, NoTableError
from service.registry import ServedModel
from service.side import SideWork

__all__ = ["MOST_POINTS", "Maps", "NodeMap"]

ON_DEMAND_ROWS = 200_000
"""Rows of a table that is given a map while somebody waits, at most."""
MOST_POINTS = 1 << 20
"""Nodes on a map that is sent."""
STEPS, KEPT, ROWS_AT_ONCE = 256, 2, 1 << 16

Kind = Literal["class", "value", "none"]


@dataclass(frozen=True, slots=True)
class NodeMap:
    """The map of one table.

    Attributes:
        spots: (num_nodes, 2) float32, within −1 and 1.
        codes: (num_nodes,) uint16: class, or step between `low` and `high`; 0 without outputs.
        kind: what codes are.
        low: least value predicted; 0 but for values.
        high: largest value predicted.
        stored: whether the table brought the places along.
        points: dense nodes that are sent, (n,) int64, rising.
    """

    spots: NDArray[np.float32]
    codes: NDArray[np.uint16]
    kind: Kind
    low: float
    high: float
    stored: bool
    points: NDArray[np.int64]

    def place_of(self, node: int) -> int | None:
        """Which point a dense node is, if it is one."""
        place = int(np.searchsorted(self.points, node))
        return place if place < len(self.points) and self.points[place] == node else None

    def to_bytes(self) -> bytes:
        """(n, 2) float32, then (n,) uint16, little-endian."""
        spots = np.ascontiguousarray(self.spots[self.points], "<f4")
        codes = np.ascontiguousarray(self.codes[self.points], "<u2")
        return spots.tobytes() + codes.tobytes()


class Maps:
    """Makes maps, each once, and keeps the last ones.

    Args:
        side: where they are made.
    """

    def __init__(self, side: SideWork) -> None:
        self.side = side
        self._tasks: OrderedDict[tuple[str, str], asyncio.Task[NodeMap]] = OrderedDict()

    async def get(self, model: ServedModel) -> NodeMap:
        """The map of a model's fresh table.

        Raises:
            NoTableError: there is none.
            NoMapError: it has no map and too many rows.
            OverloadedError: too much waits to be done beside predictions.
        """
        table = model.table
        if table is None:
            raise NoTableError(model.name, model.version)
        if table.map is None and len(table.embeddings) > ON_DEMAND_ROWS:
            raise NoMapError(len(table.embeddings), ON_DEMAND_ROWS)
        key = (str(table.path), table.meta.digest)
        task = self._tasks.get(key)
        if task is None or (task.done() and task.exception() is not None):
            work = self.side.run(_map_of, model, table)
            task = self._tasks[key] = asyncio.create_task(work)
        self._tasks.move_to_end(key)
        while len(self._tasks) > KEPT:
            self._tasks.popitem(last=False)
        return await asyncio.shield(task)


def _map_of(model: ServedModel, table: EmbeddingTable) -> NodeMap:
    spots = np.zeros((0, 2), np.float32) if table.map is None else table.map
    if table.map is None:
        work = project(table.rows, len(table.embeddings))
        try:
            while True:
                next(work)
        except StopIteration as end:
            spots = end.value
    kind, codes, low, high = _codes(model, table)
    points = evenly(len(spots), MOST_POINTS)
    return NodeMap(spots, codes, kind, low, high, table.map is not None, points)


def _codes(
    model: ServedModel, table: EmbeddingTable
) -> tuple[Kind, NDArray[np.uint16], float, float]:
    num_rows = len(table.embeddings)
    if model.saved.info.task in WITHOUT_OUTPUTS:
        return "none", np.zeros(num_rows, np.uint16), 0.0, 0.0
    is_class = model.classes is not None
    found = np.empty(num_rows, np.float32)
    for start in range(0, num_rows, ROWS_AT_ONCE):
        nodes = np.arange(start, min(start + ROWS_AT_ONCE, num_rows))
        out = _outputs(model, table, nodes)
        found[nodes] = out.argmax(axis=1) if is_class else out[:, 0]
    if is_class:
        return "class", found.astype(np.uint16), 0.0, 0.0
    low, high = (float(found.min()), float(found.max())) if num_rows else (0.0, 0.0)
    steps = (found - low) / max(high - low, 1e-30) * (STEPS - 1)
    return "value", steps.astype(np.uint16), low, high


def _outputs(
    model: ServedModel, table: EmbeddingTable, nodes: NDArray[np.int64]
) -> NDArray[np.float32]:
    if table.predictions is not None:
        return np.asarray(table.predictions[nodes[0] : nodes[-1] + 1], np.float32)
    return model.outputs(table.rows(nodes))
