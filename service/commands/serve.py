"""`gnn serve`: the REST service, in this process and its workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.commands.options import Debug, Json
from service.console import show

__all__ = ["serve"]


def serve(
    graph: Annotated[
        Path | None, typer.Option(help="Directory of the graph; or set GNN_GRAPH.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Directory of models; or set GNN_MODELS.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Directory of embeddings, used while they are fresh.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 when left out.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 8000 when left out, 0: a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Server processes; they share the graph.")
    ] = None,
    default_model: Annotated[
        str | None, typer.Option(help="Model that answers to the name `default`.")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, typer.Option(help="Least to log.")
    ] = None,
    jobs: Annotated[
        Path | None, typer.Option(help="Directory of batch jobs; `jobs` beside the models.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="Redis that keeps the jobs, for `gnn worker`.")
    ] = None,
    no_jobs: Annotated[
        bool, typer.Option("--no-jobs", help="Run no jobs here; leave them to `gnn worker`.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve a graph and its models over HTTP until SIGTERM or Ctrl-C.

    Every other setting is an environment variable that starts with GNN_: see docs/settings.md.
    """
    from sampling.errors import InputError
    from service.server import run_server

    given = {
        "graph": graph,
        "models": models,
        "embeddings": embeddings,
        "host": host,
        "port": port,
        "workers": workers,
        "default_model": default_model,
        "log_level": log_level,
        "jobs": jobs,
        "redis_url": redis,
        "run_jobs": False if no_jobs else None,
    }
    settings = read_settings(given)
    started = time.time()
    try:
        run_server(settings)
    except SystemExit as error:
        if error.code:
            raise InputError(
                f"the server did not start on {settings.host}:{settings.port}; its log above says "
                "why, and another --port may be free"
            ) from None
    show({"graph": str(settings.graph), "served_s": round(time.time() - started, 1)}, json)


def read_settings(given: dict[str, Any]) -> Any:
    """Settings from these options and the environment; an option left out is None."""
    from pydantic import ValidationError

    from sampling.errors import InputError
    from service.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        raise InputError(
            f"setting {name}: {first['msg']} (got {first['input']!r}); "
            f"give --{name.replace('_', '-')} or set GNN_{name.upper()}"
            if first["type"] != "missing"
            else f"no {name} was given; pass --{name.replace('_', '-')} or set GNN_{name.upper()}"
        ) from None
