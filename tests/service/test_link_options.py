"""`gnn train` on links: what the options say is done, and what would be ignored is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code), out, err


@pytest.fixture
def graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A ring with chords of two types."""
    lines = [f"{i},{(i + step) % 30},t{step}" for i in range(30) for step in (1, 7)]
    (tmp_path / "edges.csv").write_text("\n".join(["src,dst,type", *lines]))
    code, _, err = said(capsys, "ingest", "--edges", tmp_path / "edges.csv", "--reverse-edges",
                        "--out", tmp_path / "graph", "--json")  # fmt: skip
    assert code == 0, err
    return tmp_path / "graph"


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--class-weights", "balanced", "class_weights"), ("--focal-gamma", 1, "focal_gamma"),
        ("--label-smoothing", 0.1, "label_smoothing"),
        ("--conformal-alpha", 0.2, "conformal_alpha"),
        ("--split-index", 1, "split_index"), ("--eval-fanouts", "3", "eval_fanouts"),
        ("--strategy", "uniform", "strategy"), ("--objective", "dgi", "objective"),
        ("--balanced-seeds", None, "balanced_seeds"), ("--n3-decay", -1, "n3_decay"),
        ("--temperature", 0, "temperature"),
    ],
)  # fmt: skip
def test_an_option_that_links_do_not_read_is_one_sentence(
    graph: Path, capsys: pytest.CaptureFixture[str], option: str, value: object, named: str
):
    given = [option] if value is None else [option, value]
    code, _, err = said(capsys, "train", graph, "--task", "link-prediction", *given,
                        "--out", graph.parent / "m")  # fmt: skip
    assert code == 2
    assert named in err
    assert "Traceback" not in err


def test_an_option_of_links_is_refused_by_other_tasks(
    graph: Path, capsys: pytest.CaptureFixture[str]
):
    for given in (
        ("--link-loss", "bpr"),
        ("--keep-targets",),
        ("--n3-decay", 0.1),
        ("--temperature", 1),
    ):
        code, _, err = said(capsys, "train", graph, *given, "--out", graph.parent / "m")
        assert code == 2
        assert "it is for link-prediction" in err


def test_the_options_of_links_reach_the_model(graph: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = said(
        capsys, "train", graph, "--task", "link-prediction", "--model", "identity", "--n3-decay",
        0.1, "--max-train-seeds", 20, "--epochs", 1, "--hidden", 4, "--threads", 1, "--json",
        "--out", graph.parent / "models" / "m",
    )  # fmt: skip
    assert code == 0, err
    assert 0 < json.loads(out.splitlines()[-1])["metrics"]["test"]["mrr"] <= 1
    described = json.loads((graph.parent / "models" / "m" / "1" / "model.json").read_text())
    assert described["training"]["n3_decay"] == 0.1
    assert described["training"]["max_train_seeds"] == 20
