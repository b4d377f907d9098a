"""Edge features and positions through the command line: ingest, train, embed, predict, serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnn import load_model
from service.cli import main
from service.settings import Settings
from tests.service.inprocess import in_process

NODES, EDGES = 60, 300


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Nodes with places and classes, edges with two numbers each."""
    rng = np.random.default_rng(0)
    places, edges = rng.normal(size=(NODES, 3)), rng.integers(0, NODES, (EDGES, 2))
    rows = (
        f"{i},{'ab'[int(p[0] > 0)]},{p[0]:.4f},{p[1]:.4f},{p[2]:.4f}\n"
        for i, p in enumerate(places)
    )
    (tmp_path / "nodes.csv").write_text("id,label,x,y,z\n" + "".join(rows))
    numbers = rng.normal(size=(EDGES, 2))
    lines = (f"{a},{b},{u:.4f},{v:.4f}\n" for (a, b), (u, v) in zip(edges, numbers, strict=True))
    (tmp_path / "edges.csv").write_text("src,dst,length,speed\n" + "".join(lines))
    np.save(tmp_path / "x.npy", rng.normal(size=(NODES, 4)).astype(np.float32))
    return tmp_path


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def gnn(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What a command prints as its JSON."""
    capsys.readouterr()
    code = exit_code(*arguments, "--json")
    out = capsys.readouterr()
    assert code == 0, out.err
    answer: dict[str, Any] = json.loads(out.out.splitlines()[-1])
    return answer


def ingest(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> dict[str, Any]:
    return gnn(
        capsys, "ingest", "--edges", f"{folder}/edges.csv", "--nodes", f"{folder}/nodes.csv",
        "--features", f"{folder}/x.npy", "--undirected", "--random-split", "0.6,0.2,0.2",
        "--overwrite", "--out", f"{folder}/graph", *more,
    )  # fmt: skip


BOTH = ("--edge-features", "length,speed", "--positions", "x,y,z")


@pytest.mark.parametrize("conv", ["gine", "transformer", "egnn"])
def test_a_model_of_edge_features_goes_the_whole_way(
    files: Path, capsys: pytest.CaptureFixture[str], conv: str
) -> None:
    ingest(capsys, files, *BOTH)
    graph, models = files / "graph", files / "models"
    arrays = gnn(capsys, "info", str(graph))["arrays"]
    assert arrays["edge_features"].endswith("x2") and arrays["positions"].endswith(f"{NODES}x3")
    assert "ingest" in gnn(capsys, "plan", str(graph), "--model", conv)["steps"]
    gnn(
        capsys, "train", str(graph), "--out", f"{models}/{conv}", "--model", conv, "--epochs", "3",
        "--hidden", "8", "--threads", "1",
    )  # fmt: skip
    assert load_model(models / conv).model.config.d_edge == 2
    table = files / "table"
    gnn(capsys, "embed", str(graph), f"{models}/{conv}", "--out", str(table), "--predictions")
    rows = np.load(table / "predictions.npy")
    nodes = ",".join(map(str, range(NODES)))
    asked = gnn(capsys, "predict", str(graph), f"{models}/{conv}", "--nodes", nodes)
    said = [[p["probabilities"][name] for name in "ab"] for p in asked["predictions"]]
    assert np.abs(np.array(said) - rows).max() <= 1e-5
    settings = Settings(graph=graph, models=models, default_model=conv, rate_limit="")
    body = {"nodes": list(range(NODES)), "include": ["probabilities"], "mode": "exact"}
    with in_process(settings) as server:
        served = server.post("/v1/nodes/predict", json=body).json()["predictions"]
    got = [[p["probabilities"][name] for name in "ab"] for p in served]
    assert np.abs(np.array(got) - rows).max() <= 1e-5


def test_a_graph_without_positions_says_which_option_brings_them(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(capsys, files)
    code = exit_code("train", f"{files}/graph", "--out", f"{files}/m/x", "--model", "egnn")
    assert code == 2 and "--positions" in capsys.readouterr().err


def test_options_take_a_file_or_columns(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_ = ingest(capsys, files, *BOTH)["fingerprint"]
    table = np.loadtxt(files / "edges.csv", delimiter=",", skiprows=1)
    np.save(files / "rows.npy", table[:, 2:])
    places = np.loadtxt(files / "nodes.csv", delimiter=",", skiprows=1, usecols=(2, 3, 4))
    np.save(files / "places.npy", places)
    by_files = ingest(
        capsys, files, "--edge-features", f"{files}/rows.npy", "--positions", f"{files}/places.npy"
    )
    assert by_files["fingerprint"] == print_
