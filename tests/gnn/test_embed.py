"""Whole-graph embedding equals the full forward pass, whatever interrupts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from elsewhere import pretended_cuda

from gnn import EmbeddingTable, embed
from gnn.embeddings import MANIFEST
from gnn.errors import BusyError, ResumeError, SchemaMismatchError
from sampling import Dataset, FeatureTable, GraphStore, NodeIds
from sampling.errors import DamagedError, ExistsError, FutureFormatError, InputError

KINDS = [("gcn", "mean"), *(("sage", how) for how in ("mean", "sum", "max", "gcn"))]


def forward(saved, data) -> torch.Tensor:
    x = data.features.rows(0, data.graph.num_nodes)
    return saved.model.encode([data.graph.block()] * saved.model.num_layers, x)


def wide_data(make_data, storage="float32") -> Dataset:
    """Features so wide that every product pays before the edges are walked."""
    data, rng = make_data(), np.random.default_rng(0)
    table = FeatureTable.from_rows(rng.normal(size=(60, 96)).astype(np.float32), storage)
    return Dataset.in_memory(data.graph, features=table, labels=data.labels, classes=list("abc"))


def files_of(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.mark.parametrize("width", [4, 12])
@pytest.mark.parametrize(("conv", "aggregator"), KINDS)
def test_embeddings_equal_the_full_forward(
    make_data, make_saved, tmp_path, conv, aggregator, width
):
    data = make_data()
    saved = make_saved(data, conv=conv, aggregator=aggregator, d_hidden=width, num_layers=3)
    reports = list(embed(saved, data, tmp_path / "out", predictions=True, tile_rows=17))
    table = EmbeddingTable.open(tmp_path / "out")
    h = forward(saved, data)
    torch.testing.assert_close(torch.from_numpy(np.array(table.embeddings)), h)
    probabilities = torch.softmax(saved.model.head(h), dim=1)
    torch.testing.assert_close(torch.from_numpy(np.array(table.predictions)), probabilities)
    assert (reports[-1].layer, reports[-1].rows_done) == (3, 60)
    assert not (tmp_path / "out.partial").exists()


def test_embeddings_made_on_a_device_are_those_of_the_cpu(
    make_data, make_saved, tmp_path, monkeypatch
):
    data = make_data()
    saved = make_saved(data, conv="gat", heads=2, d_hidden=8, head="linear")
    list(embed(saved, data, tmp_path / "here", predictions=True))
    with pretended_cuda(monkeypatch) as cuda:
        saved.model.to(cuda)
        list(embed(saved, data, tmp_path / "there", predictions=True, tile_rows=17))
        with pytest.raises(InputError, match="memory is bounded for layers that run on the CPU"):
            next(embed(saved, data, tmp_path / "bounded", memory=1 << 24))
    here, there = (EmbeddingTable.open(tmp_path / name) for name in ("here", "there"))
    np.testing.assert_allclose(there.embeddings, here.embeddings, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(there.predictions, here.predictions, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("input_norm", ["none", "row", "column"])
@pytest.mark.parametrize("stored", ["float16", "bfloat16", "int8"])
def test_compact_features_give_what_their_values_give(
    make_data, make_saved, tmp_path, stored, input_norm
):
    data = make_data(storage=stored)
    saved = make_saved(data, d_hidden=8, input_norm=input_norm)
    list(embed(saved, data, tmp_path / "out", tile_rows=25))
    table = EmbeddingTable.open(tmp_path / "out")
    torch.testing.assert_close(torch.from_numpy(np.array(table.embeddings)), forward(saved, data))


@pytest.mark.parametrize(("conv", "aggregator"), [k for k in KINDS if k[1] != "max"])
def test_products_that_are_sent_give_the_same(make_data, make_saved, tmp_path, conv, aggregator):
    data = wide_data(make_data)
    saved = make_saved(data, conv=conv, aggregator=aggregator, d_in=96)
    reports = list(embed(saved, data, tmp_path / "out", tile_rows=25))
    assert [r.stage for r in reports] == ["messages"] * 3 + ["layer"] * 6
    table = EmbeddingTable.open(tmp_path / "out")
    torch.testing.assert_close(torch.from_numpy(np.array(table.embeddings)), forward(saved, data))


@pytest.mark.parametrize(
    ("storage", "bound"), [("float32", 0.0), ("float16", 5e-3), ("bfloat16", 4e-2), ("int8", 4e-2)]
)
@pytest.mark.parametrize("layer_storage", ["float32", "bfloat16", "int8"])
def test_any_storage_reads_back_within_the_error_it_states(
    data, make_saved, tmp_path, storage, bound, layer_storage
):
    saved = make_saved(data, num_layers=3)
    settings = {"storage": storage, "layer_storage": layer_storage}
    list(embed(saved, data, tmp_path / "out", **settings))
    list(embed(saved, data, tmp_path / "exact", layer_storage=layer_storage))
    table, exact = (EmbeddingTable.open(tmp_path / name) for name in ("out", "exact"))
    rows = table.rows(np.arange(60))
    error = np.abs(rows - exact.embeddings).max()
    assert error == pytest.approx(table.meta.max_error, rel=1e-3, abs=1e-7)
    assert table.meta.max_error <= bound
    assert (table.meta.storage, table.meta.layer_storage) == (storage, layer_storage)
    np.testing.assert_allclose(rows, forward(saved, data).numpy(), atol=0.1)


def test_float16_storage_is_close_and_half_the_size(data, make_saved, tmp_path):
    saved = make_saved(data, conv="gcn")
    list(embed(saved, data, tmp_path / "half", storage="float16", predictions=True))
    table = EmbeddingTable.open(tmp_path / "half")
    assert table.embeddings.dtype == np.float16
    assert table.predictions.dtype == np.float32
    np.testing.assert_allclose(table.embeddings, forward(saved, data).numpy(), atol=5e-3)


def test_rows_that_float16_cannot_hold_are_refused(data, make_saved, tmp_path):
    features = data.features.array * 1e6
    big = Dataset.in_memory(data.graph, features=features, labels=data.labels)
    saved = make_saved(big)
    with pytest.raises(InputError, match="do not fit float16; embed with storage float32"):
        list(embed(saved, big, tmp_path / "out", storage="float16"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_stopping_anywhere_and_resuming_gives_the_same_bytes(
    make_data, make_saved, tmp_path, storage
):
    data = wide_data(make_data, storage)
    saved = make_saved(data, d_in=96, conv="sage")
    options = {"predictions": True, "tile_rows": 16, "storage": storage}
    steps = len(list(embed(saved, data, tmp_path / "whole", **options)))
    expected = files_of(tmp_path / "whole")
    for stop in range(1, steps + 1):
        out = tmp_path / f"out-{stop}"
        unfinished = embed(saved, data, out, **options)
        for _ in range(stop):
            next(unfinished)
        unfinished.close()
        assert not out.exists()
        rest = list(embed(saved, data, out, resume=True, **options))
        assert len(rest) == steps - stop
        assert files_of(out) == expected


KILLED = """
import os, signal, sys
from gnn import embed, load_model
from sampling import GraphStore
model, graph, out, stop = sys.argv[1:]
for n, _ in enumerate(embed(load_model(model), GraphStore.open(graph), out, tile_rows=16)):
    if n == int(stop):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_resumed_to_the_same_bytes(data, make_saved, tmp_path):
    saved, graph = make_saved(data), tmp_path / "graph"
    GraphStore.write(graph, data)
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(saved.path), str(graph), str(out), "5"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not out.exists()
    stored = GraphStore.open(graph)
    rest = len(list(embed(saved, stored, out, tile_rows=16, resume=True)))
    assert rest < len(list(embed(saved, stored, whole, tile_rows=16)))
    assert files_of(out) == files_of(whole)


def test_rows_damaged_between_two_runs_are_computed_again(make_data, make_saved, tmp_path):
    data = wide_data(make_data)
    saved, out = make_saved(data, d_in=96), tmp_path / "out"
    list(embed(saved, data, tmp_path / "whole", tile_rows=16))
    for name, stop in (("messages-0", 3), ("messages-0", 5), ("rows-1", 10), ("embeddings", 11)):
        unfinished = embed(saved, data, out, tile_rows=16)
        for _ in range(stop):
            next(unfinished)
        unfinished.close()
        path = tmp_path / "out.partial" / f"{name}.npy"
        content = bytearray(path.read_bytes())
        content[128 + 20 * 4] ^= 1
        path.write_bytes(content)
        list(embed(saved, data, out, tile_rows=16, resume=True))
        assert files_of(out) == files_of(tmp_path / "whole")
        for child in out.iterdir():
            child.unlink()
        out.rmdir()


def test_a_journal_cut_in_mid_line_loses_one_tile_at_most(data, make_saved, tmp_path):
    saved, out = make_saved(data), tmp_path / "out"
    total = len(list(embed(saved, data, tmp_path / "whole", tile_rows=16)))
    unfinished = embed(saved, data, out, tile_rows=16)
    for _ in range(3):
        next(unfinished)
    unfinished.close()
    journal = tmp_path / "out.partial" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    assert len(list(embed(saved, data, out, tile_rows=16, resume=True))) == total - 2
    assert files_of(out) == files_of(tmp_path / "whole")


def test_resuming_with_other_settings_names_them(data, make_data, make_saved, tmp_path):
    saved = make_saved(data)
    next(embed(saved, data, tmp_path / "out", tile_rows=16))
    with pytest.raises(ResumeError, match="storage"):
        next(embed(saved, data, tmp_path / "out", tile_rows=16, storage="float16", resume=True))
    with pytest.raises(ResumeError, match="graph_fingerprint"):
        next(embed(saved, make_data(seed=1), tmp_path / "out", tile_rows=16, resume=True))
    other = make_saved(data, name="other", seed=1)
    with pytest.raises(ResumeError, match="model_digest"):
        next(embed(other, data, tmp_path / "out", tile_rows=16, resume=True))
    assert len(list(embed(other, data, tmp_path / "out", tile_rows=60))) > 0


def test_two_runs_on_one_output_do_not_collide(data, make_saved, tmp_path):
    saved = make_saved(data)
    first = embed(saved, data, tmp_path / "out", tile_rows=16)
    next(first)
    with pytest.raises(BusyError, match="another process"):
        next(embed(saved, data, tmp_path / "out", tile_rows=16))
    list(first)
    EmbeddingTable.open(tmp_path / "out")


def test_an_output_that_is_there_is_replaced_only_when_asked(data, make_saved, tmp_path):
    saved, out = make_saved(data), tmp_path / "out"
    list(embed(saved, data, out))
    with pytest.raises(ExistsError):
        next(embed(saved, data, out))
    list(embed(saved, data, out, overwrite=True, predictions=True))
    assert EmbeddingTable.open(out).predictions is not None


def test_embedding_leaves_inference_mode_and_threads_to_the_caller(data, make_saved, tmp_path):
    before = torch.get_num_threads()
    for _ in embed(make_saved(data), data, tmp_path / "out", num_threads=1, tile_rows=16):
        assert torch.get_num_threads() == before
        assert not torch.is_inference_mode_enabled()


def test_parquet_parts_hold_ids_and_the_same_rows(data, make_saved, tmp_path):
    saved = make_saved(data)
    ids = NodeIds.from_ints(np.arange(60) * 7 + 1)
    named = Dataset(data.graph, ids, data.meta, data.features, data.labels, data.splits)
    list(embed(saved, named, tmp_path / "npy", predictions=True))
    list(embed(saved, named, tmp_path / "parquet", predictions=True, format="parquet"))
    table = pq.read_table(tmp_path / "parquet" / "part-00000.parquet")
    assert table.column_names == ["id", "embedding", "prediction"]
    assert table["id"].to_pylist() == [i * 7 + 1 for i in range(60)]
    arrays = EmbeddingTable.open(tmp_path / "npy")
    rows = np.array(table["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(rows, arrays.embeddings)
    with pytest.raises(InputError, match="Parquet"):
        EmbeddingTable.open(tmp_path / "parquet")


@pytest.mark.parametrize("storage", ["float16", "bfloat16", "int8"])
def test_parquet_parts_hold_plain_floats_of_any_storage(data, make_saved, tmp_path, storage):
    saved = make_saved(data)
    list(embed(saved, data, tmp_path / "npy", storage=storage))
    list(embed(saved, data, tmp_path / "parquet", storage=storage, format="parquet"))
    table = pq.read_table(tmp_path / "parquet" / "part-00000.parquet")
    rows = np.array(table["embedding"].to_pylist(), np.float32)
    expected = EmbeddingTable.open(tmp_path / "npy").rows(np.arange(60))
    np.testing.assert_array_equal(rows, expected)


def test_a_full_disk_shows_before_the_work(data, make_saved, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="No space"):
        next(embed(make_saved(data), data, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_table_says_what_it_was_made_from(data, make_saved, tmp_path):
    saved = make_saved(data)
    list(embed(saved, data, tmp_path / "out", predictions=True))
    meta = EmbeddingTable.open(tmp_path / "out").meta
    assert (meta.model_name, meta.model_version) == ("m", 1)
    assert meta.model_digest == saved.info.digest
    assert meta.graph_fingerprint == saved.info.graph_fingerprint
    assert meta.classes == ["a", "b", "c"]


@pytest.mark.parametrize(
    "name", ["embeddings.npy", "embeddings_scale.npy", "predictions.npy", MANIFEST]
)
def test_any_flipped_bit_cut_or_missing_file_is_named(data, make_saved, tmp_path, name):
    list(embed(make_saved(data), data, tmp_path / "out", predictions=True, storage="int8"))
    path = tmp_path / "out" / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 30)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((DamagedError, FutureFormatError), match=name.split(".")[0]):
            EmbeddingTable.open(tmp_path / "out")
    path.write_bytes(whole[:-1] if name != MANIFEST else whole[:-20])
    with pytest.raises(DamagedError, match=name):
        EmbeddingTable.open(tmp_path / "out", verify=False)
    path.unlink()
    with pytest.raises(DamagedError, match=f"{name} is missing"):
        EmbeddingTable.open(tmp_path / "out", verify=False)


def test_a_newer_table_is_refused(data, make_saved, tmp_path):
    list(embed(make_saved(data), data, tmp_path / "out"))
    manifest = tmp_path / "out" / MANIFEST
    content = json.loads(manifest.read_text()) | {"format_version": 9}
    manifest.write_text(json.dumps(content))
    with pytest.raises(FutureFormatError, match="version 9"):
        EmbeddingTable.open(tmp_path / "out")


def test_what_cannot_be_embedded_is_said(data, make_saved, tmp_path):
    saved = make_saved(data)
    narrow = Dataset.in_memory(data.graph, features=data.features.array[:, :4].copy())
    with pytest.raises(SchemaMismatchError, match="width 6, but the graph has 4"):
        next(embed(saved, narrow, tmp_path / "out"))
    for wrong in ({"format": "csv"}, {"storage": "int4"}, {"tile_rows": 0},
                  {"layer_storage": "int4"}, {"memory": 100}):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(wrong))):
            next(embed(saved, data, tmp_path / "out", **wrong))
    assert [p.name for p in tmp_path.iterdir()] == ["models"]
