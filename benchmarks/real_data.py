"""Test accuracy on public data sets through the command line, beside published figures.

    python benchmarks/real_data.py FOLDER [cora citeseer pubmed coauthor_cs facebook_pagepage]

FOLDER holds a folder per data set with `edges`, `nodes`, `features.npz` and, for Coauthor CS,
`splits.npz`. Every run is `gnn ingest` and `gnn train` with the recipe of the convolution; a
table in Markdown is printed at the end.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Experiment:
    """One data set: what is run, how often, and what was published."""

    name: str
    model: str
    published: str
    train: tuple[str, ...] = ()
    runs: int = 10
    varies: str = "--seed"


EXPERIMENTS = {
    e.name: e
    for e in [
        Experiment("cora", "gcn", "81.5 (Kipf, Welling 2017)"),
        Experiment("citeseer", "gcn", "70.3 (Kipf, Welling 2017)"),
        Experiment("pubmed", "gcn", "79.0 (Kipf, Welling 2017)"),
        Experiment("coauthor_cs", "sage", "91.3 (Shchur et al. 2018)", varies="--split-index"),
        Experiment(
            "facebook_pagepage", "sage", "label propagation 91.7", ("--epochs", "6"), runs=3
        ),
    ]
}


def gnn(*arguments: str) -> dict:
    """The JSON object that a command prints."""
    command = [sys.executable, "-m", "service.cli", *arguments, "--json"]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def ingest(folder: Path, out: Path) -> None:
    def file(stem: str) -> str:
        return str(next(folder.glob(f"{stem}.*")))

    splits = folder / "splits.npz"
    gnn(
        "ingest", "--edges", file("edges"), "--nodes", file("nodes"),
        "--features", file("features"), "--undirected", "--out", str(out),
        *(("--splits", str(splits)) if splits.exists() else ()),
    )  # fmt: skip


def accuracies(experiment: Experiment, data: Path, work: Path) -> list[float]:
    graph = work / experiment.name
    ingest(data / experiment.name, graph)
    found = []
    for run in range(experiment.runs):
        result = gnn(
            "train", str(graph), "--out", str(work / "models" / experiment.name),
            "--task", "node-classification", "--model", experiment.model,
            experiment.varies, str(run), *experiment.train,
        )  # fmt: skip
        found.append(100 * result["metrics"]["test"]["accuracy"])
        print(experiment.name, run, f"{found[-1]:.2f}", file=sys.stderr, flush=True)
    return found


def main(data: Path, names: list[str]) -> None:
    print("| data | model | runs | test accuracy | published |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for name in names or EXPERIMENTS:
            experiment = EXPERIMENTS[name]
            found = accuracies(experiment, data, Path(work))
            mean, deviation = statistics.mean(found), statistics.pstdev(found)
            print(
                f"| {name} | {experiment.model} | {len(found)} | {mean:.2f} ± {deviation:.2f} "
                f"| {experiment.published} |",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
