"""Embeddings of every node of a graph that may be larger than memory.

Layer outside, tiles inside: each layer reads the rows of the one before from a mapped file and
writes its own, so that nothing of the size of the graph is held in memory and every node is
computed once per layer. Work lies in `OUT.partial` until it is complete; there it can be taken
up again after a kill. Under a bound on memory, layers whose input rows exceed it read those rows in
order instead (`gnn.outofcore`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import torch

from gnn.checkpoint import SavedModel
from gnn.embed_output import Format, publish_run
from gnn.embed_run import EmbedReport, EmbedRun, EmbedSettings
from gnn.embeddings import EMBEDDINGS, INDEX_FILE, MANIFEST, StorageName
from gnn.inputs import with_inputs
from gnn.layerwise import Passes, tile_rows_for
from gnn.outofcore import Grid
from gnn.projection import MAP_ROWS, project
from gnn.rowfile import exclusive
from gnn.similar import build_index
from sampling import Dataset
from sampling.errors import InputError
from sampling.graph.arrays import check_replaceable

__all__ = ["EmbedReport", "embed"]


def embed(
    saved: SavedModel,
    data: Dataset,
    out: str | Path,
    *,
    predictions: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    format: Format = "npy",  # noqa: A002 - the name of the command's option
    storage: StorageName = "float32",
    layer_storage: StorageName | None = None,
    memory: int | None = None,
    tile_rows: int | None = None,
    num_threads: int | None = None,
    index: bool = False,
    make_map: bool = False,
) -> Iterator[EmbedReport]:
    """Embed every node, a tile per report; the work is done as the reports are taken.

    It leaves a directory for `EmbeddingTable`.

    Args:
        saved: the model; layers run where it is.
        data: the graph.
        out: the directory to make.
        predictions: write class probabilities, or values, as well.
        resume: go on with unfinished work in `OUT.partial` where there is some.
        overwrite: replace what is at `out`.
        format: "npy", or "parquet" with node ids for other programs.
        storage: type of rows in the output.
        layer_storage: type of rows between layers; `storage` when left out.
        memory: bytes that rows, sums and edges at work may take, mapped files left out; layers
            whose input rows exceed it run out of core. No bound when left out.
        tile_rows: rows at once; chosen from the widths of the model when left out.
        num_threads: threads; torch's own setting when left out.
        index: build the index of nearest rows beside the table (`gnn.similar`).
        make_map: place the rows in the plane, to be drawn (`gnn.projection`).

    Raises:
        ExistsError: `out` is there and is not to be replaced.
        SchemaMismatchError: the graph's features are not those of the model.
        ResumeError: the unfinished work was started with other settings.
        BusyError: another process is writing `out`.
        InputError: a row does not fit its storage type, or `memory` is too small.

    Cost: one pass over the edges per layer; disk for two layers of rows and one of messages. Out
    of core, 8 more bytes of disk per edge, and a layer reads its rows once per range of
    destinations that `memory` has room for.
    """
    out = Path(out)
    settings = EmbedSettings(
        predictions,
        storage,
        layer_storage or storage,
        memory,
        tile_rows_for(saved.model) if tile_rows is None else tile_rows,
    )
    _check(saved, data, out, overwrite, format, settings)
    data = with_inputs(data, saved.model.config)
    if (index or make_map) and format != "npy":
        what = "an index" if index else "a map"
        raise InputError(f"{what} stands beside an npy table; embed with --format npy")
    if make_map and data.graph.num_nodes > MAP_ROWS:
        raise InputError(f"a map of {data.graph.num_nodes} nodes; it shows {MAP_ROWS} at most")
    passes = Passes.of(saved.model, data, settings.layer_storage)
    grid = None if memory is None else Grid.of(memory, passes.widest, settings.tile_rows)
    directory = out.with_name(f"{out.name}.partial")
    with exclusive(directory):
        run = EmbedRun.start(saved, data, directory, settings, passes, grid, resume)
        yield from run.work(num_threads)
        if index:
            yield from _build_index(run, num_threads)
        else:  # a killed run may have left one, half written
            (directory / INDEX_FILE).unlink(missing_ok=True)
        if make_map:
            yield from _make_map(run)
        publish_run(run, out, format, overwrite)


def _check(
    saved: SavedModel,
    data: Dataset,
    out: Path,
    overwrite: bool,
    kind: str,
    settings: EmbedSettings,
) -> None:
    saved.check(data)
    if kind not in ("npy", "parquet"):
        raise InputError(f"format is {kind!r}; choose npy or parquet")
    for name in ("storage", "layer_storage"):
        known, got = get_args(StorageName), getattr(settings, name)
        if got not in known:
            raise InputError(f"{name} is {got!r}; choose {', '.join(known)}")
    if settings.memory is not None and saved.model.device.type != "cpu":
        raise InputError(f"memory is bounded for layers that run on the CPU, and the model is on "
                         f"{saved.model.device}; embed without memory, or on the CPU")  # fmt: skip
    if settings.tile_rows < 1:
        raise InputError(f"tile_rows is {settings.tile_rows}; it must be at least 1")
    check_replaceable(out, overwrite, MANIFEST)


def _build_index(run: EmbedRun, num_threads: int | None) -> Iterator[EmbedReport]:
    """The index of the finished rows; built anew where a run was killed in it."""
    table, began = run.files[EMBEDDINGS].table(), time.perf_counter()
    (num_rows, dim), layers = run.files[EMBEDDINGS].shape, run.saved.model.num_layers
    path = run.directory / INDEX_FILE
    for done in build_index(
        lambda start, end: table.rows(start, end).numpy(), num_rows, dim, path, num_threads or 0
    ):
        seconds = time.perf_counter() - began
        speed = done / max(seconds, 1e-9)
        yield EmbedReport("index", layers, layers, done, num_rows, seconds, speed, 0.0, False)


def _make_map(run: EmbedRun) -> Iterator[EmbedReport]:
    """Place the finished rows in the plane; quick enough to be done anew after a kill."""
    table, began = run.files[EMBEDDINGS].table(), time.perf_counter()
    num_rows, layers = run.files[EMBEDDINGS].shape[0], run.saved.model.num_layers
    work = project(lambda nodes: table.gather(torch.from_numpy(nodes), 1).numpy(), num_rows)
    while run.map is None:
        try:
            done = next(work)
        except StopIteration as end:
            run.map = end.value
            continue
        seconds = time.perf_counter() - began
        speed = done / max(seconds, 1e-9)
        yield EmbedReport("map", layers, layers, done, num_rows, seconds, speed, 0.0, False)
