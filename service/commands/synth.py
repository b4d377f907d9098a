"""`gnn synth`: synthetic files of any size, the same for the same seed, ready for `gnn ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.commands.options import Debug, Json, Overwrite, Seed
from service.commands.writing import naming_when_full
from service.console import Progress, show

if TYPE_CHECKING:
    from sampling.graph.synthetic import RmatConfig, SbmConfig

__all__ = ["rmat", "sbm"]

Out = Annotated[Path, typer.Option(help="Directory for edges, nodes and features.")]
Nodes = Annotated[int, typer.Option(help="Nodes.")]
Features = Annotated[int, typer.Option(help="Features per node; 0 writes none.")]
FeatureType = Annotated[
    Literal["float32", "float16"], typer.Option(help="Number type of the features.")
]
Noise = Annotated[
    float, typer.Option(help="Deviation of features around the center of their class.")
]


def rmat(
    out: Out,
    nodes: Nodes,
    edges: Annotated[int, typer.Option(help="Edges; some repeat, as in Graph500.")],
    features: Features = 0,
    feature_dtype: FeatureType = "float32",
    classes: Annotated[int, typer.Option(help="Classes of labels; 0 writes none.")] = 0,
    noise: Noise = 2.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """A directed graph with hubs: R-MAT with the probabilities of Graph500."""
    from sampling.graph.synthetic import RmatConfig

    config = RmatConfig(
        nodes=nodes,
        edges=edges,
        seed=seed,
        features=features,
        feature_dtype=feature_dtype,
        classes=classes,
        noise=noise,
    )
    _run(config, out, overwrite, json)


def sbm(
    out: Out,
    nodes: Nodes,
    edges: Annotated[
        int | None, typer.Option(help="Edges, each written once; ingest them --undirected.")
    ] = None,
    avg_degree: Annotated[
        float | None, typer.Option(help="Edges at a node, in place of --edges; 10 by default.")
    ] = None,
    homophily: Annotated[float, typer.Option(help="Share of edges inside a class.")] = 0.8,
    p_in: Annotated[
        float | None, typer.Option(help="Probability of an edge inside a class, in place of both.")
    ] = None,
    p_out: Annotated[
        float | None, typer.Option(help="Probability of an edge between classes.")
    ] = None,
    classes: Annotated[int, typer.Option(help="Classes, of equal size.")] = 4,
    features: Features = 16,
    feature_dtype: FeatureType = "float32",
    noise: Noise = 2.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Communities that a model can learn: a stochastic block model, undirected."""
    from sampling.graph.synthetic import SbmConfig

    config = SbmConfig(
        nodes=nodes,
        classes=classes,
        seed=seed,
        avg_degree=_average_degree(nodes, edges, avg_degree),
        homophily=homophily,
        p_in=p_in,
        p_out=p_out,
        features=features,
        feature_dtype=feature_dtype,
        noise=noise,
    )
    _run(config, out, overwrite, json)


def _average_degree(nodes: int, edges: int | None, avg_degree: float | None) -> float:
    from sampling.errors import InputError

    if edges is not None and avg_degree is not None:
        raise InputError("--edges and --avg-degree say the same; give one of them")
    if edges is not None:
        return 2 * edges / max(nodes, 1)
    return 10.0 if avg_degree is None else avg_degree


def _run(config: RmatConfig | SbmConfig, out: Path, overwrite: bool, as_json: bool) -> None:
    from sampling.graph.synthetic import synthesize

    report = None
    with naming_when_full(out), Progress("rows") as progress:
        for report in synthesize(config, out, overwrite=overwrite):
            progress.update(report.stage, report.rows, report.total_rows)
    assert report is not None, "the last report says that all is done"
    result: dict[str, Any] = {
        "out": str(out),
        "num_nodes": config.nodes,
        "num_edges": config.num_edges,
        "feature_dim": config.features,
        "num_classes": config.classes,
        "seed": config.seed,
        "files": sorted(path.name for path in out.iterdir()),
        "size_bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "edges_per_s": report.rows_per_s,
    }
    show(result, as_json)
