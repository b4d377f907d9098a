"""Options that several commands share, and what their text means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AllowModules", "Debug", "Device", "Fanouts", "GraphPath", "Json", "ModelPath",
           "Overwrite", "Seed", "Size", "Threads", "parse_fanouts", "parse_shares", "parse_size",
           "refused"]  # fmt: skip

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
MAX_SEED = 2**63 - 1
MAX_FANOUT = 2**31 - 1
MAX_THREADS = 1024
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def refused(option: str, why: str) -> typer.BadParameter:
    """The refusal of a value that is looked into after all options have been read."""
    return typer.BadParameter(why, param_hint=f"'{option}'")


def parse_size(text: str, option: str = "--memory") -> int:
    """Bytes from "2GiB", "512MB", "1.5g" or "4096"; `option` is named where it cannot be read."""
    match = SIZE.fullmatch(str(text).strip())
    if match is None:
        raise refused(option, f"{text!r} is not a size; write 2GiB, 512MB or a number of bytes")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** POWERS[unit.lower()])


def parse_fanouts(text: str, option: str = "--fanouts") -> list[int]:
    """Neighbors per layer from "15,10"; the first entry belongs to the first layer."""
    try:
        fanouts = [int(part) for part in str(text).split(",")]
    except ValueError:
        raise refused(
            option, f"{text!r} is not a list of fanouts; write integers with commas, as in 15,10"
        ) from None
    if max(fanouts) > MAX_FANOUT:
        raise refused(option, f"{max(fanouts)} is above the largest fanout; -1 takes all")
    if min(fanouts) < -1:
        raise refused(option, f"{min(fanouts)} is below 0; -1 takes all neighbors")
    return fanouts


def parse_shares(text: str, option: str) -> tuple[float, float, float]:
    """Shares of train, val and test from "0.6,0.2,0.2"."""
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        raise refused(
            option, f"{text!r} is not three shares; write them with commas, as in 0.6,0.2,0.2"
        ) from None
    return train, val, test


AllowModules = Annotated[
    str | None,
    typer.Option(
        envvar="GNN_ALLOW_MODULES",
        show_envvar=False,
        help="Modules with commas that a model may import your convolution from; runs their code.",
    ),
]
GraphPath = Annotated[Path, typer.Argument(metavar="GRAPH", help="A graph directory.")]
ModelPath = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="MODELS/NAME for its newest version, or MODELS/NAME/3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Device = Annotated[
    str, typer.Option(help="auto: an accelerator where there is one; cpu, cuda, or cuda:N.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output if it is there, in one step.")
]
Seed = Annotated[
    int, typer.Option(min=0, max=MAX_SEED, help="All randomness follows from it; 0 to 2^63 - 1.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MAX_THREADS,
        help="Threads, at most 1024; all cores when left out.",
        show_default=False,
    ),
]
Fanouts = Annotated[
    str, typer.Option(help="Neighbors drawn per layer, first layer first; -1 takes all.")
]
Size = Annotated[
    str | None, typer.Option(metavar="SIZE", help="A bound that is kept, as in 2GiB or 512MB.")
]
