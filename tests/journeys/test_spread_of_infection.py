"""The files of an infection's record hold no future, and the commands read them."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "examples" / "spread_of_infection.py"
DAYS, REGIONS, HORIZON = 45, 6, 3


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spread_of_infection", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(folder: Path, changed_from: int = DAYS) -> tuple[Path, Path]:
    """A made-up record; from one day on everything is different."""
    rng = np.random.default_rng(0)
    cases = rng.poisson(20, (DAYS, REGIONS))
    moves = np.array([(d, *rng.choice(REGIONS, 2), rng.integers(1, 9)) for d in range(DAYS)] * 4)
    cases[changed_from:] += 100
    late = moves[:, 0] >= changed_from
    moves[late, 2] = (moves[late, 2] + 1) % REGIONS
    folder.mkdir()
    names = ",".join(f"r{i}" for i in range(REGIONS))
    rows = "\n".join(f"{d}," + ",".join(map(str, row)) for d, row in enumerate(cases.tolist()))
    (folder / "cases.csv").write_text(f"day,{names}\n{rows}\n")
    lines = "\n".join(",".join(map(str, row)) for row in moves.tolist())
    (folder / "moves.csv").write_text(f"day,src,dst,weight\n{lines}\n")
    return folder / "cases.csv", folder / "moves.csv"


def written(example: ModuleType, folder: Path, changed_from: int = DAYS) -> dict[str, Any]:
    files, out = record(folder, changed_from), folder / "out"
    counts = example.write(*files, out, HORIZON)
    rows = list(csv.DictReader((out / "nodes.csv").read_text().splitlines()))
    lines = (out / "edges.csv").read_text().splitlines()
    edges = sorted(tuple(row.values()) for row in csv.DictReader(lines))
    return {
        "days": np.array([int(row["id"].split("@")[1]) for row in rows]),
        "labels": np.array([float(row["label"]) for row in rows]),
        "features": np.load(out / "features.npy"),
        "splits": np.load(out / "splits.npz")["split"],
        "edges": edges,
        "weeks": counts["weeks"],
    }


def test_features_and_movements_of_a_day_hold_nothing_later(example: ModuleType, tmp_path: Path):
    today = 30
    one, other = written(example, tmp_path / "a"), written(example, tmp_path / "b", today + 1)
    until = one["days"] <= today
    assert np.array_equal(one["features"][until], other["features"][until])
    assert not np.array_equal(one["features"][~until], other["features"][~until])

    def known(edges: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        return [edge for edge in edges if int(edge[0].split("@")[1]) <= today]

    assert known(one["edges"]) == known(other["edges"])
    assert all(a.split("@")[1] == b.split("@")[1] for a, b, *_ in one["edges"])


def test_labels_are_the_cases_so_many_days_later(example: ModuleType, tmp_path: Path):
    found = written(example, tmp_path / "a")
    later = found["days"] + HORIZON
    latest = found["features"][:, 0] * 10
    for day in np.unique(later[later < found["days"].max()]):
        known = found["labels"][later == day]
        np.testing.assert_allclose(known, latest[found["days"] == day], rtol=1e-6)


def test_a_week_is_forecast_from_outcomes_that_were_known_at_its_beginning(
    example: ModuleType, tmp_path: Path
):
    found = written(example, tmp_path / "a")
    assert found["weeks"] == list(range(21, DAYS - HORIZON - 6, 7))
    for part, today in zip(found["splits"].T, found["weeks"], strict=True):
        outcome = found["days"] + HORIZON
        assert set(found["days"][part == 3]) == set(range(today, today + 7))
        assert outcome[np.isin(part, (1, 2))].max() == today
        assert outcome[part == 1].max() < outcome[part == 2].min()


def test_the_commands_read_the_files(tmp_path: Path):
    cases, moves = record(tmp_path / "a")
    out, graph = tmp_path / "a" / "out", tmp_path / "graph"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*arguments: object) -> dict[str, Any]:
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    counts = run(FILE, cases, moves, out, "--horizon", HORIZON)
    gnn = "-m", "service.cli"
    made = run(*gnn, "ingest", "--edges", out / "edges.csv", "--nodes", out / "nodes.csv",
               "--features", out / "features.npy", "--splits", out / "splits.npz",
               "--out", graph, "--json")  # fmt: skip
    assert (made["num_nodes"], made["num_splits"]) == (counts["nodes"], len(counts["weeks"]))
    trained = run(*gnn, "train", graph, "--task", "node-regression", "--aggregator", "weighted",
                  "--epochs", 2, "--split-index", 1, "--out", tmp_path / "models" / "m",
                  "--json")  # fmt: skip
    assert trained["metrics"]["test"]["mae"] > 0
