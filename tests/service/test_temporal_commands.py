"""`gnn train --temporal`: from a table with times to metrics that `gnn evaluate` repeats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from service.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code), json.loads(out.splitlines()[-1]) if out else {}, err


def tables(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 20, (2, 300))
    edges = [f"n{a},n{b},{t}" for t, (a, b) in enumerate(zip(src, dst, strict=True))]
    (folder / "edges.csv").write_text("\n".join(["src,dst,time", *edges]))
    nodes = [f"n{i},{'ab'[i % 2]},{100 + i}" for i in range(20)]
    (folder / "nodes.csv").write_text("\n".join(["id,label,time", *nodes]))
    return folder / "edges.csv", folder / "nodes.csv"


def test_edges_and_nodes_are_trained_in_time_and_measured_again(tmp_path: Path, capsys):
    edges, nodes = tables(tmp_path)
    graph, models = tmp_path / "graph", tmp_path / "models"
    code, _, err = said(capsys, "ingest", "--edges", edges, "--nodes", nodes, "--reverse-edges",
                    "--out", graph, "--json")  # fmt: skip
    assert code == 0, err
    common = ("--temporal", "--epochs", 1, "--hidden", 8, "--layers", 2, "--json", "--threads", 1)
    for task, conv, metric in (("link-prediction", "tgat", "average_precision"),
                               ("node-classification", "sage", "accuracy")):  # fmt: skip
        out = models / task
        code, made, _ = said(
            capsys, "train", graph, "--out", out, "--task", task, "--model", conv, *common
        )
        assert code == 0
        assert json.loads((out / "1" / "model.json").read_text())["training"]["temporal"] is True
        code, again, _ = said(capsys, "evaluate", graph, out, "--split", "test", "--json")
        assert (code, again["metrics"]["test"]) == (0, made["metrics"]["test"])
        assert 0 <= again["metrics"]["test"][metric] <= 1


def test_a_graph_without_times_is_one_sentence(tmp_path: Path, capsys):
    (tmp_path / "e.csv").write_text("src,dst\n0,1\n1,2\n2,0")
    graph = tmp_path / "graph"
    assert said(capsys, "ingest", "--edges", tmp_path / "e.csv", "--out", graph, "--json")[0] == 0
    code, _, err = said(capsys, "train", graph, "--out", tmp_path / "m", "--temporal",
                        "--task", "link-prediction")  # fmt: skip
    assert code == 2
    assert "has no edge times, which temporal training reads; ingest a time column" in err
    assert "Traceback" not in err
