"""The passes of an embedding run over all nodes, and the files between them.

A layer reads the rows of the one before; where what travels along the edges is not those rows
themselves, a pass before it writes the messages of all nodes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gnn.checkpoint import SavedModel
from gnn.embeddings import EMBEDDINGS, PREDICTIONS
from gnn.rowfile import RowFile
from sampling import Dataset

__all__ = ["Stage", "needed_files", "row_files", "stages_of"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One pass over all nodes: which files it reads and writes, all (num_nodes, …)."""

    kind: str
    layer: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def stages_of(saved: SavedModel, data: Dataset, predictions: bool) -> list[Stage]:
    """All passes, in order."""
    model, stages = saved.model, []
    assert data.features is not None, "checked before the run"
    if data.features.tensor() is None:
        stages.append(Stage("features", 0, (), ("rows-0",)))
    for i in range(model.num_layers):
        reads = [f"rows-{i}"]
        if not model.sends_input(i):
            stages.append(Stage("messages", i, (f"rows-{i}",), (f"messages-{i}",)))
            reads.append(f"messages-{i}")
        writes = [f"rows-{i + 1}"]
        if i == model.num_layers - 1:
            writes = [EMBEDDINGS, PREDICTIONS] if predictions else [EMBEDDINGS]
        stages.append(Stage("layer", i, tuple(reads), tuple(writes)))
    return stages


def needed_files(stages: list[Stage], first: int) -> set[str]:
    """Files that the stages from `first` on read, and the output."""
    return set(stages[-1].writes).union(*(stage.reads for stage in stages[first:]))


def row_files(
    saved: SavedModel, data: Dataset, directory: Path, storage: str, stages: list[Stage]
) -> dict[str, RowFile]:
    """The files that the passes write, by name."""
    model, n = saved.model, data.graph.num_nodes
    widths = model.config.widths
    sizes = {f"rows-{i}": widths[i] for i in range(model.num_layers)}
    sizes |= {f"messages-{i}": _message_width(saved, i) for i in range(model.num_layers)}
    sizes |= {EMBEDDINGS: model.config.d_embedding, PREDICTIONS: model.config.d_out}
    written = [name for stage in stages for name in stage.writes]
    return {
        name: RowFile(
            directory,
            name,
            np.dtype(np.float32 if name == PREDICTIONS else storage),
            (n, sizes[name]),
        )
        for name in written
    }


def _message_width(saved: SavedModel, i: int) -> int:
    with torch.inference_mode():
        one = torch.zeros(1, saved.model.config.widths[i])
        return int(saved.model.messages(i, one, torch.zeros(1, dtype=torch.int64)).shape[1])
