"""Embeddings of every node of a graph that may be larger than memory.

Layer outside, tiles inside: each layer reads the rows of the one before from a mapped file and
writes its own, so that nothing of the size of the graph is held in memory and every node is
computed once per layer. Work lies in `OUT.partial` until it is complete; there it can be taken
up again after a kill. Under a bound on memory, layers whose input rows exceed it read those rows in
order instead (`gnn.outofcore`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from gnn.checkpoint import SavedModel
from gnn.embeddings import (
    EMBEDDINGS,
    INDEX_FILE,
    MANIFEST,
    MAP,
    PREDICTIONS,
    SCALE,
    EmbeddingMeta,
    IndexInfo,
    StorageName,
    file_checksum,
)
from gnn.errors import ResumeError
from gnn.evaluate import using_threads
from gnn.export import write_parquet_parts
from gnn.identity import graph_fingerprint
from gnn.inputs import with_inputs
from gnn.layerwise import Passes, tile_rows_for, tile_starts
from gnn.outofcore import Buckets, Grid, OutOfCoreLayer
from gnn.projection import MAP_ROWS, project
from gnn.rowfile import Journal, RowFile, exclusive
from gnn.similar import build_index
from gnn.stages import Stage, needed_files, row_files, stages_of
from gnn.storage import Fill, check_fits, empty_rows, encode, sampled_scale
from gnn.tasks import outputs
from sampling import Dataset, FeatureTable
from sampling.errors import InputError
from sampling.graph.arrays import check_replaceable, publish, read_json, write_array, write_json
from sampling.graph.meta import ArrayInfo

__all__ = ["EmbedReport", "embed"]

PLAN, JOURNAL, BUCKETS = "plan.json", "journal.jsonl", "edges"

Format = Literal["npy", "parquet"]


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """How far an embedding run is.

    Attributes:
        stage: "features", "messages", "layer", "index" or "map".
        layer: layer at work, from 1.
        num_layers: how many there are.
        rows_done: rows of this stage that are written.
        num_rows: rows of each stage.
        seconds: time since the run began.
        rows_per_s: rows of this stage per second, those of an earlier run left out.
        max_error: largest error of rounding a row of this stage to its storage type.
        out_of_core: whether input rows are streamed from disk in this stage.
    """

    stage: str
    layer: int
    num_layers: int
    rows_done: int
    num_rows: int
    seconds: float
    rows_per_s: float
    max_error: float
    out_of_core: bool


def embed(
    saved: SavedModel,
    data: Dataset,
    out: str | Path,
    *,
    predictions: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    format: Format = "npy",  # noqa: A002
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
        saved: the model.
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
    settings = _Settings(
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
        run = _Run.start(saved, data, directory, settings, passes, grid, resume)
        yield from run.work(num_threads)
        if index:
            yield from _build_index(run, num_threads)
        else:  # a killed run may have left one, half written
            (directory / INDEX_FILE).unlink(missing_ok=True)
        if make_map:
            yield from _make_map(run)
        _publish(run, out, format, overwrite)


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a resumed run must have in common with the run it goes on with."""

    predictions: bool
    storage: StorageName
    layer_storage: StorageName
    memory: int | None
    tile_rows: int


@dataclass(slots=True)
class _Run:
    """An embedding run in its partial directory."""

    saved: SavedModel
    data: Dataset
    directory: Path
    settings: _Settings
    passes: Passes
    grid: Grid | None
    stages: list[Stage]
    files: dict[str, RowFile]
    journal: Journal
    first_stage: int = 0
    buckets: Buckets | None = None
    map: NDArray[np.float32] | None = None

    @classmethod
    def start(
        cls,
        saved: SavedModel,
        data: Dataset,
        directory: Path,
        settings: _Settings,
        passes: Passes,
        grid: Grid | None,
        resume: bool,
    ) -> _Run:
        plan = {
            "model_digest": saved.info.digest,
            "graph_fingerprint": graph_fingerprint(data),
            **asdict(settings),
        }
        _open_plan(directory, plan, resume)
        stages = stages_of(passes, settings.predictions)
        files = row_files(passes, directory, settings.storage, stages)
        journal = Journal(directory / JOURNAL)
        run = cls(saved, data, directory, settings, passes, grid, stages, files, journal)
        run._recover()
        return run

    @property
    def tile_rows(self) -> int:
        return self.grid.tile_rows if self.grid else self.settings.tile_rows

    def work(self, num_threads: int | None) -> Iterator[EmbedReport]:
        """Run what is left of every stage."""
        began = time.perf_counter()
        for number in range(self.first_stage, len(self.stages)):
            yield from self._run_stage(self.stages[number], num_threads, began)
            self._remove_unneeded(number + 1)

    def _run_stage(
        self, stage: Stage, num_threads: int | None, began: float
    ) -> Iterator[EmbedReport]:
        targets = [self.files[name] for name in stage.writes]
        num_rows, first = self.data.graph.num_nodes, targets[0].rows_done
        stage_began = time.perf_counter()
        with torch.inference_mode(), using_threads(num_threads):
            fill, streams = self._prepare(stage, targets[0])
        for start, end in tile_starts(num_rows, self.tile_rows, first):
            with torch.inference_mode(), using_threads(num_threads):
                self._write_tile(fill, targets, start, end)
            self.journal.add(targets)
            now = time.perf_counter()
            yield EmbedReport(
                stage=stage.kind,
                layer=stage.layer + 1,
                num_layers=self.saved.model.num_layers,
                rows_done=end,
                num_rows=num_rows,
                seconds=now - began,
                rows_per_s=(end - first) / max(now - stage_began, 1e-9),
                max_error=targets[0].max_error,
                out_of_core=streams,
            )
        if stage is self.stages[-1]:
            for target in targets:
                target.sync()

    def _prepare(self, stage: Stage, target: RowFile) -> tuple[Fill, bool]:
        """What fills the tiles of a stage, and whether it runs out of core."""
        passes, i = self.passes, stage.layer
        num_rows, width = target.shape
        if stage.kind == "features":
            return partial(passes.prepare, passes.features), False
        x, messages = self._rows(stage.reads[0]), self._rows(stage.reads[-1])
        if stage.kind == "messages":
            fill: Fill = partial(passes.messages, i, x)
            sample, streams = fill, False
        elif self.grid is None or messages.array.nbytes <= (self.settings.memory or 0):
            fill = partial(passes.rows, i, x, messages)
            sample, streams = fill, False
        else:
            layer = OutOfCoreLayer(passes, i, x, messages, self._edges(self.grid))
            fill, sample, streams = layer.rows, layer.sample(num_rows), True
        if target.storage == "int8" and target.scale is None:
            target.set_scale(sampled_scale(sample, num_rows, width))
        return fill, streams

    def _edges(self, grid: Grid) -> Buckets:
        """Edges by range and block; made anew by every run, since they are never marked."""
        if self.buckets is None:
            self.buckets = Buckets(self.directory / BUCKETS, self.data.graph, grid)
        return self.buckets

    def _write_tile(self, fill: Fill, targets: list[RowFile], start: int, end: int) -> None:
        """Compute the rows `start … end` and append them to their files."""
        target, width = targets[0], targets[0].shape[1]
        out = empty_rows(end - start, width, target.storage, target.scale)
        if len(targets) == 1:
            outcome = fill(start, out)
        else:
            exact = empty_rows(end - start, width, "float32")
            check_fits(target.name, "float32", fill(start, exact))
            h = torch.from_numpy(exact.array)
            outcome = encode(h, start, out)
            info = self.saved.info
            values = outputs(info.task, self.saved.model.head(h), info.label_kind)
            targets[1].write(values.numpy())
        target.write(out.array, check_fits(target.name, target.storage, outcome))

    def _rows(self, name: str) -> FeatureTable:
        """The rows of a finished file, or of the graph's own features."""
        return self.files[name].table() if name in self.files else self.passes.features

    def _recover(self) -> None:
        """Find the stage to go on with; start over where what it needs is not as written."""
        num_rows = self.data.graph.num_nodes
        done = [all(self._is_marked(name, num_rows) for name in s.writes) for s in self.stages]
        first = done.index(False) if False in done else len(self.stages)
        needed = needed_files(self.stages, first)
        for name in sorted(needed & self.files.keys()):
            if any(name in stage.writes for stage in self.stages[:first]):
                marks = self.journal.marks(name)
                if self.files[name].recover(marks) != num_rows:
                    return self._start_over()
        if first < len(self.stages):
            self._recover_stage(self.stages[first])
        self.first_stage = first
        self.journal.rewrite()
        return None

    def _recover_stage(self, stage: Stage) -> None:
        """Bring all files of an unfinished stage to the last row that all of them have."""
        files = [self.files[name] for name in stage.writes]
        rows = min(file.recover(self.journal.marks(file.name)) for file in files)
        for file in files:
            self.journal.keep(file.name, rows)
            file.rewind(rows, self.journal.marks(file.name))

    def _start_over(self) -> None:
        for name in self.files:
            self.journal.keep(name, 0)
        self._recover_stage(self.stages[0])
        self.first_stage = 0
        self.journal.rewrite()

    def _is_marked(self, name: str, num_rows: int) -> bool:
        marks = self.journal.marks(name)
        return bool(marks) and marks[-1][0] == num_rows

    def _remove_unneeded(self, next_stage: int) -> None:
        needed = needed_files(self.stages, next_stage)
        for name, file in self.files.items():
            written = any(name in stage.writes for stage in self.stages[:next_stage])
            if written and name not in needed:
                file.remove()
        if next_stage < len(self.stages):
            for name in self.stages[next_stage].writes:
                self.files[name].create()


def _check(
    saved: SavedModel,
    data: Dataset,
    out: Path,
    overwrite: bool,
    format: str,  # noqa: A002
    settings: _Settings,
) -> None:
    saved.check(data)
    if format not in ("npy", "parquet"):
        raise InputError(f"format is {format!r}; choose npy or parquet")
    for name in ("storage", "layer_storage"):
        known, got = get_args(StorageName), getattr(settings, name)
        if got not in known:
            raise InputError(f"{name} is {got!r}; choose {', '.join(known)}")
    if settings.tile_rows < 1:
        raise InputError(f"tile_rows is {settings.tile_rows}; it must be at least 1")
    check_replaceable(out, overwrite, MANIFEST)


def _open_plan(directory: Path, plan: dict[str, object], resume: bool) -> None:
    """Make sure that what lies in `directory` belongs to this plan; empty it otherwise."""
    path = directory / PLAN
    if resume and path.exists():
        found = read_json(path)
        differs = sorted(key for key in plan if found.get(key) != plan[key])
        if differs:
            raise ResumeError(directory, differs)
        return
    for child in directory.iterdir():
        child.unlink() if child.is_file() or child.is_symlink() else shutil.rmtree(child)
    write_json(path, json.loads(json.dumps(plan)))


def _publish(run: _Run, out: Path, format: Format, overwrite: bool) -> None:  # noqa: A002
    files = {name: run.files[name] for name in run.stages[-1].writes}
    with publish(out, overwrite=overwrite, marker=MANIFEST) as temporary:
        if format == "npy":
            for file in files.values():
                _link(file.path, temporary / file.path.name)
            arrays = {name: file.info() for name, file in files.items()}
            if (scale := run.files[EMBEDDINGS].scale) is not None:
                arrays[SCALE] = write_array(temporary / f"{SCALE}.npy", scale)
            if run.map is not None:
                arrays[MAP] = write_array(temporary / f"{MAP}.npy", run.map)
            meta = _describe(run, format, arrays, {}, _index_info(run, temporary))
        else:
            columns = {name.removesuffix("s"): file.table() for name, file in files.items()}
            parts = write_parquet_parts(temporary, run.data.ids, columns)
            meta = _describe(run, format, {}, parts)
        write_json(temporary / MANIFEST, meta.model_dump(mode="json"))
    shutil.rmtree(run.directory)


def _build_index(run: _Run, num_threads: int | None) -> Iterator[EmbedReport]:
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


def _make_map(run: _Run) -> Iterator[EmbedReport]:
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


def _index_info(run: _Run, temporary: Path) -> IndexInfo | None:
    """Bring a finished index to its place; what the manifest says of it, or None."""
    source = run.directory / INDEX_FILE
    if not source.exists():
        return None
    _link(source, temporary / INDEX_FILE)
    target = temporary / INDEX_FILE
    return IndexInfo(size_bytes=target.stat().st_size, xxh3=file_checksum(target))


def _link(source: Path, target: Path) -> None:
    """A second name for a finished file; the only one where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        source.rename(target)


def _describe(
    run: _Run,
    format: Format,  # noqa: A002
    arrays: dict[str, ArrayInfo],
    parts: dict[str, str],
    index: IndexInfo | None = None,
) -> EmbeddingMeta:
    info, meta = run.saved.info, run.data.meta
    return EmbeddingMeta(
        format=format,
        model_name=info.name,
        model_version=info.version,
        model_digest=info.digest,
        task=info.task,
        classes=info.classes,
        graph_name=meta.name,
        graph_version=meta.version,
        graph_fingerprint=graph_fingerprint(run.data),
        num_nodes=run.data.graph.num_nodes,
        dim=run.saved.model.d_embedding,
        num_outputs=info.config.d_out if PREDICTIONS in run.stages[-1].writes else 0,
        storage=run.settings.storage,
        layer_storage=run.settings.layer_storage,
        max_error=run.files[EMBEDDINGS].max_error,
        arrays=arrays,
        parts=parts,
        index=index,
    ).sealed()
