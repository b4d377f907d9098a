"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gnn.checkpoint import model_info
from gnn.data import open_data

ROOT = Path(__file__).resolve().parent.parent.parent


def output_of(name: str, *arguments: object) -> list[str]:
    """The lines that an example prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", *map(str, arguments)],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "model"), [("own_pyg_layer", "mine"), ("from_pyg_dataset", "papers")]
)
def test_an_example_runs_and_learns(tmp_path: Path, name: str, model: str):
    assert float(output_of(name, tmp_path)[-1]) > 0.8
    assert model_info(tmp_path / "models" / model / "1").graph_name
    assert open_data(tmp_path / "graph").graph.num_edges


@pytest.mark.parametrize("layer", ["gen", "edge_gat"])
def test_a_layer_of_a_library_learns_and_answers_as_its_table_does(tmp_path: Path, layer: str):
    *_, served, accuracy = output_of("library_layers", tmp_path, layer)
    assert float(accuracy) > 0.85
    label, score, label_anew, score_anew = served.rpartition(": ")[2].split()
    assert label == label_anew
    assert float(score.strip("()")) == pytest.approx(float(score_anew.strip("()")), abs=2e-4)
    info = model_info(tmp_path / "models" / layer / "1")
    assert info.config.conv == f"module:library_layers:{layer}" and info.config.d_edge == 1
