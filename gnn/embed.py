"""Embeddings of every node of a graph that may be larger than memory.

Layer outside, tiles inside: each layer reads the rows of the one before from a mapped file and
writes its own, so that nothing of the size of the graph is held in memory and every node is
computed once per layer. Work lies in `OUT.partial` until it is complete; there it can be taken
up again after a kill.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gnn.checkpoint import SavedModel
from gnn.embeddings import MANIFEST, PREDICTIONS, EmbeddingMeta
from gnn.errors import ResumeError
from gnn.evaluate import using_threads
from gnn.export import write_parquet_parts
from gnn.identity import graph_fingerprint
from gnn.layerwise import layer_rows, message_rows, tile_rows_for, tile_starts
from gnn.rowfile import Journal, RowFile, exclusive
from gnn.stages import Stage, needed_files, row_files, stages_of
from gnn.tasks import outputs
from sampling import Dataset
from sampling.errors import InputError
from sampling.graph.arrays import check_replaceable, publish, read_json, write_json
from sampling.graph.csc import as_tensor
from sampling.graph.meta import ArrayInfo

__all__ = ["EmbedReport", "embed"]

PLAN, JOURNAL = "plan.json", "journal.jsonl"

Format = Literal["npy", "parquet"]
Storage = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """How far an embedding run is.

    Attributes:
        stage: "features", "messages" or "layer".
        layer: layer at work, from 1.
        num_layers: how many there are.
        rows_done: rows of this stage that are written.
        num_rows: rows of each stage.
        seconds: time since the run began.
        rows_per_s: rows of this stage per second, those of an earlier run left out.
    """

    stage: str
    layer: int
    num_layers: int
    rows_done: int
    num_rows: int
    seconds: float
    rows_per_s: float


def embed(
    saved: SavedModel,
    data: Dataset,
    out: str | Path,
    *,
    predictions: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    format: Format = "npy",  # noqa: A002
    storage: Storage = "float32",
    tile_rows: int | None = None,
    num_threads: int | None = None,
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
        storage: type of rows between layers and in the output.
        tile_rows: rows at once; chosen from the widths of the model when left out.
        num_threads: threads; torch's own setting when left out.

    Raises:
        ExistsError: `out` is there and is not to be replaced.
        SchemaMismatchError: the graph's features are not those of the model.
        ResumeError: the unfinished work was started with other settings.
        BusyError: another process is writing `out`.
        InputError: a row does not fit float16.

    Cost: one pass over the edges per layer; disk for two layers of rows and one of messages.
    """
    out = Path(out)
    _check(saved, data, out, overwrite, format, storage, tile_rows)
    partial = out.with_name(f"{out.name}.partial")
    with exclusive(partial):
        run = _Run.start(saved, data, partial, predictions, storage, tile_rows, resume)
        yield from run.work(num_threads)
        _publish(run, out, format, overwrite)


@dataclass(slots=True)
class _Run:
    """An embedding run in its partial directory."""

    saved: SavedModel
    data: Dataset
    directory: Path
    storage: Storage
    tile_rows: int
    stages: list[Stage]
    files: dict[str, RowFile]
    journal: Journal
    first_stage: int

    @classmethod
    def start(
        cls,
        saved: SavedModel,
        data: Dataset,
        directory: Path,
        predictions: bool,
        storage: Storage,
        tile_rows: int | None,
        resume: bool,
    ) -> _Run:
        tile_rows = tile_rows or tile_rows_for(saved.model)
        plan = {
            "model_digest": saved.info.digest,
            "graph_fingerprint": graph_fingerprint(data),
            "predictions": predictions,
            "storage": storage,
            "tile_rows": tile_rows,
        }
        _open_plan(directory, plan, resume)
        stages = stages_of(saved, data, predictions)
        files = row_files(saved, data, directory, storage, stages)
        run = cls(
            saved,
            data,
            directory,
            storage,
            tile_rows,
            stages,
            files,
            Journal(directory / JOURNAL),
            0,
        )
        run._recover()
        return run

    def work(self, num_threads: int | None) -> Iterator[EmbedReport]:
        """Run what is left of every stage."""
        began = time.perf_counter()
        src_nodes = torch.arange(self.data.graph.num_nodes)
        for number in range(self.first_stage, len(self.stages)):
            yield from self._run_stage(self.stages[number], src_nodes, num_threads, began)
            self._remove_unneeded(number + 1)

    def _run_stage(
        self, stage: Stage, src_nodes: Tensor, num_threads: int | None, began: float
    ) -> Iterator[EmbedReport]:
        targets = [self.files[name] for name in stage.writes]
        inputs = {name: self._rows(name) for name in stage.reads}
        num_rows, first = self.data.graph.num_nodes, targets[0].rows_done
        stage_began = time.perf_counter()
        for start, end in tile_starts(num_rows, self.tile_rows, first):
            with torch.inference_mode(), using_threads(num_threads):
                tiles = self._tile(stage, inputs, src_nodes, start, end)
                for target, tile in zip(targets, tiles, strict=True):
                    target.write(_encoded(tile, target, start))
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
            )
        for target in targets:
            target.sync()

    def _tile(
        self, stage: Stage, inputs: dict[str, Tensor], src_nodes: Tensor, start: int, end: int
    ) -> list[Tensor]:
        model, graph, i = self.saved.model, self.data.graph, stage.layer
        if stage.kind == "features":
            assert self.data.features is not None, "checked before the run"
            return [self.data.features.rows(start, end)]
        x = inputs[stage.reads[0]]
        if stage.kind == "messages":
            return [message_rows(model, graph, i, x, start, end)]
        messages = inputs[stage.reads[-1]]
        h = layer_rows(model, graph, i, x, messages, src_nodes, start, end)
        if PREDICTIONS not in stage.writes:
            return [h]
        return [h, outputs(self.saved.info.task, model.head(h))]

    def _rows(self, name: str) -> Tensor:
        """The rows of a finished file, or of the graph's own features, mapped."""
        if name in self.files:
            return as_tensor(self.files[name].map())
        assert self.data.features is not None, "checked before the run"
        rows = self.data.features.tensor()
        assert rows is not None, "int8 features are decoded into a file of their own"
        return rows

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
                file.path.unlink(missing_ok=True)
        if next_stage < len(self.stages):
            for name in self.stages[next_stage].writes:
                self.files[name].create()


def _encoded(tile: Tensor, target: RowFile, start: int) -> np.ndarray:
    """The tile in its storage type.

    Raises:
        InputError: a value is not finite, or too large for the type.
    """
    with np.errstate(over="ignore"):
        rows = tile.numpy().astype(target.dtype, copy=False)
    if not np.isfinite(rows).all():
        row = start + int(np.argwhere(~np.isfinite(rows))[0, 0])
        raise InputError(
            f"{target.name} of dense node {row} do not fit {target.dtype}; "
            + ("embed with storage float32" if target.dtype == np.float16 else
               "look for extreme feature values")
        )  # fmt: skip
    return rows


def _check(
    saved: SavedModel,
    data: Dataset,
    out: Path,
    overwrite: bool,
    format: str,  # noqa: A002
    storage: str,
    tile_rows: int | None,
) -> None:
    saved.check(data)
    if format not in ("npy", "parquet"):
        raise InputError(f"format is {format!r}; choose npy or parquet")
    if storage not in ("float32", "float16"):
        raise InputError(f"storage is {storage!r}; choose float32 or float16")
    if tile_rows is not None and tile_rows < 1:
        raise InputError(f"tile_rows is {tile_rows}; it must be at least 1")
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
            meta = _describe(run, format, arrays, {})
        else:
            columns = {name.removesuffix("s"): file.map() for name, file in files.items()}
            parts = write_parquet_parts(temporary, run.data.ids, columns)
            meta = _describe(run, format, {}, parts)
        write_json(temporary / MANIFEST, meta.model_dump(mode="json"))
    shutil.rmtree(run.directory)


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
        dim=info.config.d_embedding,
        num_outputs=info.config.d_out if PREDICTIONS in run.stages[-1].writes else 0,
        storage=run.storage,
        arrays=arrays,
        parts=parts,
    ).sealed()
