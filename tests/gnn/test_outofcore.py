"""Layers whose rows exceed a bound on memory: the same rows, read in order, within the bound."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from gnn import EmbeddingTable, SavedModel, embed
from gnn.errors import ResumeError
from gnn.outofcore import Buckets, Grid
from sampling import Dataset, FeatureTable, Graph, GraphStore
from sampling.errors import InputError
from sampling.graph.features import STORAGE_TYPES

KINDS = [("gcn", "mean"), *(("sage", how) for how in ("mean", "sum", "max", "gcn"))]
NODES, WIDTH, MEMORY = 1200, 64, 64 << 10


def large_data(storage: str = "float32") -> Dataset:
    """Rows of any storage type exceed `MEMORY`; hubs on both sides, rows without edges."""
    rng = np.random.default_rng(0)
    src = (rng.random(9000) ** 2 * NODES).astype(np.int64)
    dst = (rng.random(9000) ** 3 * (NODES - 9)).astype(np.int64)
    x = rng.normal(size=(NODES, WIDTH)).astype(np.float32)
    labels = rng.integers(0, 3, NODES)
    graph = Graph.from_edges(src, dst, num_nodes=NODES)
    return Dataset.in_memory(
        graph, features=FeatureTable.from_rows(x, storage), labels=labels, classes=["a", "b", "c"]
    )


def saved_for(make_saved, data, **changes):
    return make_saved(data, d_in=WIDTH, d_hidden=WIDTH, head="linear", **changes)


def files_of(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.mark.parametrize("storage", STORAGE_TYPES)
@pytest.mark.parametrize(("conv", "aggregator"), KINDS)
def test_rows_equal_those_of_a_run_in_memory(make_saved, tmp_path, conv, aggregator, storage):
    data = large_data(storage)
    saved = saved_for(make_saved, data, conv=conv, aggregator=aggregator)
    options = {"storage": storage, "predictions": True}
    reports = list(embed(saved, data, tmp_path / "bounded", memory=MEMORY, **options))
    assert {r.layer for r in reports if r.out_of_core} == {1, 2}
    assert not any(r.out_of_core for r in embed(saved, data, tmp_path / "free", **options))
    bounded, free = (EmbeddingTable.open(tmp_path / name) for name in ("bounded", "free"))
    # Sums differ in their last bits, which can move a value to the neighboring step of its type.
    step = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2, "int8": 0.03}[storage]
    expected = free.rows(np.arange(NODES))
    error = np.abs(bounded.rows(np.arange(NODES)) - expected).max()
    assert error <= step * np.abs(expected).max()
    np.testing.assert_allclose(bounded.predictions, free.predictions, atol=max(10 * step, 1e-4))
    if storage == "int8":
        np.testing.assert_allclose(bounded.scale, free.scale, rtol=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "batch", "residual": True, "input_norm": "row"},
        {"norm": "layer", "input_norm": "column"},
        {"norm": "layer", "residual_map": True},
    ],
)
def test_what_follows_a_convolution_is_kept(make_saved, tmp_path, options):
    data = large_data()
    saved = saved_for(make_saved, data, **options)
    list(embed(saved, data, tmp_path / "bounded", memory=MEMORY))
    list(embed(saved, data, tmp_path / "free"))
    bounded, free = (EmbeddingTable.open(tmp_path / name) for name in ("bounded", "free"))
    np.testing.assert_allclose(bounded.embeddings, free.embeddings, rtol=1e-5, atol=1e-5)


def test_norms_that_come_first_are_embedded_in_memory_only(make_saved, tmp_path):
    data = large_data()
    saved = saved_for(make_saved, data, norm="layer", norm_first=True)
    with pytest.raises(InputError, match="runs in memory only; embed without memory"):
        list(embed(saved, data, tmp_path / "bounded", memory=MEMORY))


def test_only_layers_whose_rows_exceed_the_bound_are_streamed(make_saved, tmp_path):
    data = large_data("int8")
    saved = saved_for(make_saved, data)
    bound = 2 * NODES * WIDTH  # room for int8 rows, not for float32 rows
    reports = list(embed(saved, data, tmp_path / "out", memory=bound))
    assert {(r.layer, r.out_of_core) for r in reports} == {(1, False), (2, True)}


def test_rows_do_not_depend_on_threads(make_saved, tmp_path):
    data = large_data()
    saved = saved_for(make_saved, data)
    for threads in (1, 4):
        list(embed(saved, data, tmp_path / f"{threads}", memory=MEMORY, num_threads=threads))
    assert files_of(tmp_path / "1") == files_of(tmp_path / "4")


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_stopping_and_resuming_gives_the_same_bytes(make_saved, tmp_path, storage):
    data = large_data()
    saved = saved_for(make_saved, data)
    options = {"predictions": True, "memory": MEMORY, "storage": storage}
    steps = len(list(embed(saved, data, tmp_path / "whole", **options)))
    for stop in (1, 9, steps // 2 - 1, steps // 2, steps // 2 + 1, steps - 1):
        out = tmp_path / f"out-{stop}"
        unfinished = embed(saved, data, out, **options)
        for _ in range(stop):
            next(unfinished)
        unfinished.close()
        assert len(list(embed(saved, data, out, resume=True, **options))) == steps - stop
        assert files_of(out) == files_of(tmp_path / "whole")


KILLED = """
import os, signal, sys
from gnn import embed, load_model
from sampling import GraphStore
model, graph, out, memory, stop = sys.argv[1:]
reports = embed(load_model(model), GraphStore.open(graph), out, memory=int(memory))
for n, report in enumerate(reports):
    if n == int(stop):
        assert report.out_of_core
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_resumed_to_the_same_bytes(make_saved, tmp_path):
    data = large_data()
    saved, graph = saved_for(make_saved, data), tmp_path / "graph"
    GraphStore.write(graph, data)
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(saved.path), str(graph), str(out), str(MEMORY)]
    assert subprocess.run([*command, "90"], check=False).returncode == -signal.SIGKILL
    assert not out.exists()
    stored = GraphStore.open(graph)
    rest = len(list(embed(saved, stored, out, memory=MEMORY, resume=True)))
    assert rest == len(list(embed(saved, stored, whole, memory=MEMORY))) - 91
    assert files_of(out) == files_of(whole)


def test_resuming_under_another_bound_is_refused(make_saved, tmp_path):
    data = large_data()
    saved = saved_for(make_saved, data)
    next(embed(saved, data, tmp_path / "out", memory=MEMORY))
    with pytest.raises(ResumeError, match="memory"):
        next(embed(saved, data, tmp_path / "out", memory=2 * MEMORY, resume=True))


def test_the_bound_is_kept(make_saved, tmp_path):
    rng = np.random.default_rng(0)
    num_nodes, memory = 100_000, 4 << 20
    src, dst = rng.integers(0, num_nodes, (2, 400_000))
    graph = Graph.from_edges(src, dst, num_nodes=num_nodes)
    x = rng.normal(size=(num_nodes, WIDTH)).astype(np.float32)
    data = Dataset.in_memory(graph, features=x, labels=np.zeros(num_nodes, np.int64))
    saved = saved_for(make_saved, data)
    assert x.nbytes > 6 * memory
    fixed = 2 * 8 * num_nodes  # the graph's own offsets, and numbers of nodes
    # The interpreter's table of names may double at any moment, but not twice in a row.
    assert min(peak_of(saved, data, tmp_path / f"{i}", memory) for i in range(2)) <= memory + fixed


def peak_of(saved: SavedModel, data: Dataset, out: Path, memory: int) -> int:
    """Bytes that Python and NumPy held at most."""
    tracemalloc.start()
    try:
        for report in embed(saved, data, out, memory=memory):
            assert report.out_of_core
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bound_without_room_for_anything_is_refused(make_saved, tmp_path):
    data = large_data()
    with pytest.raises(InputError, match="rows 64 wide need 32768 or more"):
        next(embed(saved_for(make_saved, data), data, tmp_path / "out", memory=32767))


@settings(deadline=None, max_examples=30)
@given(edge_lists(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_buckets_hold_every_edge_once_in_order(
    tmp_path_factory, edges, range_rows, block_rows, piece_edges
):
    graph, grid = edges.graph(), Grid(1, range_rows, block_rows, piece_edges)
    buckets = Buckets(tmp_path_factory.mktemp("grid") / "edges", graph, grid)
    found = []
    for number, (start, end) in enumerate(grid.ranges(graph.num_nodes)):
        buckets.fill(f"{number}", [(start, end)])
        for block in range(buckets.num_blocks):
            pieces = list(buckets.read(f"{number}", block))
            assert all(len(dst) <= piece_edges for dst, _ in pieces)
            rows = [dst for dst, _ in pieces]
            assert (np.diff(np.concatenate([*rows, [end]])) >= 0).all()
            for dst, src in pieces:
                assert (src >= 0).all()
                assert (src < block_rows).all()
                nodes = (dst + start).tolist(), (src + block * block_rows).tolist()
                found += zip(*nodes, strict=True)
    every = [(v, u) for v in range(graph.num_nodes) for u in graph.in_neighbors(v).tolist()]
    assert sorted(found) == sorted(every)
