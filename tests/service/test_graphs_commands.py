"""`gnn ingest-graphs`, and what `gnn info` and `gnn verify` say of its output."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gnn.errors import MissingPackageError
from service.cli import main
from service.commands.ingest_graphs import run_ingest_graphs


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code), json.loads(out.splitlines()[-1]) if out else {}, err


def test_a_collection_is_made_described_and_verified(tmp_path: Path, capsys):
    lines = [{"label": i % 2, "edges": [[0, 1]], "node_labels": [0, i]} for i in range(10)]
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "out"
    code, made, _ = said(capsys, "ingest-graphs", "--format", "jsonl", tmp_path / "g.jsonl",
                         "--undirected", "--folds", 5, "--out", out, "--json")  # fmt: skip
    assert (code, made["num_graphs"], made["num_edges"], made["num_splits"]) == (0, 10, 20, 5)
    code, info, _ = said(capsys, "info", out, "--json")
    assert (code, info["labels"]["classes"]) == (0, {"0": 5, "1": 5})
    assert info["splits"][0] == {"train": 6, "val": 2, "test": 2}
    code, checked, _ = said(capsys, "verify", out, "--json")
    assert (code, checked["intact"], checked["fingerprint"]) == (0, True, made["fingerprint"])
    labels = bytearray((out / "labels.npy").read_bytes())
    labels[-1] ^= 1
    (out / "labels.npy").write_bytes(labels)
    code, _, err = said(capsys, "verify", out)
    assert code == 2
    assert "labels.npy has checksum" in err


def test_what_is_wrong_is_one_sentence(tmp_path: Path, capsys):
    (tmp_path / "g.jsonl").write_text('{"edges": [[0, 1]], "num_nodes": 1}')
    code, _, err = said(capsys, "ingest-graphs", "--format", "jsonl", tmp_path / "g.jsonl",
                        "--out", tmp_path / "out")  # fmt: skip
    assert code == 2
    assert "g.jsonl, row 1: field 'edges' names node 1 of a graph with 1 nodes" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_without_rdkit_molecules_say_what_to_install(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    (tmp_path / "m.csv").write_text("smiles,y\nC,1\n")
    with pytest.raises(MissingPackageError, match="molecules"):
        run_ingest_graphs(out=tmp_path / "out", format="smiles", files=[tmp_path / "m.csv"])
