"""`gnn ingest`: files of edges, nodes and features become a graph directory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.commands.options import (
    Debug,
    Json,
    Overwrite,
    Seed,
    Size,
    Threads,
    parse_shares,
    parse_size,
)
from service.commands.writing import naming_when_full
from service.console import Progress, note, show

if TYPE_CHECKING:
    from sampling.graph.ingest import TypedFile

__all__ = ["ingest", "repeat_options", "run_ingest"]

LIST_OPTIONS = ("--edges", "--nodes", "--features", "--labels", "--val-edges", "--test-edges",
                "--val-negatives", "--test-negatives")  # fmt: skip
COLUMN_PANEL = "Columns that files name otherwise"

Column = str | None
Format = Literal[
    "auto", "csv", "dimacs", "gml", "graphml", "matrix-market", "metis", "npy", "npz", "ntriples",
    "parquet", "snap",
]  # fmt: skip
column = partial(typer.Option, rich_help_panel=COLUMN_PANEL)


def ingest(
    out: Annotated[Path, typer.Option(help="Graph directory to write.")],
    edges: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE…", help="Files of edges; TYPE=FILE names their type."),
    ] = None,
    nodes: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE…", help="Lists of nodes (Parquet, CSV, TSV), or TYPE=FILE."),
    ] = None,
    val_edges: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE…", help="Edges to predict in validation; no messages."),
    ] = None,
    test_edges: Annotated[
        list[Path] | None, typer.Option(metavar="FILE…", help="The same for test.")
    ] = None,
    val_negatives: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE…", help="Pairs that are no edges, to measure validation with."),
    ] = None,
    test_negatives: Annotated[
        list[Path] | None, typer.Option(metavar="FILE…", help="The same for test.")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE…",
            help=".npy, or .npz dense or SciPy sparse, one row per node; or TYPE=FILE, one per "
            "node type.",
        ),
    ] = None,
    edge_features: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|COLUMNS",
            help=".npy with one row per edge, or columns of the edge files: length,speed.",
        ),
    ] = None,
    positions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|COLUMNS",
            help=".npy with x, y and z of every node, or columns of the nodes files: x,y,z.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE…", help="Pairs of id and label, where nodes have several."),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="Several splits: .npz with `split`, or .npy."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the graph; that of --out when left out.")
    ] = None,
    file_format: Annotated[
        Format, typer.Option("--format", help="Format of the edge files; auto looks at them.")
    ] = "auto",
    undirected: Annotated[
        bool, typer.Option("--undirected", help="Every edge runs both ways.")
    ] = False,
    reverse_edges: Annotated[
        bool,
        typer.Option("--reverse-edges", help="Every edge has an inverse, of a type rev_TYPE."),
    ] = False,
    id_prefix: Annotated[
        bool, typer.Option("--id-prefix", help="Ids are per type: 17 becomes author:17.")
    ] = False,
    header: Annotated[
        str | None,
        typer.Option(help="Column names of text files of edges without them: src,type,dst."),
    ] = None,
    literals: Annotated[
        Literal["drop", "keep"], typer.Option(help="Literals of N-Triples: dropped, or nodes.")
    ] = "drop",
    duplicates: Annotated[
        Literal["auto", "keep", "drop"],
        typer.Option(help="Equal edges; auto drops them where edges run both ways."),
    ] = "auto",
    id_type: Annotated[
        Literal["auto", "int", "string"],
        typer.Option(help="Ids of text files; auto refuses a mixture of integers and text."),
    ] = "auto",
    on_dangling: Annotated[
        Literal["error", "drop", "create"],
        typer.Option(help="An edge whose node is in no list."),
    ] = "error",
    feature_dtype: Annotated[
        Literal["float32", "float16", "bfloat16", "int8"], typer.Option(help="As stored.")
    ] = "float32",
    sparse_features: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(help="Keep a sparse .npz sparse; auto: where dense rows would take 1 GiB."),
    ] = "auto",
    feature_rows: Annotated[
        Literal["auto", "id", "nodes"],
        typer.Option(help="Row i belongs to id i, or to row i of the node list."),
    ] = "auto",
    random_split: Annotated[
        str | None, typer.Option(help="Shares of train, val and test to draw, as in 0.6,0.2,0.2.")
    ] = None,
    seed: Seed = 0,
    reorder: Annotated[
        Literal["none", "degree", "community"],
        typer.Option(help="Number nodes inside so that neighbors lie near each other."),
    ] = "none",
    memory: Size = None,
    src: Annotated[
        Column, typer.Option(help="Source of an edge; src or source.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    dst: Annotated[
        Column,
        typer.Option(help="Destination of an edge; dst or target.", rich_help_panel=COLUMN_PANEL),
    ] = None,
    type_column: Annotated[
        Column, typer.Option("--type", help="Type of an edge.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    time: Annotated[
        Column, typer.Option(help="Time of an edge.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    weight: Annotated[
        Column, typer.Option(help="Weight of an edge.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    id_column: Annotated[
        Column, typer.Option("--id", help="Id of a node.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    node_type: Annotated[
        Column, typer.Option(help="Type of a node; type.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    node_time: Annotated[
        Column, typer.Option(help="Time of a node; time.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    label: Annotated[
        Column, typer.Option(help="Label of a node.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    split: Annotated[
        Column, typer.Option(help="Split of a node.", rich_help_panel=COLUMN_PANEL)
    ] = None,
    edge_split: Annotated[
        Column,
        typer.Option(help="Split of an edge; split.", rich_help_panel=COLUMN_PANEL),
    ] = None,
    overwrite: Overwrite = False,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a graph directory from files, within a bound on memory.

    Columns are src, dst, and type, time, weight where they are there; of nodes id, and type,
    label, split, time.
    """
    columns = {
        "src": src,
        "dst": dst,
        "type": type_column,
        "time": time,
        "weight": weight,
        "id": id_column,
        "node_type": node_type,
        "node_time": node_time,
        "label": label,
        "split": split,
        "edge_split": edge_split,
    }
    result = run_ingest(
        edges=_files(edges),
        nodes=_files(nodes),
        features=_files(features) or None,
        labels=_files(labels),
        id_prefix=id_prefix,
        edge_features=_file_or_columns(edge_features),
        positions=_file_or_columns(positions),
        header=_names(header),
        literals=literals,
        reverse_edges=reverse_edges,
        val_edges=val_edges or (),
        test_edges=test_edges or (),
        val_negatives=val_negatives or (),
        test_negatives=test_negatives or (),
        splits=splits,
        out=out,
        name=name,
        columns={role: column for role, column in columns.items() if column is not None},
        format=file_format,
        undirected=undirected,
        duplicates=duplicates,
        feature_storage=feature_dtype,
        sparse_features=sparse_features,
        feature_rows=feature_rows,
        memory_bytes=None if memory is None else parse_size(memory),
        id_type=id_type,
        on_dangling=on_dangling,
        random_split=None if random_split is None else parse_shares(random_split, "--random-split"),
        split_seed=seed,
        reorder=reorder,
        overwrite=overwrite,
        num_threads=threads,
    )
    show(result, json)


def _files(given: Sequence[str] | None) -> list[TypedFile]:
    """Files, with the types that go with their names."""
    from sampling.graph.ingest import TypedFile

    return [TypedFile.parse(text) for text in given or ()]


def _file_or_columns(given: str | None) -> Path | list[str]:
    return Path(given) if given is not None and given.endswith(".npy") else _names(given)


def _names(given: str | None) -> list[str]:
    return [] if given is None else [name.strip() for name in given.split(",")]


def run_ingest(**settings: Any) -> dict[str, Any]:
    """Ingest with these fields of `IngestConfig`; returns what `gnn ingest --json` prints."""
    from sampling.graph.ingest import IngestConfig
    from sampling.graph.ingest import ingest as reports

    last, peak = None, 0
    with naming_when_full(Path(settings["out"])), Progress("rows") as progress:
        for last in reports(IngestConfig(**settings)):
            peak = max(peak, last.memory_bytes)
            progress.update(last.stage, last.rows, last.total_rows)
    assert last is not None and last.meta is not None, "the last report has the manifest"
    for line in last.notes:
        note(line)
    meta = last.meta
    return {
        "graph": str(settings["out"]),
        "name": meta.name,
        "version": meta.version,
        "fingerprint": meta.fingerprint,
        "num_nodes": meta.num_nodes,
        "num_edges": meta.num_edges,
        "node_types": [name for name, _, _ in meta.node_types],
        "edge_types": list(meta.edge_types),
        "feature_dim": meta.feature_dim,
        "feature_dtype": meta.feature_storage,
        "feature_widths": meta.feature_widths,
        "num_classes": len(meta.labels.classes) if meta.labels else 0,
        "num_splits": meta.num_splits,
        "size_bytes": last.bytes,
        "peak_memory_bytes": peak,
        "seconds": round(last.seconds, 3),
        "edges_per_s": meta.num_edges / max(last.seconds, 1e-9),
        "notes": list(last.notes),
    }


def repeat_options(arguments: Sequence[str]) -> list[str]:
    """`--edges a b` as `--edges a --edges b`: an option of typer takes one value at a time."""
    if "ingest" not in arguments[:2] or "bench" in arguments[:2]:
        return list(arguments)
    repeated: list[str] = []
    current, taken = "", 0
    for argument in arguments:
        if argument.startswith("-"):
            current, taken = argument if argument in LIST_OPTIONS else "", 0
        elif current:
            repeated += [current] if taken else []
            taken += 1
        repeated.append(argument)
    return repeated
