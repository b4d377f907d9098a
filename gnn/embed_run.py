"""One run of an embedding in its partial directory: stages, tiles, and taking it up again.

A tile is marked in the journal once it is written. After a kill the first unfinished stage goes on
behind its last mark, where the files that it reads hold what was marked; elsewhere all starts over.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gnn.checkpoint import SavedModel
from gnn.embeddings import StorageName
from gnn.errors import ResumeError
from gnn.evaluate import using_threads
from gnn.identity import graph_fingerprint
from gnn.layerwise import Passes, tile_starts
from gnn.outofcore import Buckets, Grid, OutOfCoreLayer
from gnn.rowfile import Journal, RowFile
from gnn.stages import Stage, needed_files, row_files, stages_of
from gnn.storage import Fill, check_fits, empty_rows, encode, sampled_scale
from gnn.tasks import outputs
from sampling import Dataset, FeatureTable
from sampling.graph.arrays import read_json, write_json

__all__ = ["EmbedReport", "EmbedRun", "EmbedSettings"]

PLAN, JOURNAL, BUCKETS = "plan.json", "journal.jsonl", "edges"


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


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """What a resumed run must have in common with the run it goes on with."""

    predictions: bool
    storage: StorageName
    layer_storage: StorageName
    memory: int | None
    tile_rows: int


@dataclass(slots=True)
class EmbedRun:
    """An embedding run in its partial directory."""

    saved: SavedModel
    data: Dataset
    directory: Path
    settings: EmbedSettings
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
        settings: EmbedSettings,
        passes: Passes,
        grid: Grid | None,
        resume: bool,
    ) -> EmbedRun:
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
            info, model = self.saved.info, self.saved.model
            values = outputs(info.task, model.head(h.to(model.device)), info.label_kind)
            targets[1].write(values.cpu().numpy())
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
