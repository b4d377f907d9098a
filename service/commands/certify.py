"""`gnn certify`: by how much the answers of a model change when nodes are renumbered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import AllowModules, Debug, Json, ModelPath, Seed, Threads
from service.commands.writing import naming
from service.console import show

if TYPE_CHECKING:
    from gnn import Certificate, SavedModel

__all__ = ["certify"]


def certify(
    model: ModelPath,
    graph: Annotated[
        Path | None,
        typer.Option(help="A graph, or a collection, that the model fits; else random graphs."),
    ] = None,
    renumberings: Annotated[int, typer.Option(min=1, help="Random numberings to try.")] = 3,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest relative error that passes.")
    ] = 1e-4,
    allow_modules: AllowModules = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a saved model's symmetry; the certificate replaces the one that it has."""
    from gnn import certify as measure
    from gnn import load_model
    from gnn.brought import module_names
    from gnn.checkpoint import add_certificate
    from gnn.data import open_data
    from gnn.errors import NotCertifiedError

    saved = load_model(model, module_names(allow_modules))
    found = measure(
        saved.model,
        None if graph is None else open_data(graph),
        renumberings=renumberings,
        tolerance=tolerance,
        seed=seed,
        num_threads=threads,
    )
    with naming(saved.path):
        add_certificate(saved, found)
    show(_about(saved, found), json)
    if not found.passed:
        raise NotCertifiedError(saved.info.name, saved.info.version, failed=True)


def _about(saved: SavedModel, found: Certificate) -> dict[str, Any]:
    return {
        "model": saved.info.name,
        "version": saved.info.version,
        "passed": found.passed,
        "errors": found.errors,
        "tolerance": found.tolerance,
        "nodes": found.num_nodes,
        "edges": found.num_edges,
        "whole_graph": found.whole_graph,
        "random_graph": found.random_graph,
        "replaced": saved.certificate is not None,
    }
