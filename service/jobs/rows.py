"""Rows of a job: layer by layer for the whole graph, neighborhood by neighborhood for some nodes.

Both read all neighbors, so they agree with mode `exact` of the REST answers; which is chosen
depends on the cost alone. Both keep a journal and go on where a killed run stopped, to the same
bytes: pieces begin and end where they would have.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gnn import EmbeddingTable, embed
from gnn.embed import EmbedReport
from gnn.embeddings import MANIFEST
from gnn.errors import ResumeError
from gnn.layerwise import tile_rows_for
from gnn.projection import MAP_ROWS
from gnn.rowfile import Journal, RowFile
from gnn.similar import can_index
from sampling import Graph
from service.cost import exact_costs
from service.jobs.folder import JobFolder, read_ids
from service.jobs.job import JobSpec, Progress
from service.plan import BatchKey
from service.predictor import Predictor
from service.registry import ServedModel

__all__ = ["Rows", "rows_of"]

COUNTED_AT_ONCE = 64
ROWS = "rows"

Reports = Generator[Progress, None, "Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a result is written from.

    Attributes:
        ids: (start, end) → their ids.
        read: (start, end) → (end - start, d) float32.
        table: the table of the whole graph, where one was made.
    """

    ids: Callable[[int, int], pa.Array]
    read: Callable[[int, int], NDArray[np.float32]]
    table: EmbeddingTable | None


def rows_of(spec: JobSpec, folder: JobFolder, predictor: Predictor, model: ServedModel) -> Reports:
    """Compute the rows of a job, or what is left of them.

    Raises:
        GnnError: as `gnn.embed`; or ids that are not in the graph.
    """
    if spec.every_node:
        table = yield from _whole_table(folder, predictor, model, _has_outputs(spec), spec.publish)
        return Rows(_ids_of_graph(predictor), _slices_of(table), table)
    ids = read_ids(folder.nodes)
    nodes = predictor.data.ids.to_dense(ids.to_pylist())
    costs = _costs(predictor, model, nodes)
    if costs is None:
        table = yield from _whole_table(folder, predictor, model, False)
        return Rows(_slices(ids), lambda a, b: table.rows(nodes[a:b]), table)
    array = yield from _listed_rows(folder.rows, predictor, model, nodes, costs)
    return Rows(_slices(ids), lambda a, b: array[a:b].copy(), None)


def _has_outputs(spec: JobSpec) -> bool:
    return spec.publish or spec.include != ("embedding",)


def _whole_table(
    folder: JobFolder,
    predictor: Predictor,
    model: ServedModel,
    predictions: bool,
    is_shown: bool = False,
) -> Generator[Progress, None, EmbeddingTable]:
    """The table of every node; it may be finished, and even published, by an earlier run."""
    if (folder.published / MANIFEST).is_file():
        return EmbeddingTable.open(folder.published, verify=False)
    if not (folder.table / MANIFEST).is_file():
        try:
            yield from _embedded(folder, predictor, model, predictions, is_shown)
        except ResumeError:  # begun under other settings
            shutil.rmtree(folder.table.with_name(f"{folder.table.name}.partial"))
            yield from _embedded(folder, predictor, model, predictions, is_shown)
    return EmbeddingTable.open(folder.table, verify=False)


def _embedded(
    folder: JobFolder,
    predictor: Predictor,
    model: ServedModel,
    predictions: bool,
    is_shown: bool,
) -> Iterator[Progress]:
    """What is shown, that is published, has all that is asked of a table: outputs, index, map."""
    reports = embed(
        model.saved,
        predictor.data,
        folder.table,
        predictions=predictions,
        resume=True,
        tile_rows=predictor.settings.job_tile_rows or None,
        num_threads=predictor.settings.threads,
        index=is_shown and can_index(),
        make_map=is_shown and predictor.data.graph.num_nodes <= MAP_ROWS,
    )
    for report in reports:
        yield _progress_of(report)


def _progress_of(report: EmbedReport) -> Progress:
    left = (report.num_rows - report.rows_done) / max(report.rows_per_s, 1e-9)
    stage = f"{report.stage} {report.layer}/{report.num_layers}"
    return Progress(
        stage=stage,
        rows_done=report.rows_done,
        num_rows=report.num_rows,
        rows_per_s=report.rows_per_s,
        seconds_left=left,
    )


def _listed_rows(
    directory: Path,
    predictor: Predictor,
    model: ServedModel,
    nodes: NDArray[np.int64],
    costs: NDArray[np.int64],
) -> Generator[Progress, None, NDArray[np.float32]]:
    """The rows of some nodes, repeats included, in their order."""
    directory.mkdir(parents=True, exist_ok=True)
    journal = Journal(directory / "journal.jsonl")
    file = RowFile(directory, ROWS, "float32", (len(nodes), model.saved.model.d_embedding))
    first = file.recover(journal.marks(ROWS))
    journal.keep(ROWS, first)
    journal.rewrite()
    key, began = BatchKey(model, "exact", None), time.perf_counter()
    for start, end in _pieces(predictor, model, costs, first):
        distinct, pick = np.unique(nodes[start:end], return_inverse=True)
        file.write(predictor.compute(key, distinct).rows[pick])
        journal.add([file])
        rate = (end - first) / max(time.perf_counter() - began, 1e-9)
        left = (len(nodes) - end) / rate
        yield Progress(
            stage=ROWS, rows_done=end, num_rows=len(nodes), rows_per_s=rate, seconds_left=left
        )
    file.sync()
    return file.map()


def _pieces(
    predictor: Predictor, model: ServedModel, costs: NDArray[np.int64], first: int
) -> Iterator[tuple[int, int]]:
    """(start, end) of pieces that keep to the batch limit and the tile, from row `first` on."""
    settings = predictor.settings
    step = settings.job_tile_rows or tile_rows_for(model.saved.model)
    batch = np.cumsum(costs) // settings.max_batch_cost_edges
    cuts = [0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), len(costs)]
    for begin, stop in pairwise(cuts):
        for start in range(begin, stop, step):
            end = min(start + step, stop)
            if end > first:
                yield max(start, first), end


def _costs(
    predictor: Predictor, model: ServedModel, nodes: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Edges that each node reads; None where it is cheaper, or needed, to embed every node."""
    graph, limit = predictor.data.graph, predictor.settings.max_exact_edges
    distinct, pick = np.unique(nodes, return_inverse=True)
    costs = np.zeros(len(distinct), np.int64)
    left = _edges_of_whole(graph, model)
    for start in range(0, len(distinct), COUNTED_AT_ONCE):
        part = slice(start, start + COUNTED_AT_ONCE)
        costs[part] = exact_costs(graph, distinct[part], model.num_layers, limit)
        left -= int(costs[part].sum())
        if left < 0 or (costs[part] > limit).any():
            return None
    return costs[pick] + 1


def _edges_of_whole(graph: Graph, model: ServedModel) -> int:
    return model.num_layers * (graph.num_edges + graph.num_nodes)


def _ids_of_graph(predictor: Predictor) -> Callable[[int, int], pa.Array]:
    known = predictor.data.ids

    def ids(start: int, end: int) -> pa.Array:
        nodes = np.arange(start, end)
        if known.is_string:
            return pa.array(known.to_ids(nodes), pa.string())
        return pa.array(known.to_ints(nodes))

    return ids


def _slices_of(table: EmbeddingTable) -> Callable[[int, int], NDArray[np.float32]]:
    return lambda start, end: table.rows(np.arange(start, end))


def _slices(ids: pa.ChunkedArray) -> Callable[[int, int], pa.Array]:
    return lambda start, end: ids.slice(start, end - start).combine_chunks()
