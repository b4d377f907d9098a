"""Typed graphs and several labels through the command line: ingest, train, evaluate, predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from service.cli import main
from service.commands.ingest import repeat_options
from service.described import NodeDescription
from service.errors import NewNodeError, OverlayError
from service.jobs.results import _answers as result_columns
from service.overlay import EdgeEdits
from service.predictor import open_predictor
from service.settings import Settings

NUM_NODES = 40


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Authors with words and papers without, and the topics of the authors."""
    rng = np.random.default_rng(0)
    words = (rng.random((NUM_NODES, 6)) < 0.4).astype(np.float32)
    np.save(tmp_path / "words.npy", words)
    ids = "id\n" + "".join(f"{i}\n" for i in range(NUM_NODES))
    (tmp_path / "author.csv").write_text(ids)
    (tmp_path / "paper.csv").write_text(ids)
    edges = rng.integers(0, NUM_NODES, (120, 2))
    rows = "".join(f"{a},{b}\n" for a, b in edges)
    (tmp_path / "writes.csv").write_text("src,dst\n" + rows)
    pairs = "".join(f"{i},t{c}\n" for i in range(NUM_NODES) for c in range(3) if words[i, c])
    empty = "".join(f"{i},\n" for i in range(NUM_NODES) if not words[i, :3].any())
    (tmp_path / "topics.csv").write_text("id,label\n" + pairs + empty)
    return tmp_path


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def gnn(capsys, *arguments: str) -> dict:
    """What a command prints as its JSON."""
    capsys.readouterr()
    code = exit_code(*arguments, "--json")
    out = capsys.readouterr()
    assert code == 0, out.err
    return json.loads(out.out.splitlines()[-1])


def ingest(capsys, folder: Path) -> dict:
    return gnn(
        capsys, "ingest", "--nodes", f"author={folder}/author.csv", f"paper={folder}/paper.csv",
        "--edges", f"author:writes:paper={folder}/writes.csv", "--id-prefix", "--reverse-edges",
        "--features", f"author={folder}/words.npy", "--labels", f"author={folder}/topics.csv",
        "--random-split", "0.6,0.2,0.2", "--out", f"{folder}/graph",
    )  # fmt: skip


def test_lists_of_typed_files_follow_one_option() -> None:
    given = ["ingest", "--features", "a=1", "b=2", "--labels", "c", "d", "--out", "g"]
    assert repeat_options(given) == [
        "ingest", "--features", "a=1", "--features", "b=2", "--labels", "c", "--labels", "d",
        "--out", "g",
    ]  # fmt: skip


def test_a_typed_graph_with_several_labels_goes_the_whole_way(files: Path, capsys) -> None:
    found = ingest(capsys, files)
    assert found["node_types"] == ["author", "paper"]
    assert found["edge_types"] == ["rev_writes", "writes"]
    assert found["feature_widths"] == {"author": 6, "paper": 0}
    about = gnn(capsys, "info", f"{files}/graph")
    assert about["labels"]["kind"] == "multi" and about["labels"]["labeled"] == NUM_NODES
    trained = gnn(
        capsys, "train", f"{files}/graph", "--out", f"{files}/models/topics", "--model", "rgcn",
        "--epochs", "15", "--threads", "1",
    )  # fmt: skip
    assert set(trained["metrics"]["test"]) >= {"micro_f1", "macro_f1@k", "average_precision"}
    card = (files / "models/topics/1/card.md").read_text()
    assert "| class | precision | recall | f1 | average precision | support |" in card
    assert f"- {NUM_NODES} nodes with labels: `t0` " in card
    assert "### Confusion" not in card and "### Calibration" not in card
    line = next(line for line in card.splitlines() if line.startswith("| `t0` |"))
    assert all(0 <= float(cell) <= 1 for cell in line.split(" | ")[1:5])
    for option, value in (("--label-smoothing", "0.1"), ("--balanced-seeds", None)):
        given = [option] if value is None else [option, value]
        arguments = ["train", f"{files}/graph", "--out", f"{files}/models/no", *given]
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr().err
        assert ended.value.code == 2 and "several labels each; leave it out" in said
        assert "Traceback" not in said
    again = gnn(capsys, "evaluate", f"{files}/graph", f"{files}/models/topics")
    assert again["metrics"]["test"] == pytest.approx(trained["metrics"]["test"])
    answer = gnn(
        capsys, "predict", f"{files}/graph", f"{files}/models/topics",
        "--nodes", "author:0,author:1,paper:0",
    )  # fmt: skip
    for entry in answer["predictions"]:
        chosen = [name for name, p in entry["probabilities"].items() if p > 0.5]
        assert entry["labels"] == chosen and "label" not in entry
    predictor = open_predictor(files / "graph", files / "models", None, Settings(
        graph=files / "graph", models=files / "models"))  # fmt: skip
    with pytest.raises(NewNodeError, match="choose another model"):
        predictor.predict([], new_nodes=[NodeDescription("new", [0.0] * 6)])
    with pytest.raises(OverlayError, match="choose another model"):
        predictor.predict(["author:0"], overlay=EdgeEdits([("paper:0", "author:0")]))
    model = predictor.registry.get("topics")
    columns = result_columns(np.array([[0.9, 0.2, 0.6]], np.float32), model, ("label",))
    assert columns["labels"].to_pylist() == [["t0", "t2"]]
    out = files / "answers.csv"
    gnn(
        capsys, "predict", f"{files}/graph", f"{files}/models/topics", "--nodes", "author:0",
        "--out", str(out),
    )  # fmt: skip
    with out.open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["probabilities.t0"]) == pytest.approx(
        answer["predictions"][0]["probabilities"]["t0"], abs=1e-6
    )


def test_a_wrong_type_is_one_sentence(files: Path, capsys) -> None:
    code = exit_code(
        "ingest", "--nodes", f"author={files}/author.csv", "--features", f"x={files}/words.npy",
        "--out", f"{files}/graph",
    )  # fmt: skip
    assert code == 2
    assert "node type 'x', and there is author" in capsys.readouterr().err
    assert not (files / "graph").exists()
