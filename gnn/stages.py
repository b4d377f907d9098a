"""The passes of an embedding run over all nodes, and the files between them.

A layer reads the rows of the one before; where what travels along the edges is not those rows
themselves, a pass before it writes the messages of all nodes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gnn.embeddings import EMBEDDINGS, PREDICTIONS
from gnn.layerwise import Passes
from gnn.rowfile import RowFile

__all__ = ["Stage", "needed_files", "row_files", "stages_of"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One pass over all nodes: which files it reads and writes, all (num_nodes, …)."""

    kind: str
    layer: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def stages_of(passes: Passes, predictions: bool) -> list[Stage]:
    """All passes, in order."""
    stages, num_layers = [], passes.model.num_layers
    if passes.prepares:
        stages.append(Stage("features", 0, (), ("rows-0",)))
    for i in range(num_layers):
        reads = [f"rows-{i}"]
        if passes.sends(i):
            stages.append(Stage("messages", i, (f"rows-{i}",), (f"messages-{i}",)))
            reads.append(f"messages-{i}")
        writes = [f"rows-{i + 1}"]
        if i == num_layers - 1:
            writes = [EMBEDDINGS, PREDICTIONS] if predictions else [EMBEDDINGS]
        stages.append(Stage("layer", i, tuple(reads), tuple(writes)))
    return stages


def needed_files(stages: list[Stage], first: int) -> set[str]:
    """Files that the stages from `first` on read, and the output."""
    return set(stages[-1].writes).union(*(stage.reads for stage in stages[first:]))


def row_files(
    passes: Passes, directory: Path, storage: str, stages: list[Stage]
) -> dict[str, RowFile]:
    """The files that the passes write, by name; the embeddings in the type `storage`."""
    model, n = passes.model, passes.graph.num_nodes
    kinds = {"rows-0": (passes.input_storage, passes.width(0))}
    for i in range(model.num_layers):
        if i:
            kinds[f"rows-{i}"] = (passes.row_storage(i), passes.width(i))
        if passes.sends(i):
            kinds[f"messages-{i}"] = (passes.row_storage(i), passes.message_width(i))
    kinds[EMBEDDINGS] = (storage, model.d_embedding)
    kinds[PREDICTIONS] = ("float32", model.config.d_out)
    written = [name for stage in stages for name in stage.writes]
    return {name: RowFile(directory, name, kinds[name][0], (n, kinds[name][1])) for name in written}
