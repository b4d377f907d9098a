"""`gnn tune`: the best of several trainings, over a declared space of settings."""

from __future__ import annotations

import shutil
import time
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Debug, Device, GraphPath, Json, Seed, Threads
from service.commands.train import Task
from service.console import Progress, show

if TYPE_CHECKING:
    from gnn.tune import Trial

__all__ = ["tune"]

UNFINISHED = ".tuning"


def tune(
    graph: GraphPath,
    out: Annotated[Path, typer.Option(help="MODELS/NAME; gets the best trial, trained again.")],
    space: Annotated[Path, typer.Option(dir_okay=False, help="TOML file of what may be chosen.")],
    task: Annotated[Task, typer.Option(help="What to predict.")] = "node-classification",
    trials: Annotated[int, typer.Option(min=1, help="Trainings to compare.")] = 20,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no further trial begins.")
    ] = None,
    temporal: Annotated[
        bool, typer.Option("--temporal", help="Respect time, as for gnn train.")
    ] = False,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a search that was killed.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Search for settings, then train with the best and write it to MODELS/NAME/<version>/."""
    from gnn import tune as search
    from gnn.data import open_data
    from gnn.metrics import LOWER_IS_BETTER
    from gnn.model_paths import check_name
    from gnn.space import Purpose, Space, settings_of
    from service.commands.train import run_training

    check_name(out.name)
    declared, data = Space.parse(_read(space)), open_data(graph)
    folder = out / UNFINISHED
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    purpose = Purpose(task=task, temporal=temporal, seed=seed, num_threads=threads, device=device)
    monitor = search.monitor_of(data, declared, purpose)
    found: list[Trial] = []
    started = time.perf_counter()
    with Progress("trials") as progress:
        for trial in search.tune(
            data, declared, folder / "journal.log", purpose=purpose, monitor=monitor,
            trials=trials, timeout_s=timeout,
        ):  # fmt: skip
            found.append(trial)
            progress.update("tune", len(found), trials, f"{trial.state} {trial.value}")
    best = search.best_of(found, monitor in LOWER_IS_BETTER)
    searched_s = time.perf_counter() - started
    settings = settings_of(data, purpose, best.settings)
    result = run_training(data, *settings, out)
    shutil.rmtree(folder, ignore_errors=True)
    show(
        {
            **result,
            "monitor": monitor,
            "best_trial": best.number,
            "best_settings": best.settings,
            "trials": [asdict(trial) for trial in found],
            "search_seconds": round(searched_s, 3),
        },
        json,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{path} is not TOML: {error}") from None
    return {key.replace("-", "_"): value for key, value in content.items()}
