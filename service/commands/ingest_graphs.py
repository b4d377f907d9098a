"""`gnn ingest-graphs`: files of many small graphs become a collection directory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.commands.options import Debug, Json, Overwrite, Seed, parse_shares
from service.commands.writing import naming_when_full
from service.console import Progress, note, show

__all__ = ["ingest_graphs", "run_ingest_graphs"]

column = partial(typer.Option, rich_help_panel="Columns that files name otherwise")


def ingest_graphs(
    out: Annotated[Path, typer.Option(help="Directory of the collection to write.")],
    file_format: Annotated[
        Literal["tables", "tu", "smiles", "jsonl"], typer.Option("--format", help="What is read.")
    ],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE…", help="JSON lines, a table of SMILES, or a TU directory or zip."
        ),
    ] = None,
    graphs: Annotated[
        Path | None, typer.Option(help="Table of graphs: graph,label[,num_nodes][,fold][,split].")
    ] = None,
    edges: Annotated[
        Path | None, typer.Option(help="Table of edges: graph,src,dst and features.")
    ] = None,
    nodes: Annotated[
        Path | None, typer.Option(help="Table of nodes: graph,node[,label] and features.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the collection; that of --out when left out.")
    ] = None,
    undirected: Annotated[
        bool, typer.Option("--undirected", help="Every edge runs both ways; equal ones are one.")
    ] = False,
    label: Annotated[
        list[str] | None, column(help="Column of the target; again for several real targets.")
    ] = None,
    id_column: Annotated[
        str | None, column("--id", help="Column of the graphs' ids; graph or id.")
    ] = None,
    smiles: Annotated[str | None, column(help="Column of SMILES; smiles.")] = None,
    split: Annotated[str | None, column(help="Column of splits; split.")] = None,
    fold: Annotated[str | None, column(help="Column of test folds; fold.")] = None,
    target_kind: Annotated[
        Literal["auto", "class", "real"],
        typer.Option(help="Classes, or numbers; auto: numbers where there are fractions."),
    ] = "auto",
    node_labels: Annotated[
        Literal["one-hot", "codes", "drop"],
        typer.Option(help="What categorical labels of nodes and edges become."),
    ] = "one-hot",
    integers: Annotated[
        Literal["auto", "codes", "numbers"],
        typer.Option(help="What features that are all integers are; auto: codes in tables."),
    ] = "auto",
    degree_features: Annotated[
        int | None,
        typer.Option(metavar="MAX", help="Adds the in-degree, up to MAX, as a category."),
    ] = None,
    constant_feature: Annotated[
        bool, typer.Option("--constant-feature", help="Adds a column of ones.")
    ] = False,
    positions: Annotated[
        bool, typer.Option("--positions", help="Embeds molecules in space (ETKDG).")
    ] = False,
    on_error: Annotated[
        Literal["error", "skip"], typer.Option(help="A SMILES that cannot be read.")
    ] = "error",
    folds: Annotated[
        int | None, typer.Option(help="Stratified folds to draw, one split for each.")
    ] = None,
    random_split: Annotated[
        str | None, typer.Option(help="Shares of train, val and test to draw, as in 0.8,0.1,0.1.")
    ] = None,
    split_kind: Annotated[
        Literal["random", "scaffold"] | None,
        typer.Option(help="How to draw a split where no column has one.", show_default=False),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a collection of many small graphs from files.

    A target, splits or folds, and features of nodes and edges are taken where they are there.
    """
    columns = {"id": id_column, "smiles": smiles, "split": split, "fold": fold}
    result = run_ingest_graphs(
        out=out,
        format=file_format,
        files=files or (),
        graphs=graphs,
        edges=edges,
        nodes=nodes,
        name=name,
        undirected=undirected,
        labels=label or (),
        columns={role: named for role, named in columns.items() if named is not None},
        target_kind=target_kind,
        node_labels=node_labels,
        integers=integers,
        degree_features=degree_features,
        constant_feature=constant_feature,
        positions=positions,
        on_error=on_error,
        folds=folds,
        random_split=None if random_split is None else parse_shares(random_split, "--random-split"),
        split_kind=split_kind,
        seed=seed,
        overwrite=overwrite,
    )
    show(result, json)


def run_ingest_graphs(**settings: Any) -> dict[str, Any]:
    """Ingest with these fields of `IngestGraphsConfig`; returns what `--json` prints."""
    from sampling.graph.ingest_graphs import IngestGraphsConfig
    from sampling.graph.ingest_graphs import ingest_graphs as reports

    last = None
    with naming_when_full(Path(settings["out"])), Progress("graphs") as progress:
        for last in reports(IngestGraphsConfig(**settings)):
            progress.update(last.stage, last.graphs, last.total_graphs)
    assert last is not None and last.meta is not None, "the last report has the manifest"
    for line in last.notes:
        note(line)
    meta = last.meta
    return {
        "graphs": str(settings["out"]),
        "name": meta.name,
        "version": meta.version,
        "fingerprint": meta.fingerprint,
        "num_graphs": meta.num_graphs,
        "num_nodes": meta.num_nodes,
        "num_edges": meta.num_edges,
        "feature_dim": meta.feature_dim,
        "edge_dim": meta.edge_dim,
        "has_positions": meta.has_positions,
        "num_classes": len(meta.labels.classes) if meta.labels else 0,
        "num_targets": meta.num_targets,
        "num_splits": meta.num_splits,
        "num_skipped": last.skipped,
        "size_bytes": last.bytes,
        "seconds": round(last.seconds, 3),
        "graphs_per_s": meta.num_graphs / max(last.seconds, 1e-9),
        "notes": list(last.notes),
    }
