"""`gnn serve`: the REST service, in this process and its workers."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.commands.options import Debug, Json
from service.console import show

__all__ = ["serve"]

SECRET = ("redis_url", "api_keys")
"""Settings whose value no message repeats."""
OPTIONS = {"redis_url": "redis", "otlp_endpoint": "otlp"}
"""Options that are not called as their setting is."""


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
    redis: Annotated[
        str | None,
        typer.Option(help="Redis of shared embeddings and of the jobs for `gnn worker`."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 when left out.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 8000 when left out, 0: a free one.")
    ] = None,
    uds: Annotated[
        Path | None, typer.Option(help="Unix socket to listen on in place of a port.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Server processes; they share the graph.")
    ] = None,
    default_model: Annotated[
        str | None, typer.Option(help="Model that answers to the name `default`.")
    ] = None,
    api_keys_file: Annotated[
        Path | None, typer.Option(help="API keys, as `gnn key` writes them.")
    ] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Listen beyond loopback without keys.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings, under their names.")
    ] = None,
    allow_modules: Annotated[
        str | None, typer.Option(help="Modules with commas that a model may import from.")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, typer.Option(help="Least to log.")
    ] = None,
    jobs: Annotated[
        Path | None, typer.Option(help="Directory of batch jobs; `jobs` beside the models.")
    ] = None,
    no_jobs: Annotated[
        bool, typer.Option("--no-jobs", help="Run no jobs here; leave them to `gnn worker`.")
    ] = False,
    otlp: Annotated[
        str | None, typer.Option(help="Collector of traces, as in http://127.0.0.1:4318.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve a graph and its models over HTTP until SIGTERM or Ctrl-C.

    A setting is an option, else an environment variable that starts with GNN_, else in the
    --config file, else its default: see docs/settings.md.
    """
    from sampling.errors import InputError
    from service.server import run_server

    given = {
        "graph": graph,
        "models": models,
        "embeddings": embeddings,
        "host": host,
        "port": port,
        "uds": uds,
        "workers": workers,
        "api_keys_file": api_keys_file,
        "allow_anonymous": allow_anonymous or None,
        "default_model": default_model,
        "log_level": log_level,
        "allow_modules": allow_modules,
        "jobs": jobs,
        "redis_url": redis,
        "run_jobs": False if no_jobs else None,
        "otlp_endpoint": otlp,
    }
    settings = read_settings(given, config)
    started = time.time()
    try:
        run_server(settings)
    except SystemExit as error:
        if error.code:
            address = f"{settings.host}:{settings.port}"
            raise InputError(
                f"the server did not start on {settings.uds or address}; its log above says "
                "why, and another --port may be free"
            ) from None
    show({"graph": str(settings.graph), "served_s": round(time.time() - started, 1)}, json)


def read_settings(given: dict[str, Any], config: Path | None = None) -> Any:
    """Settings from these options, the environment and a file; an option left out is None."""
    from pydantic import ValidationError

    from sampling.errors import InputError
    from service.settings import Settings

    values = {} if config is None else read_file(config)
    environment = {name.upper() for name in os.environ}
    values = {k: v for k, v in values.items() if f"GNN_{k.upper()}" not in environment}
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        got = "" if name in SECRET else f" (got {first['input']!r})"
        option = OPTIONS.get(name, name.replace("_", "-"))
        raise InputError(
            f"setting {name}: {first['msg']}{got}; give --{option} or set GNN_{name.upper()}"
            if first["type"] != "missing"
            else f"no {name} was given; pass --{option} or set GNN_{name.upper()}"
        ) from None


def read_file(path: Path) -> dict[str, Any]:
    """The settings of a TOML file.

    Raises:
        InputError: it is no TOML, or names something that is no setting.
    """
    from sampling.errors import InputError
    from service.settings import Settings

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML ({error}); write lines as in `port = 8000`") from None
    unknown = sorted(values.keys() - Settings.model_fields.keys())
    if unknown:
        raise InputError(f"{path}: {unknown[0]!r} is no setting; docs/settings.md has them all")
    return values
