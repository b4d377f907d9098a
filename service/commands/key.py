"""`gnn key`: makes an API key and the line that the server keeps of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import Debug, Json
from service.console import note, show

__all__ = ["key"]


def key(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits and ._-")],
    scopes: Annotated[
        str, typer.Option(help="What it opens, with commas: read, predict, admin.")
    ] = "read,predict",
    file: Annotated[
        Path | None, typer.Option(help="Keys file to add the line to; made where it is not there.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make an API key: it is shown once, and only its SHA-256 is kept.

    A name may have two keys, so that one can be replaced while the other still works.
    """
    from service.keys import new_key

    secret, line = new_key(name, [scope.strip() for scope in scopes.split(",")])
    if file is not None:
        add_line(file, line)
        note(f"added to {file}; servers that read it notice within seconds")
    show({"name": name, "key": secret, "line": line}, json)


def add_line(path: Path, line: str) -> None:
    """Add a key to a file that stays valid, readable by its owner alone.

    Raises:
        InputError: the file would not be valid with it, and is left as it was.
    """
    from service.keys import KeyRing

    text = path.read_text(encoding="utf-8") if path.exists() else ""
    text = f"{text.rstrip()}\n{line}\n".lstrip()
    KeyRing.parse(text, str(path))
    temporary = path.with_name(f".{path.name}.partial")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
