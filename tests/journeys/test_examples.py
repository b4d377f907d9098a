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


@pytest.mark.parametrize(
    ("name", "model"), [("own_pyg_layer", "mine"), ("from_pyg_dataset", "papers")]
)
def test_an_example_runs_and_learns(tmp_path: Path, name: str, model: str):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", tmp_path],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) > 0.8
    assert model_info(tmp_path / "models" / model / "1").graph_name
    assert open_data(tmp_path / "graph").graph.num_edges
