"""Accuracy on public data sets through the command line, beside published figures.

    python benchmarks/real_data.py FOLDER --results results.json [cora/gcn mutag/gin …]
    python benchmarks/real_data.py --table results.json

FOLDER holds a folder per data set. Every run is `gnn ingest` (or `ingest-graphs`) and `gnn train`
in new processes, as a user would type them. Finished runs are kept in the results file, so that an
interrupted table continues; `--table` prints it in Markdown with the commands.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments import EXPERIMENTS, Experiment
from link_experiments import LINK_EXPERIMENTS

ALL = [*EXPERIMENTS, *LINK_EXPERIMENTS]


def gnn(*arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints."""
    command = [sys.executable, "-m", "service.cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"gnn {shlex.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(experiment: Experiment, data: Path, work: Path) -> list[float]:
    """The metric of every run, in percent where it is a fraction."""
    if experiment.prepare:
        prepare = experiment.filled(experiment.prepare, data, work)
        subprocess.run([sys.executable, *prepare], check=True)
    for name, arguments in experiment.ingest.items():
        if not (work / name).exists():
            gnn(*experiment.filled(arguments, data, work), "--out", str(work / name))
    found = []
    for i in range(experiment.runs):
        train = experiment.filled(experiment.train, data, work)
        model = work / "models" / f"m{len(found)}"
        result = gnn("train", *train, experiment.varies, str(i), "--out", str(model))
        metrics = result["metrics"]["test"]
        for graph in experiment.tested_on:
            metrics = gnn("evaluate", str(work / graph), str(model), "--split", "test")["metrics"]
        found.append(metrics[experiment.metric] * experiment.scale)
        print(experiment.name, i, f"{found[-1]:.3f}", file=sys.stderr, flush=True)
    return found


def table(results: dict[str, list[float]]) -> str:
    """Markdown: measured beside published, and the commands."""
    lines = [
        "| data | model | metric | runs | measured | published | source |",
        "|---|---|---|---|---|---|---|",
    ]
    known = [e for e in ALL if e.name in results]
    for e in known:
        found = results[e.name]
        mean, deviation = statistics.mean(found), statistics.pstdev(found)
        lines.append(
            f"| {e.data} | {e.model} | {e.metric} | {len(found)} | {mean:.{e.digits}f} ± "
            f"{deviation:.{e.digits}f} | {e.published} | {e.source} |"
        )
    commands = ["", "```"]
    for e in known:
        commands += [f"# {e.name}"]
        if e.prepare:
            commands.append("python " + shlex.join(e.shown(e.prepare)))
        for name, arguments in e.ingest.items():
            commands.append("gnn " + shlex.join([*e.shown(arguments), "--out", name]))
        commands.append("gnn train " + shlex.join([*e.shown(e.train), e.varies, "0", "--out",
                                                   f"models/{e.data}"]))  # fmt: skip
    return "\n".join([*lines, *commands, "```"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--table", type=Path)
    chosen = parser.parse_intermixed_args()
    if chosen.table:
        print(table(json.loads(chosen.table.read_text())))
        return
    results = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    for experiment in ALL:
        wanted = not chosen.names or experiment.name in chosen.names
        if not wanted or experiment.name in results:
            continue
        with tempfile.TemporaryDirectory() as work:
            results[experiment.name] = run(experiment, chosen.folder, Path(work))
        chosen.results.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
