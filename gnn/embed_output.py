"""What a finished embedding run leaves: a directory for `EmbeddingTable`, in one step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from gnn.embed_run import EmbedRun
from gnn.embeddings import (
    EMBEDDINGS,
    INDEX_FILE,
    MANIFEST,
    MAP,
    PREDICTIONS,
    SCALE,
    EmbeddingMeta,
    IndexInfo,
    file_checksum,
)
from gnn.export import write_parquet_parts
from gnn.identity import graph_fingerprint
from sampling.graph.arrays import publish, write_array, write_json
from sampling.graph.meta import ArrayInfo

__all__ = ["Format", "publish_run"]

Format = Literal["npy", "parquet"]


def publish_run(run: EmbedRun, out: Path, kind: Format, overwrite: bool) -> None:
    """Bring the rows of the last stage to `out`, described, and remove what lay beside them."""
    files = {name: run.files[name] for name in run.stages[-1].writes}
    with publish(out, overwrite=overwrite, marker=MANIFEST) as temporary:
        if kind == "npy":
            for file in files.values():
                _link(file.path, temporary / file.path.name)
            arrays = {name: file.info() for name, file in files.items()}
            if (scale := run.files[EMBEDDINGS].scale) is not None:
                arrays[SCALE] = write_array(temporary / f"{SCALE}.npy", scale)
            if run.map is not None:
                arrays[MAP] = write_array(temporary / f"{MAP}.npy", run.map)
            meta = _describe(run, kind, arrays, {}, _index_info(run, temporary))
        else:
            columns = {name.removesuffix("s"): file.table() for name, file in files.items()}
            parts = write_parquet_parts(temporary, run.data.ids, columns)
            meta = _describe(run, kind, {}, parts)
        write_json(temporary / MANIFEST, meta.model_dump(mode="json"))
    shutil.rmtree(run.directory)


def _index_info(run: EmbedRun, temporary: Path) -> IndexInfo | None:
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
    run: EmbedRun,
    kind: Format,
    arrays: dict[str, ArrayInfo],
    parts: dict[str, str],
    index: IndexInfo | None = None,
) -> EmbeddingMeta:
    info, meta = run.saved.info, run.data.meta
    return EmbeddingMeta(
        format=kind,
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
