"""A user's own layers of PyG and DGL, trained, embedded and served by the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnn.checkpoint import load_model
from gnn.embeddings import EmbeddingTable
from sampling import Dataset, Graph, GraphStore, NodeIds
from service.cli import main
from service.predictor import open_predictor
from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
LAYERS = """
from gnn.bridges.convs import DGLConv, PyGConv


def pyg_sage(config, at):
    from torch_geometric.nn import SAGEConv

    return PyGConv(SAGEConv(at.d_in, at.d_out), at.d_out)


def pyg_gat(config, at):
    from torch_geometric.nn import GATConv

    conv = GATConv((at.d_in, at.d_in), at.d_out // config.heads, heads=config.heads)
    return PyGConv(conv, at.d_out)


def dgl_sage(config, at):
    from dgl.nn import SAGEConv

    return DGLConv(SAGEConv(at.d_in, at.d_out, "mean"), at.d_out)
"""


def small_data() -> Dataset:
    """900 nodes; node i has id i + 100."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 8)).astype(np.float32)
    return Dataset.in_memory(
        Graph.from_edges(*rng.integers(0, 890, (2, 4000)), num_nodes=900),
        features=x,
        labels=x[:, :3].argmax(axis=1),
        ids=NodeIds.range(900, 100),
    )


@pytest.fixture
def gnn(capfd) -> Callable[..., Any]:
    """Runs a command here; its JSON, or what it says on stderr where it must fail."""

    def run(*arguments: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--json"])
        out, said = capfd.readouterr()
        assert (ended.value.code or 0) == code, said
        return json.loads(out.splitlines()[-1]) if code == 0 else said

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "my_layers.py").write_text(LAYERS)
    GraphStore.write(tmp_path / "graph", small_data())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("my_layers", None)


@pytest.mark.parametrize("function", ["pyg_sage", "pyg_gat", "dgl_sage"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch_geometric's own import
def test_an_own_layer_is_trained_embedded_and_served(folder, gnn, function):
    own = f"module:my_layers:{function}"
    trained = gnn("train", "graph", "--out", "models/default", "--model", own, "--hidden",
                  "16", "--heads", "2", "--epochs", "2", "--fanouts", "4,3")  # fmt: skip
    assert trained["epochs"] == 2
    allow = ["--allow-modules", "my_layers"]
    measured = gnn("evaluate", "graph", "models/default", *allow)
    assert measured["metrics"]["test"] == trained["metrics"]["test"]
    gnn("embed", "graph", "models/default", "--out", "table", "--tile-rows", "128", *allow)

    saved, data = load_model("models/default", ["my_layers"]), GraphStore.open("graph")
    assert saved.info.config.conv == own
    rows = data.features.rows(0, data.graph.num_nodes)
    with torch.inference_mode():
        expected = saved.model.encode([data.graph.block()] * 2, rows)
    table = EmbeddingTable.open("table")
    np.testing.assert_allclose(table.embeddings, expected.numpy(), rtol=1e-5, atol=1e-5)

    settings = Settings(graph="graph", models="models", allow_modules="my_layers")
    predictor = open_predictor(Path("graph"), Path("models"), Path("table"), settings)
    asked = [100, 101, 107, 999]
    answers = {
        mode: predictor.predict(asked, mode=mode, include=["embedding"]).predictions
        for mode in ("table", "exact")
    }
    for mode, found in answers.items():
        got = np.array([entry["embedding"] for entry in found])
        np.testing.assert_allclose(
            got, expected[[0, 1, 7, 899]].numpy(), rtol=1e-5, atol=1e-5, err_msg=mode
        )


def test_commands_run_no_code_that_was_not_allowed(folder, gnn):
    marker = "\nfrom pathlib import Path\nPath('ran').touch()\n"
    gnn("train", "graph", "--out", "models/default", "--model", "module:my_layers:dgl_sage",
        "--epochs", "1", "--hidden", "8")  # fmt: skip
    (folder / "my_layers.py").write_text(LAYERS + marker)
    refused = [
        ["evaluate", "graph", "models/default"],
        ["embed", "graph", "models/default", "--out", "table"],
        ["predict", "graph", "models/default", "--nodes", "100"],
    ]
    del sys.modules["my_layers"]
    for arguments in refused:
        said = gnn(*arguments, code=2)
        assert "--allow-modules my_layers" in said
        assert "Traceback" not in said
    serve = "from service.cli import main; main(['serve', '--port', '0'])"
    environment = {**os.environ, "GNN_GRAPH": "graph", "GNN_MODELS": "models"}
    done = subprocess.run(
        [sys.executable, "-c", serve],
        capture_output=True, text=True, env=environment | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "--allow-modules my_layers" in done.stderr
    assert not (folder / "ran").exists()
    allow = ["--allow-modules", "other,my_layers"]
    answer = gnn("predict", "graph", "models/default", "--nodes", "100", *allow)
    assert answer["predictions"][0]["node"] == 100
    assert (folder / "ran").exists()


def test_a_wrong_name_is_one_sentence(folder, gnn):
    for name, sentence in (
        ("sago", "'sago' is not one of sage"),
        ("module:my_layers", "there is no convolution 'module:my_layers'"),
        ("module:my_layers:none", "names no function 'none'"),
        ("module:nowhere:make", "neither in"),
    ):
        said = gnn("train", "graph", "--out", "models/m", "--model", name, code=2)
        assert sentence in said
        assert "Traceback" not in said
    assert not list(folder.glob("models/*/*"))
