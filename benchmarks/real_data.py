"""Accuracy on public data sets through the command line, beside published figures.

    python benchmarks/real_data.py FOLDER --results results.json [cora/gcn mutag/gin …] [--runs N]
    python benchmarks/real_data.py --table results.json

FOLDER holds a folder per data set. Every run is `gnn ingest` (or `ingest-graphs`) and `gnn train`
in new processes, as a user would type them. Every finished run is kept in the results file, so that
an interrupted table continues; `--table` prints it in Markdown with the commands.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments import EXPERIMENTS, Experiment
from link_experiments import LINK_EXPERIMENTS

ALL = [*EXPERIMENTS, *LINK_EXPERIMENTS]

Results = dict[str, list[float]]


def gnn(*arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints."""
    command = [sys.executable, "-m", "service.cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"gnn {shlex.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(experiment: Experiment, data: Path, first: int, runs: int) -> Iterator[list[float]]:
    """The metric of every run from `first` on, by row, in percent where it is a fraction."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if experiment.prepare:
            prepare = experiment.filled(experiment.prepare, data, work)
            subprocess.run([sys.executable, *prepare], check=True)
        for name, arguments in experiment.ingest.items():
            gnn(*experiment.filled(arguments, data, work), "--out", str(work / name))
        train = experiment.filled(experiment.train, data, work)
        for i in range(first, runs):
            model = str(work / "models" / f"m{i}")
            result = gnn("train", *train, experiment.varies, str(i), "--out", model)
            found = [result["metrics"]] if not experiment.tested_on else [
                gnn("evaluate", str(work / graph), model, "--split", "test")["metrics"]
                for graph in experiment.tested_on
            ]  # fmt: skip
            yield [f["test"][experiment.metric] * experiment.scale for f in found]


def finish(experiment: Experiment, data: Path, runs: int | None, results: Path) -> None:
    """Run what is missing of an experiment, and keep every run when it is there."""
    kept = read(results)
    first = min(len(kept.get(row, [])) for row in experiment.rows)
    wanted = experiment.runs if runs is None else min(runs, experiment.runs)
    if first >= wanted:
        return
    for i, values in enumerate(run(experiment, data, first, wanted), first):
        kept = read(results)
        for row, value in zip(experiment.rows, values, strict=True):
            kept[row] = [*kept.get(row, [])[:i], value]
        results.write_text(json.dumps(kept, indent=1))
        print(experiment.name, i, *(f"{v:.3f}" for v in values), file=sys.stderr, flush=True)


def read(results: Path) -> Results:
    """All runs so far."""
    kept: Results = json.loads(results.read_text()) if results.exists() else {}
    return kept


def table(results: Results) -> str:
    """Markdown: measured beside published, and the commands."""
    lines = [
        "| data | model | metric | runs | measured | published | source |",
        "|---|---|---|---|---|---|---|",
    ]
    known = [e for e in ALL if any(row in results for row in e.rows)]
    for e in known:
        lines += [line(e, row, results[row]) for row in e.rows if row in results]
    return "\n".join([*lines, "", "```", *(c for e in known for c in commands(e)), "```"])


def line(experiment: Experiment, row: str, found: list[float]) -> str:
    """One row of the table."""
    e, (data, model) = experiment, row.split("/")
    measured = f"{statistics.mean(found):.{e.digits}f}"
    if len(found) > 1:
        measured += f" ± {statistics.pstdev(found):.{e.digits}f}"
    published = e.tested_on.get(data, e.published)
    cells = data, model, e.metric, str(len(found)), measured, published, e.source
    return f"| {' | '.join(cells)} |"


def commands(e: Experiment) -> list[str]:
    """What the first run types."""
    typed, model = [f"# {e.name}"], f"models/{e.data}"
    if e.prepare:
        typed.append("python " + shlex.join(e.shown(e.prepare)))
    for name, arguments in e.ingest.items():
        typed.append("gnn " + shlex.join([*e.shown(arguments), "--out", name]))
    typed.append("gnn train " + shlex.join([*e.shown(e.train), e.varies, "0", "--out", model]))
    typed += [f"gnn evaluate {graph} {model} --split test" for graph in e.tested_on]
    return typed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--runs", type=int, help="at most; as many as the source has if left out")
    parser.add_argument("--table", type=Path)
    chosen = parser.parse_intermixed_args()
    if chosen.table:
        print(table(read(chosen.table)))
        return
    for experiment in ALL:
        if not chosen.names or experiment.name in chosen.names:
            finish(experiment, chosen.folder, chosen.runs, chosen.results)


if __name__ == "__main__":
    main()
