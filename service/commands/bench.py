"""`gnn bench`: this installation beside installed peers, on this machine, in one run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from service.commands.options import Debug, Fanouts, Json, Seed, Threads, parse_fanouts
from service.console import format_count, show

__all__ = ["ingest", "sampling"]

Nodes = Annotated[int, typer.Option(min=1, help="Nodes of the graph.")]
Edges = Annotated[int, typer.Option(min=1, help="Edges of the graph.")]
Repeats = Annotated[int, typer.Option(min=1, help="Rounds; the median of them counts.")]


def sampling(
    nodes: Nodes = 1_000_000,
    edges: Edges = 25_000_000,
    fanouts: Fanouts = "15,10,5",
    batch_size: Annotated[int, typer.Option(min=1, help="Seeds per batch.")] = 1024,
    threads: Threads = None,
    repeats: Repeats = 15,
    seed: Seed = 0,
    tuned: Annotated[
        bool, typer.Option(help="Also measure DGL with int32 CSC and huge pages.")
    ] = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Neighbor sampling on an R-MAT graph: sampled edges per second, beside DGL."""
    from sampling.kernels import default_threads
    from service.bench.sampling import measure

    layers = parse_fanouts(fanouts)
    num_threads = threads or default_threads()
    _show(measure(nodes, edges, layers, batch_size, num_threads, repeats, seed, tuned), json)


def ingest(
    nodes: Nodes = 5_000_000,
    edges: Edges = 50_000_000,
    threads: Threads = None,
    repeats: Repeats = 3,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Building the adjacency from random edges: edges per second, beside DGL and SciPy."""
    from sampling.kernels import default_threads
    from service.bench.ingest import measure

    _show(measure(nodes, edges, threads or default_threads(), repeats, seed), json)


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(result, True)
        return
    show({"machine": result["machine"]}, False)
    for row in result["rows"]:
        print(f"\n{row['work']}\n  {'ours':<12} {format_count(row['ours']):>12} {row['unit']}")
        for name, peer in row["peers"].items():
            value, ratio = format_count(peer["value"]), peer["ratio"]
            print(f"  {name:<12} {value:>12} {row['unit']}   ours is {ratio:.2f} x")
