"""`gnn bench`: this installation beside installed peers, on this machine, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.options import Debug, Fanouts, Json, Seed, Threads, parse_fanouts
from service.console import format_count, show

__all__ = ["embed", "gather", "ingest", "loader", "sampling", "serve", "spmm", "train"]

Nodes = Annotated[int, typer.Option(min=1, help="Nodes of the graph.")]
Edges = Annotated[int, typer.Option(min=1, help="Edges of the graph.")]
Repeats = Annotated[int, typer.Option(min=1, help="Rounds; the median of them counts.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Seeds per batch.")]
Width = Annotated[int, typer.Option(min=1, help="Columns of the feature rows.")]
NOT_READ = "Not read by this work; every `gnn bench` takes it."
AnyEdges = Annotated[int | None, typer.Option("--edges", min=1, help=NOT_READ)]
AnyFanouts = Annotated[str | None, typer.Option("--fanouts", help=NOT_READ)]
AnyBatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help=NOT_READ)]
Tuned = Annotated[bool, typer.Option(help="Also measure DGL with int32 CSC and huge pages.")]


def sampling(
    nodes: Nodes = 1_000_000,
    edges: Edges = 25_000_000,
    fanouts: Fanouts = "15,10,5",
    batch_size: Annotated[
        str, typer.Option(help="Seeds per batch; several with commas between them.")
    ] = "1,64,1024",
    width: Width = 128,
    threads: Threads = None,
    repeats: Repeats = 7,
    seed: Seed = 0,
    tuned: Tuned = True,
    works: Annotated[
        str | None,
        typer.Option(
            help="What to measure, with commas between: sample, sample_each, sample_mean, "
            "sample_weighted, sample_temporal, walk. All when left out; each needs memory."
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Neighbor sampling on an R-MAT graph: sampled edges per second, beside DGL."""
    from service.bench.sampling import WORKS, measure

    layers, sizes = parse_fanouts(fanouts), _parse_sizes(batch_size)
    chosen = list(WORKS) if works is None else [name.strip() for name in works.split(",")]
    for name in chosen:
        if name not in WORKS:
            raise typer.BadParameter(f"{name!r} is not measured; choose of {', '.join(WORKS)}")
    given = (nodes, edges, layers, sizes, width, _cores(threads), repeats, seed, tuned, chosen)
    _show(measure(*given), json)


def gather(
    nodes: Annotated[int, typer.Option(min=1, help="Rows of the table.")] = 1_000_000,
    edges: AnyEdges = None,
    fanouts: AnyFanouts = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows gathered at once.")] = 200_000,
    width: Width = 128,
    threads: Threads = None,
    repeats: Repeats = 15,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Gathering rows of random nodes: rows per second, beside torch and NumPy."""
    from service.bench.gather import measure

    _show(measure(nodes, batch_size, width, _cores(threads), repeats, seed), json)


def spmm(
    nodes: Nodes = 1_000_000,
    edges: Edges = 25_000_000,
    fanouts: AnyFanouts = None,
    batch_size: AnyBatchSize = None,
    width: Width = 128,
    threads: Threads = None,
    repeats: Repeats = 3,
    seed: Seed = 0,
    tuned: Tuned = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """The mean over all neighborhoods: edges per second, beside DGL, torch and SciPy."""
    from service.bench.spmm import measure

    _show(measure(nodes, edges, width, _cores(threads), repeats, seed, tuned), json)


def loader(
    nodes: Nodes = 1_000_000,
    edges: Edges = 25_000_000,
    fanouts: Fanouts = "15,10,5",
    batch_size: BatchSize = 1024,
    width: Width = 128,
    threads: Threads = None,
    repeats: Repeats = 5,
    seed: Seed = 0,
    tuned: Tuned = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Mini-batches with their input rows: sampled edges per second, beside DGL and PyG."""
    from service.bench.loader import measure

    layers = parse_fanouts(fanouts)
    given = (nodes, edges, layers, batch_size, width, _cores(threads), repeats, seed, tuned)
    _show(measure(*given), json)


def embed(
    nodes: Nodes = 1_000_000,
    edges: Edges = 25_000_000,
    fanouts: AnyFanouts = None,
    batch_size: AnyBatchSize = None,
    width: Width = 128,
    layers: Annotated[int, typer.Option(min=1, max=64, help="Layers of GraphSAGE.")] = 3,
    threads: Threads = None,
    repeats: Repeats = 3,
    seed: Seed = 0,
    tuned: Tuned = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Embedding every node with GraphSAGE: nodes per second, beside DGL and PyG."""
    from service.bench.embed import measure

    _show(measure(nodes, edges, width, layers, _cores(threads), repeats, seed, tuned), json)


def train(
    nodes: Nodes = 8_000_000,
    edges: Edges = 200_000_000,
    seeds: Annotated[
        int, typer.Option(min=1, help="Nodes to train on, in whole batches.")
    ] = 100_000,
    fanouts: Fanouts = "15,10,5",
    batch_size: BatchSize = 1024,
    width: Width = 128,
    hidden: Annotated[int, typer.Option(min=1, help="Width of the hidden rows.")] = 256,
    threads: Threads = 2,
    repeats: Repeats = 3,
    seed: Seed = 0,
    tuned: Tuned = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """One epoch of mini-batch GraphSAGE: seeds per second, beside DGL."""
    from service.bench.train import measure

    layers, given = parse_fanouts(fanouts), (_cores(threads), repeats, seed, tuned)
    _show(measure(nodes, edges, seeds, layers, batch_size, width, hidden, *given), json)


def ingest(
    nodes: Nodes = 5_000_000,
    edges: Edges = 50_000_000,
    fanouts: AnyFanouts = None,
    batch_size: AnyBatchSize = None,
    threads: Threads = None,
    repeats: Repeats = 3,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Building the adjacency from edges in memory: edges per second, beside DGL and SciPy."""
    from service.bench.ingest import measure

    _show(measure(nodes, edges, _cores(threads), repeats, seed), json)


def serve(
    nodes: Nodes = 1_000_000,
    edges: Edges = 20_000_000,
    fanouts: Fanouts = "15,10",
    batch_size: Annotated[
        int, typer.Option(min=1, max=100_000, help="Ids of the large requests.")
    ] = 1000,
    width: Width = 128,
    connections: Annotated[
        int, typer.Option(min=1, max=1024, help="Connections of the closed loads.")
    ] = 16,
    seconds: Annotated[
        float,
        typer.Option(min=1, help="Length of the even load; a turn takes a thirtieth, 1 to 10 s."),
    ] = 300,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes of our server.")] = 1,
    threads: Threads = None,
    repeats: Repeats = 3,
    seed: Seed = 0,
    keep: Annotated[
        Path | None,
        typer.Option(help="Directory to keep graph, model and table in for the next time."),
    ] = None,
    peers: Annotated[bool, typer.Option(help="Also measure the plain services.")] = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serving over sockets: requests per second and p99, beside a plain FastAPI and DGL service."""
    from service.bench.dgl_peer import import_dgl
    from service.bench.serve import ServePlan, measure
    from service.console import note

    if peers and import_dgl() is None:
        note("dgl cannot be imported here; measuring without it")
        peers = False
    layers = parse_fanouts(fanouts)
    given = (nodes, edges, layers, batch_size, width, connections, seconds, repeats, workers)
    _show(measure(ServePlan(*given, _cores(threads), seed, keep, peers)), json)


def _cores(threads: int | None) -> int:
    from sampling.kernels import default_threads

    return threads or default_threads()


def _parse_sizes(text: str) -> list[int]:
    """Batch sizes from "1,64,1024"."""
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) for part in parts):
        raise typer.BadParameter(
            f"{text!r} is not a list of batch sizes; write positive integers, as in 1,64,1024"
        )
    return [int(part) for part in parts]


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(result, True)
        return
    show({"machine": result["machine"]}, False)
    for row in result["rows"]:
        _show_row(row)


def _show_row(row: dict[str, Any]) -> None:
    names = ["ours", *row["peers"]]
    width, unit = max(len(name) for name in names), row["unit"]
    bound = f"   {row['limit']['fraction']:.0%} of the memory's limit" if "limit" in row else ""
    print(f"\n{row['work']}\n  {'ours':<{width}} {format_count(row['ours']):>12} {unit}{bound}")
    for name, peer in row["peers"].items():
        value, ratio = format_count(peer["value"]), peer["ratio"]
        print(f"  {name:<{width}} {value:>12} {unit}   ours is {ratio:.2f} x")
    for name, distance in row.get("max_abs_difference", {}).items():
        print(f"  {name:<{width}} {distance:>12.2g} the largest difference from ours")
    for name, stages in row.get("seconds_per_batch", {}).items():
        parts = ", ".join(f"{stage} {1e3 * seconds:.0f}" for stage, seconds in stages.items())
        print(f"  {name:<{width}} ms per batch, one stage after the other: {parts}")
