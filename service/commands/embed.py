"""`gnn embed`: embeddings of every node, layer by layer, and predictions if asked for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.commands.options import (
    AllowModules,
    Debug,
    GraphPath,
    Json,
    ModelPath,
    Overwrite,
    Size,
    Threads,
    parse_size,
    refused,
)
from service.commands.writing import naming_when_full
from service.console import Progress, show

__all__ = ["embed", "run_embedding"]

StorageType = Literal["float32", "float16", "bfloat16", "int8"]


def embed(
    graph: GraphPath,
    model: ModelPath,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also keep probabilities, or values.")
    ] = False,
    output_format: Annotated[
        Literal["npy", "parquet"],
        typer.Option("--format", help="npy is served from; parquet has node ids, for others."),
    ] = "npy",
    storage: Annotated[StorageType, typer.Option(help="Number type of the rows.")] = "float32",
    layer_storage: Annotated[
        StorageType | None, typer.Option(help="The same between layers; --storage when left out.")
    ] = None,
    memory: Size = None,
    tile_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows at a time; chosen when left out.")
    ] = None,
    index: Annotated[
        bool, typer.Option("--index", help="Also build an index of nearest rows by cosine.")
    ] = False,
    make_map: Annotated[
        bool, typer.Option("--map", help="Also place the nodes in the plane, for the console.")
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: on this machine; ray: on a cluster, which is not built yet."),
    ] = "local",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that was killed.")
    ] = False,
    overwrite: Overwrite = False,
    allow_modules: AllowModules = None,
    threads: Threads = None,
    device: Annotated[
        str,
        typer.Option(help="cpu: compiled layers; cuda, cuda:N, or auto: plain operations there."),
    ] = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Embed every node of a graph; the table is what `gnn serve` answers from."""
    if engine == "ray":
        raise refused("--engine", "ray is not built yet; choose local, which embeds graphs larger "
                      "than memory under --memory")  # fmt: skip
    result = run_embedding(
        graph,
        model,
        out,
        allow_modules,
        predictions=predictions,
        format=output_format,
        storage=storage,
        layer_storage=layer_storage,
        memory=None if memory is None else parse_size(memory),
        tile_rows=tile_rows,
        index=index,
        make_map=make_map,
        resume=resume,
        overwrite=overwrite,
        num_threads=threads,
        device=device,
    )
    show(result, json)


def run_embedding(
    graph: Path,
    model: Path,
    out: Path,
    allow_modules: str | None = None,
    device: str = "cpu",
    **settings: Any,
) -> dict[str, Any]:
    """Embed with these arguments of `gnn.embed`; returns what `gnn embed --json` prints."""
    from gnn import embed as reports
    from gnn import load_model
    from gnn.brought import module_names
    from gnn.device import chosen_device
    from gnn.embeddings import read_meta
    from sampling import GraphStore

    streamed = 0
    saved, data = load_model(model, module_names(allow_modules)), GraphStore.open(graph)
    saved.model.to(chosen_device(device))
    started = time.perf_counter()
    with naming_when_full(out), Progress("rows") as progress:
        for report in reports(saved, data, out, **settings):
            stage = f"{report.stage} {report.layer}/{report.num_layers}"
            streamed += report.out_of_core and report.rows_done == report.num_rows
            progress.update(stage, report.rows_done, report.num_rows)
    meta = read_meta(out)
    seconds = time.perf_counter() - started
    return {
        "embeddings": str(out),
        "model": saved.info.name,
        "model_version": saved.info.version,
        "graph_version": data.meta.version,
        "num_nodes": data.meta.num_nodes,
        "dim": saved.model.d_embedding,
        "storage": meta.storage,
        "max_error": meta.max_error,
        "has_index": meta.index is not None,
        "has_map": "map" in meta.arrays,
        "layers_out_of_core": streamed,
        "size_bytes": sum(path.stat().st_size for path in out.iterdir()),
        "seconds": round(seconds, 3),
        "nodes_per_s": data.meta.num_nodes / max(seconds, 1e-9),
    }
