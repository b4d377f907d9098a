"""The files of a finished job: Parquet parts with the user's ids first, or the bare `.npy`.

Columns: `id`; `embedding`, a list of fixed size; `label` and `score`; `probabilities`, a list in
the order of `classes` in the schema's metadata; `prediction_set`, a list of labels, most probable
first; for a regression `value` in place of all but the embedding.
Parts appear together, by one rename. Equal rows make equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.answers import chosen_labels, label_sets
from service.errors import NonFiniteError
from service.jobs.folder import JobFolder, fsync
from service.jobs.job import JobSpec, Output, Part, Progress, Result
from service.jobs.rows import Rows
from service.registry import ServedModel

__all__ = ["write_result"]

GROUP_ROWS = 1 << 16
CHUNK_BYTES = 1 << 22
BYTES_BESIDE = 32
"""Of id, label and score in a row, about."""


def write_result(
    spec: JobSpec, folder: JobFolder, rows: Rows, model: ServedModel, part_bytes: int
) -> Generator[Progress, None, Result]:
    """Write all parts, then give them their name.

    Raises:
        NonFiniteError: the model's head made NaN or infinity of a row.
    """
    partial = folder.path / "result.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if spec.format == "npy":
        assert rows.table is not None, "refused at the door for some nodes"
        shutil.copyfile(rows.table.path / "embeddings.npy", partial / "embeddings.npy")
        fsync(partial / "embeddings.npy")
    else:
        yield from _write_parts(_Columns(spec, rows, model), partial, part_bytes)
    result = _described(partial, spec)
    fsync(partial)
    shutil.rmtree(folder.result, ignore_errors=True)
    partial.rename(folder.result)
    fsync(folder.path)
    return result


@dataclass(frozen=True, slots=True)
class _Columns:
    """Turns a range of rows into a table."""

    spec: JobSpec
    rows: Rows
    model: ServedModel

    def table(self, start: int, end: int) -> pa.Table:
        """Rows `start … end`."""
        include, rows = self.spec.include, self.rows.read(start, end)
        columns: dict[str, Any] = {"id": self.rows.ids(start, end)}
        if "embedding" in include:
            columns["embedding"] = _lists(rows)
        if set(include) != {"embedding"}:
            columns |= _answers(self._outputs(rows, start, end), self.model, include)
        return pa.table(columns).replace_schema_metadata(self._metadata())

    def row_bytes(self) -> int:
        """Bytes of a row before compression, about."""
        gnn, include = self.model.saved.model, self.spec.include
        widths = {"embedding": gnn.d_embedding, "probabilities": gnn.config.d_out}
        return BYTES_BESIDE + 4 * sum(widths.get(name, 0) for name in include)

    def _outputs(self, rows: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32]:
        table = self.rows.table
        if self.spec.every_node and table is not None and table.predictions is not None:
            out = np.asarray(table.predictions[start:end], np.float32)
        else:
            out = self.model.outputs(rows)
        if not np.isfinite(out).all():
            raise NonFiniteError(self.model.name, self.model.version)
        return out

    def _metadata(self) -> dict[str, str]:
        spec = self.spec
        return {
            "model": spec.model,
            "model_version": str(spec.version),
            "graph_version": str(spec.graph_version),
            "graph_fingerprint": spec.graph,
            "classes": json.dumps(self.model.classes),
        }


def _write_parts(
    columns: _Columns, directory: Path, part_bytes: int
) -> Generator[Progress, None, None]:
    num_rows = columns.spec.num_nodes
    part_rows = max(1, part_bytes // columns.row_bytes())
    for number, first in enumerate(range(0, num_rows, part_rows)):
        last = min(first + part_rows, num_rows)
        with _part(directory / f"part-{number:05d}.parquet", columns) as writer:
            for start in range(first, last, GROUP_ROWS):
                end = min(start + GROUP_ROWS, last)
                writer.write_table(columns.table(start, end))
                yield Progress(stage="write", rows_done=end, num_rows=num_rows)


@contextmanager
def _part(path: Path, columns: _Columns) -> Iterator[Any]:
    """Writes a Parquet file that is durable at the end. The file is opened here, not by Arrow,
    whose errors do not say that a disk is full.
    """
    with path.open("wb") as file:
        with pq.ParquetWriter(file, columns.table(0, 0).schema) as writer:
            yield writer
        file.flush()
        os.fsync(file.fileno())


def _answers(
    outputs: NDArray[np.float32], model: ServedModel, include: tuple[Output, ...]
) -> dict[str, Any]:
    classes = model.classes
    if classes is None:
        single = outputs.shape[1] == 1
        return {"value": pa.array(outputs[:, 0]) if single else _lists(outputs)}
    columns: dict[str, Any] = {}
    if "label" in include and model.has_many_labels:
        kind = pa.list_(pa.array(classes).type)
        columns["labels"] = pa.array(chosen_labels(outputs, classes), kind)
    elif "label" in include:
        codes = outputs.argmax(axis=1)
        columns["label"] = pa.array(classes).take(pa.array(codes))
        columns["score"] = pa.array(outputs[np.arange(len(outputs)), codes])
    if "probabilities" in include:
        columns["probabilities"] = _lists(outputs)
    calibration = model.saved.info.calibration
    if "prediction_set" in include and calibration is not None:
        kind = pa.list_(pa.array(classes).type)
        columns["prediction_set"] = pa.array(label_sets(calibration, outputs, classes), kind)
    return columns


def _lists(rows: NDArray[np.float32]) -> Any:
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _described(directory: Path, spec: JobSpec) -> Result:
    whole, parts = hashlib.sha256(), []
    for path in sorted(directory.iterdir()):
        own, size = hashlib.sha256(), 0
        for piece in _bytes(path):
            own.update(piece)
            whole.update(piece)
            size += len(piece)
        rows = spec.num_nodes if spec.format == "npy" else pq.read_metadata(path).num_rows
        parts.append(Part(name=path.name, rows=rows, size_bytes=size, sha256=own.hexdigest()))
    return Result(
        rows=spec.num_nodes,
        size_bytes=sum(part.size_bytes for part in parts),
        sha256=whole.hexdigest(),
        parts=tuple(parts),
    )


def _bytes(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
